"""The command of the nightly service."""

from __future__ import annotations

import json
import sys
from datetime import date

import click

from augment.errors import Refused, UsageError
from augment.terminal import device_options, json_option


@click.command()
@click.argument("recipe")
@click.option("--as-of", help="The day, YYYY-MM-DD, to bring up to date. Default: yesterday, UTC.")
@click.option("--notify", default="", help="Command to run when the night fails or is rejected: JSON on its input.")
@device_options
@json_option
def nightly(recipe: str, as_of: str | None, notify: str, device: str, threads: int | None, as_json: bool) -> None:
    """Run one night of RECIPE: read what is new, publish the day's samples if they help. Safe to repeat, safe to kill.

    Exit code 0: published, or nothing to do; 3: rejected; 4: another run holds the output; 7: the disk is full.
    """
    from augment.nightly import night
    from augment.recipe import load

    try:
        day = date.fromisoformat(as_of) if as_of else None
    except ValueError:
        raise UsageError(f"--as-of {as_of}: not a day; write it as 2026-11-24") from None
    found = night(load(recipe), as_of=day, device=device, threads=threads, notify=notify)
    if as_json:
        click.echo(json.dumps(found))
    for name, task in found["tasks"].items() if not as_json else ():
        click.echo(f"{name}: {task['status']}: {task['reason']}")
        about = task.get("night", {})
        for check in about.get("checks", ()):
            click.echo(f"  {check['severity']}: {check['name']} is {check['value']:.4g}, limit {check['limit']:g}")
        if about:
            fitted = "fitted anew, " if about["refit"] else ""
            click.echo(f"  generator: {fitted}{about['why']}; samples of {len(about['days'])} nights")
    if found["status"] == "rejected":
        sys.exit(Refused.exit_code)
