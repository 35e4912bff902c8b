"""What the commands share: options, and a verdict as a terminal shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(command)


def device_options(command: F) -> F:
    command = click.option("--threads", type=click.IntRange(1), help="CPU threads of torch and FAISS.")(command)
    choice = click.Choice(["auto", "cpu", "cuda"])
    return click.option("--device", type=choice, default="auto", show_default=True, help="Where to compute.")(command)


def verdict_table(verdict: dict[str, dict[str, Any]]) -> str:
    """One line per metric, aligned."""
    lines = [f"  {'metric':20}{'real':>9}{'mix':>9}{'diff':>10}  {'95% interval':21}{'':8}strongest plain baseline"]
    for name, c in verdict.items():
        if None in (c["real"], c["mix"], c["diff"], c["low"], c["high"]):
            lines.append(f"  {name:20}not measurable on these test rows")
            continue
        baseline = "–" if c["baseline"] is None else f"{c['baseline']:.4f} {c['baseline_name']}"
        sign = 1 if c["better_is"] == "higher" else -1
        clear = c["low"] > 0 or c["high"] < 0
        word = ("better" if c["diff"] * sign > 0 else "worse") if clear else "same"
        interval = f"[{c['low']:+.4f}, {c['high']:+.4f}]"
        lines.append(f"  {name:20}{c['real']:9.4f}{c['mix']:9.4f}{c['diff']:+10.4f}  {interval:21}{word:8}" + baseline)
    return "\n".join(lines)
