"""The window of rows that a night works on: the ledger of each source, and the task on its rows."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from augment.base.errors import BadInput
from augment.base.progress import say
from augment.contracts.check import checks_of
from augment.contracts.source import Intake
from augment.nights.fits import STATE
from augment.recipes.schema import Recipe
from augment.runs.task import Job
from augment.sources.ledger import Ledger


def take_in(recipe: Recipe, source: str, day: date) -> dict[str, Any]:
    settings = recipe.nightly
    taken: Intake = ledger_of(recipe, source).take_in(day, settings.lookback_days, settings.skip_bad_files)
    say(f"{source}: {taken.rows:,} new rows in {taken.files} files, {taken.bytes:,} bytes read")
    for path, reason in taken.bad_files.items():
        say(f"{source}: left out {path}: {reason}")
    return asdict(taken)


def windowed_job(recipe: Recipe, name: str, day: date, device: str) -> Job:
    """The task on the window of rows that ends with the day."""
    source, first = recipe.tasks[name].source, day - timedelta(days=recipe.nightly.window_days - 1)
    window = ledger_of(recipe, source).source(first, day)
    if window is None:
        raise BadInput(f"sources.{source}: no rows from {first} to {day}; see window_days and --as-of")
    windowed = recipe.model_copy(update={"sources": {**recipe.sources, source: window}})
    checks = {name: {"limit": c.limit, "severity": c.severity} for name, c in checks_of(recipe.nightly.checks).items()}
    night = {"checks": checks, "keep_days": recipe.nightly.keep_days}
    return Job(windowed, name, device, str(day), night).anew()


def ledger_of(recipe: Recipe, source: str) -> Ledger:
    return Ledger(Path(recipe.output) / STATE / "sources" / source, source, recipe.sources[source])
