"""The commands that make samples and models: run, generate, train, evaluate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from augment.cli.terminal import attribution_table, device_options, json_option, recipe_of, verdict_table

if TYPE_CHECKING:
    from augment.contracts.result import RunResult


@click.command()
@click.argument("recipe")
@click.option("--full", is_flag=True, help="Lift the recipe's caps on rows.")
@click.option("--attribute", is_flag=True, help="Say also what each strategy brings: trains once more without each.")
@device_options
@json_option
def run(recipe: str, full: bool, attribute: bool, device: str, threads: int | None, as_json: bool) -> None:
    """Bring every task of RECIPE (a file, or a shipped name such as demo) up to date.

    Exit code 0: something was published, or nothing was to do; 3: every finished task was refused.
    """
    from augment.runs import run as pipeline

    result = pipeline.run(recipe_of(recipe, full), device=device, threads=threads, attribute=attribute)
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        _show_run(result)
    if result.status == "rejected":
        sys.exit(3)


@click.command()
@click.argument("recipe")
@click.argument("task")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the Parquet shards.")
@device_options
@json_option
def generate(recipe: str, task: str, out: Path, device: str, threads: int | None, as_json: bool) -> None:
    """Write gated samples of one TASK of RECIPE to a folder: no verdict, nothing published."""
    from augment.runs import single

    result = single.generate_only(recipe_of(recipe), task, out, device=device, threads=threads)
    lines = [f"{result['rows']:,} samples in {result['path']}", *(f"warning: {w}" for w in result["warnings"])]
    click.echo(json.dumps(result) if as_json else "\n".join(lines))


@click.command()
@click.argument("recipe")
@click.argument("task")
@click.option("--version", default="current", show_default=True, help="Version number or run digest of the mix.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@device_options
@json_option
def train(recipe: str, task: str, version: str, out: Path, device: str, threads: int | None, as_json: bool) -> None:
    """Train the consumer of a TASK of RECIPE on real rows and a published version of its mix."""
    from augment.runs import single

    result = single.train(recipe_of(recipe), task, out, version=version, device=device, threads=threads)
    made_of = f"{result['rows']:,} real rows, {result['samples']:,} samples of version {result['mix_version']}"
    text = f"{result['model']}: {made_of}"
    click.echo(json.dumps(result) if as_json else text)


@click.command()
@click.argument("recipe")
@click.argument("task")
@click.argument("model", type=click.Path(path_type=Path))
@device_options
@json_option
def evaluate(recipe: str, task: str, model: Path, device: str, threads: int | None, as_json: bool) -> None:
    """Measure a saved MODEL on the test rows of a TASK of RECIPE: clean, slices and attacks."""
    from augment.runs import single

    result = single.evaluate(recipe_of(recipe), task, model, device=device, threads=threads)
    rows = [
        f"{name:22}" + ("not measurable" if m["value"] is None else f"{m['value']:10.4f}  {m['better_is']} is better")
        for name, m in result["metrics"].items()
    ]
    click.echo(json.dumps(result) if as_json else "\n".join(rows))


def _show_run(result: RunResult) -> None:
    for name, task in result.tasks.items():
        version = "" if task.version is None else f" as version {task.version}"
        click.echo(f"\n{name}: {task.status}{version}, {task.rows:,} samples, {task.quarantined:,} rows quarantined")
        click.echo(verdict_table(task.verdict))
        if task.attribution:
            click.echo(attribution_table(task.attribution))
        said = [f"warning: {line}" for line in task.warnings] + [f"alarm: {line}" for line in task.alarms]
        notes = [task.reason, task.labels, task.advice, *said]
        click.echo("\n".join(f"  {note}" for note in notes if note))
    if result.status == "unchanged":
        click.echo("\nnothing to do: a run of this recipe, these data and packages ended before")
    click.echo(f"\nreport: {result.report}  ({result.seconds:.0f} s)")
