"""The command of the nightly service."""

from __future__ import annotations

import json
import sys
from datetime import date

import click

from augment.base.errors import Refused, UsageError
from augment.cli.terminal import attribution_table, device_options, json_option


@click.command()
@click.argument("recipe")
@click.option("--as-of", help="The day, YYYY-MM-DD, to bring up to date. Default: yesterday, UTC.")
@click.option("--notify", help="Command (JSON on its input) or webhook's URL for nights that fail or are rejected.")
@device_options
@json_option
def nightly(
    recipe: str, as_of: str | None, notify: str | None, device: str, threads: int | None, as_json: bool
) -> None:
    """Run one night of RECIPE: read what is new, publish the day's samples if they help. Safe to repeat, safe to kill.

    Exit code 0: published, or nothing to do; 3: rejected; 4: another run holds the output; 7: the disk is full; 8: a
    database or object store is away. When one task fails the others go on, and the code is that of the first failure.
    """
    from augment.nights import monitoring
    from augment.nights.night import night
    from augment.recipes.loading import load

    if notify is not None:
        monitoring.check_notify(notify)
    try:
        day = date.fromisoformat(as_of) if as_of else None
    except ValueError:
        raise UsageError(f"--as-of {as_of}: not a day; write it as 2026-11-24") from None
    try:
        wanted = load(recipe)
    except UsageError as error:  # no night begins that could tell of it
        if notify:
            monitoring.notify(notify, {"recipe": recipe, "status": "failed", "error": str(error)})
        raise
    found = night(wanted, as_of=day, device=device, threads=threads, notify=notify)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    for name, task in found.tasks.items() if not as_json else ():
        click.echo(f"{name}: {task.status}: {task.reason}")
        about = task.night
        for line in task.warnings:
            click.echo(f"  warning: {line}")
        for check in about["checks"] if about else ():
            click.echo(f"  {check['severity']}: {check['reason']}")
        if about:
            fitted = "fitted anew, " if about["refit"] else ""
            click.echo(f"  generator: {fitted}{about['why']}; samples of {len(about['days'])} nights")
        if task.attribution and task.status != "unchanged":
            click.echo(attribution_table(task.attribution))
        if task.replica_behind is not None:
            click.echo(f"  warning: the replica is behind: {task.replica_behind}")
    if found.status == "rejected":
        sys.exit(Refused.exit_code)
