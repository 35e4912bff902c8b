"""One night: take in what is new, make samples of the window's rows, judge them, and replace the day's partition.

State lives beside the tables, under `_nightly`: the ledger of each source, and for each task its `augment.nights.fits`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from augment.base.errors import Locked, NoSpace, NotOurs, SparringError, Unavailable, UsageError
from augment.base.files import digest, made
from augment.base.progress import say
from augment.contracts.check import checks_of
from augment.contracts.registry import engine
from augment.contracts.result import NightResult, RunResult, TaskResult
from augment.judging import report
from augment.nights import fits, monitoring
from augment.nights.fits import STATE
from augment.nights.task import night_of
from augment.nights.window import ledger_of, take_in, windowed_job
from augment.numeric.device import resolve_device
from augment.publishing.dataset import Dataset
from augment.publishing.lock import held
from augment.publishing.replica import replicate
from augment.recipes.schema import Recipe
from augment.runs.apart import apart, reason_of, traceback_of
from augment.runs.steps import clear_left
from augment.runs.task import Job
from augment.sources.ledger import yesterday


def night(
    recipe: Recipe, *, as_of: date | None = None, device: str = "auto", threads: int | None = None,
    notify: str | None = None,
) -> NightResult:  # fmt: skip
    """Bring every task up to the day `as_of` (default: yesterday, UTC); `sparring nightly --json` prints its JSON.

    A night that was finished with the same rows is left alone. One source or task that fails stops no other: the first
    failure is raised when all else is done, and the night's log has the traceback of what nobody foresaw. Raises what
    `pipeline.run` does, and NoSpace.
    """
    started = time.monotonic()
    day, today, output = as_of or yesterday(), datetime.now(timezone.utc).date(), Path(recipe.output)
    if notify is not None:
        monitoring.check_notify(notify)
    if day > today:  # it would also forget the raw rows of days that real nights need
        raise UsageError(f"--as-of {day}: not yet, it is {today} (UTC)")
    found = NightResult(str(day))
    try:
        with held(recipe):
            checks_of(recipe.nightly.checks)  # unknown names are said before anything is read
            engine(recipe.engine)
            _check_space(output, recipe.nightly.min_free_gb)
            _work(recipe, day, resolve_device(device, threads), found)
    except Locked:  # the night that holds the output tells of itself
        raise
    except NotOurs as error:  # nor is its log for another recipe's nights
        if notify:
            monitoring.notify(notify, {**found.as_json(), "error": str(error)})
        raise
    except BaseException as error:
        found.error = reason_of(error)
        if not isinstance(error, SparringError | KeyboardInterrupt):
            found.traceback = traceback_of(error)
        for name in recipe.tasks:
            found.tasks.setdefault(name, TaskResult.failed(found.error))
        _tell(recipe, found, started, notify)
        raise
    statuses = {task.status for task in found.tasks.values()}
    found.status = next(s for s in ("published", "rejected", "unchanged") if s in statuses)
    _tell(recipe, found, started, notify)
    return found


def _work(recipe: Recipe, day: date, device: str, found: NightResult) -> None:
    failures: list[Exception] = []
    for source in dict.fromkeys(task.source for task in recipe.tasks.values()):
        with apart(found.tasks, failures, *(name for name, task in recipe.tasks.items() if task.source == source)):
            found.sources[source] = take_in(recipe, source, day)
    jobs: dict[str, Job] = {}
    for name in _sound(recipe, found):
        with apart(found.tasks, failures, name):
            jobs[name] = windowed_job(recipe, name, day, device)
    clear_left(Path(recipe.output), jobs.values())
    for name, job in jobs.items():
        with apart(found.tasks, failures, name):
            found.tasks[name] = night_of(job, day, ledger_of(recipe, job.task.source))
    with apart(found.tasks, failures):
        _report(recipe, day, jobs, found)
    for name in _sound(recipe, found):
        with apart(found.tasks, failures, name):
            _retain(recipe, name, day)
    report.forget(Path(recipe.output), recipe.nightly.keep_versions, recipe.nightly.keep_version_days)
    for name in recipe.tasks if recipe.nightly.replica else ():
        with apart(found.tasks, failures, name):
            _replicate(recipe, name, found.tasks[name])
    if failures:
        raise failures[0]


def _sound(recipe: Recipe, found: NightResult) -> list[str]:
    """The tasks that have not failed, so far."""
    return [name for name in recipe.tasks if name not in found.tasks or found.tasks[name].status != "failed"]


def _report(recipe: Recipe, day: date, jobs: Mapping[str, Job], found: NightResult) -> None:
    """The night's page; also when it is missing, as after a kill between the commit and the page."""
    page = Path(recipe.output) / f"report-{day}.html"
    statuses = {task.status for task in found.tasks.values()}
    if statuses & {"published", "rejected"} or ("unchanged" in statuses and not page.exists()):
        run = digest({name: job.digest for name, job in jobs.items()})
        result = RunResult(run, f"night of {day}", found.tasks, str(page), 0.0)
        found.report = str(report.write(result, page))


def _check_space(output: Path, least: float) -> None:
    free = shutil.disk_usage(made(output)).free / 1e9
    if free < least:
        raise NoSpace(f"{output}: {free:.1f} GB free, min_free_gb = {least:g}; make room, or `sparring gc {output}`")


def _retain(recipe: Recipe, name: str, day: date) -> None:
    """Remove what no version that is kept needs, and days that no window will reach again."""
    settings, output = recipe.nightly, Path(recipe.output)
    Dataset(output / name).gc(settings.keep_versions, keep_days=settings.keep_version_days)
    fits.forget(output, name)
    # Backfills reach back as far as partitions are kept.
    reach = timedelta(days=settings.window_days + settings.keep_days)
    ledger_of(recipe, recipe.tasks[name].source).forget(day - reach)


def _replicate(recipe: Recipe, name: str, task: TaskResult) -> None:
    """Bring the replica up to date, after all else: storage that is away costs no published version."""
    dataset = Dataset(Path(recipe.output) / name)
    if dataset.current() is None:
        return
    try:
        task.replica = replicate(dataset.root, f"{str(recipe.nightly.replica).rstrip('/')}/{name}")
        say(f"{name}: version {task.replica} of the replica")
    except SparringError as error:
        task.replica_behind = str(error)
        if not isinstance(error, Unavailable):
            raise
        say(f"{name}: warning: the replica is behind, the next night tries again: {error}")


def _tell(recipe: Recipe, found: NightResult, started: float, notify: str | None) -> None:
    found.seconds = round(time.monotonic() - started, 1)
    say(monitoring.one_line(found))
    try:
        monitoring.log(Path(recipe.output) / STATE / "nights.jsonl", found)
        if recipe.nightly.metrics:
            monitoring.export(Path(recipe.nightly.metrics), recipe.name, found)
    except OSError as error:  # a full disk: the night's own error says more
        say(f"the night's log could not be written: {error}")
    if notify and found.status in ("failed", "rejected"):
        monitoring.notify(notify, found.as_json())
