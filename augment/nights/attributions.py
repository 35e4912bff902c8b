"""Which nights say what each strategy brings: every `attribute_days`, and a night that was skipped is made up for.

<output>/_nightly/<task>/attributed    the day of the last such night; while there is none, that before the first night
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from augment.base.files import write_whole
from augment.contracts.result import TaskResult
from augment.nights.fits import STATE
from augment.runs.task import Job


def due(job: Job, day: date) -> bool:
    """Whether the night of `day` says it: that many days after the last one that did, or that one made anew.

    With 7 the seventh night is the first. A backfilled night of an older day never does.
    """
    days, last = job.recipe.nightly.attribute_days, _last(job) or day - timedelta(days=1)
    return days > 0 and ((day - last).days >= days or day == last)


def note(job: Job, day: date, result: TaskResult) -> None:
    """After a night, and again when it is found done: what a killed one could not write is not lost."""
    last = _last(job)
    if result.attribution is not None and (last is None or day > last):
        write_whole(_place(job), str(day).encode())
    elif last is None:
        write_whole(_place(job), str(day - timedelta(days=1)).encode())


def _last(job: Job) -> date | None:
    try:
        return date.fromisoformat(_place(job).read_text("utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: counted from tonight
        return None


def _place(job: Job) -> Path:
    return Path(job.recipe.output) / STATE / job.name / "attributed"
