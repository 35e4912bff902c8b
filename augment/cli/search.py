"""The command of the portfolio search."""

from __future__ import annotations

import json
from pathlib import Path

import click

from augment.cli.terminal import device_options, json_option, new_file, recipe_of


@click.command()
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
    from augment.search import space, winner

    wanted = recipe_of(recipe)
    new_file(out)  # before the search, not after it
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
