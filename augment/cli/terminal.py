"""What the commands share: text in any locale, options, and a verdict as a terminal shows it."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from augment.base.errors import UsageError
from augment.base.files import made
from augment.base.progress import say
from augment.contracts.result import Attributed, Compared, measured

if TYPE_CHECKING:
    from augment.recipes.schema import Recipe

DATA = Path("sparring-data")
F = TypeVar("F", bound=Callable[..., Any])


def in_utf8() -> None:
    """File names and files are UTF-8 in every locale, and what cannot be printed is escaped.

    DuckDB, Arrow and Delta take names as UTF-8 and Python takes them as the locale has them: where these differ, the
    command starts again in Python's UTF-8 mode. A terminal still gets its own encoding.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [os.fsencode(sys.executable), b"-X", b"utf8", *_arguments()])  # noqa: S606
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=_terminal() if stream.isatty() else None, errors="backslashreplace")


def _arguments() -> list[bytes]:
    """This process's, as they were given: not every locale turns what it has decoded into the same bytes again."""
    try:
        return Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]
    except OSError:
        return [os.fsencode(argument) for argument in sys.orig_argv[1:]]


def _terminal() -> str | None:
    """The locale's encoding where UTF-8 mode hides it, unless the user named another one for Python."""
    if not sys.flags.utf8_mode or os.environ.get("PYTHONIOENCODING"):
        return None
    import locale

    try:
        return codecs.lookup(locale.nl_langinfo(locale.CODESET)).name
    except (AttributeError, LookupError):  # Windows has no such question
        return None


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(command)


def device_options(command: F) -> F:
    command = click.option("--threads", type=click.IntRange(1), help="CPU threads of torch and FAISS.")(command)
    choice = click.Choice(["auto", "cpu", "cuda"])
    return click.option("--device", type=choice, default="auto", show_default=True, help="Where to compute.")(command)


def verdict_table(verdict: Mapping[str, Compared]) -> str:
    """One line per metric, aligned."""
    lines = [f"  {'metric':20}{'real':>9}{'mix':>9}{'diff':>10}  {'95% interval':21}{'':8}strongest plain baseline"]
    for name, c in verdict.items():
        if not measured(c):
            lines.append(f"  {name:20}not measurable on these test rows")
            continue
        baseline = "–" if c["baseline"] is None else f"{c['baseline']:.4f} {c['baseline_name']}"
        sign = 1 if c["better_is"] == "higher" else -1
        clear = c["low"] > 0 or c["high"] < 0
        word = ("better" if c["diff"] * sign > 0 else "worse") if clear else "same"
        interval = f"[{c['low']:+.4f}, {c['high']:+.4f}]"
        lines.append(f"  {name:20}{c['real']:9.4f}{c['mix']:9.4f}{c['diff']:+10.4f}  {interval:21}{word:8}" + baseline)
    return "\n".join(lines)


def attribution_table(attribution: Mapping[str, Attributed]) -> str:
    """One line per strategy and metric, aligned: the mix, the mix without the strategy's samples, and the difference.

    Its words are a report's: see `contracts.result.LeftOut`.
    """
    if len(attribution) == 1:
        return f"  every sample is of {', '.join(attribution)}: the verdict says what it brings"
    shares = f"  {'strategy':20}{'samples':>8}{'weight':>8}"
    lines = [f"{shares}  {'metric':20}{'with':>9}{'without':>9}{'diff':>10}  95% interval"]
    for name, found in attribution.items():
        head = f"  {name:20}{found['share']:8.0%}{found['weight_share']:8.0%}  "
        for metric, c in found["metrics"].items():
            interval = f"[{c['low']:+.4f}, {c['high']:+.4f}]"
            figures = f"{metric:20}{c['mix']:9.4f}{c['without']:9.4f}{c['diff']:+10.4f}  {interval:21}"
            lines.append(f"{head}{figures}{c['effect']}")
            head = " " * len(head)
        if not found["metrics"]:
            lines.append(f"{head}not measurable on these test rows")
    return "\n".join(lines)


def recipe_of(name: str, full: bool = False) -> Recipe:
    """The recipe; the data of a shipped one is fetched when it is not there."""
    from augment.recipes.loading import load, shipped
    from augment.sources import demo as demo_data

    recipe = load(name)
    if name in shipped():
        demo_data.fetch(DATA, [Path(str(s.path)).stem for s in recipe.sources.values()], say=say)
    return recipe.uncapped() if full else recipe


def new_file(path: Path) -> Path:
    """`path`, in a folder that exists now. Raises UsageError when something is there, or no folder can be."""
    if path.exists():
        raise UsageError(f"{path} exists; choose another name")
    made(path.parent)
    return path
