"""One night: take in what is new, make samples of the window's rows, judge them, and replace the day's partition.

State lives beside the tables, under `_nightly`: the ledger of each source, and for each task its `augment.fits`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment import fits, monitoring, report, spaces
from augment.apart import apart, reason_of, traceback_of
from augment.canary import canary
from augment.checks import Figures, raised
from augment.dataset import ALL_DAYS, Dataset, Stage, Version
from augment.errors import BadInput, Locked, NoSpace, NotOurs, Refused, SparringError, Unavailable, UsageError
from augment.fits import STATE
from augment.job import Job, Material, digest, encode, read_rows, resolve_device
from augment.ledger import Intake, Ledger, yesterday
from augment.lock import held
from augment.manifest import Shard
from augment.pipeline import Outcome, clear_left, make_version, manifest_of, refusal, steps_of, summary
from augment.progress import say
from augment.recipe import Recipe
from augment.replica import replicate
from augment.rows import RESERVED, published
from augment.steps import Steps


def night(
    recipe: Recipe, *, as_of: date | None = None, device: str = "auto", threads: int | None = None,
    notify: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Bring every task up to the day `as_of` (default: yesterday, UTC); what `sparring nightly --json` prints.

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
    found: dict[str, Any] = {"day": str(day), "status": "failed", "sources": {}, "tasks": {}}
    try:
        with held(recipe):
            _check_space(output, recipe.nightly.min_free_gb)
            _work(recipe, day, resolve_device(device, threads), found)
    except Locked:  # the night that holds the output tells of itself
        raise
    except NotOurs as error:  # nor is its log for another recipe's nights
        if notify:
            monitoring.notify(notify, {**found, "error": str(error)})
        raise
    except BaseException as error:
        found["error"] = reason_of(error)
        if not isinstance(error, SparringError):
            found["traceback"] = traceback_of(error)
        for name in recipe.tasks:
            found["tasks"].setdefault(name, {"status": "failed", "reason": found["error"]})
        _tell(recipe, found, started, notify)
        raise
    statuses = {task["status"] for task in found["tasks"].values()}
    found["status"] = next(s for s in ("published", "rejected", "unchanged") if s in statuses)
    _tell(recipe, found, started, notify)
    return found


def _work(recipe: Recipe, day: date, device: str, found: dict[str, Any]) -> None:
    failures: list[Exception] = []
    for source in dict.fromkeys(task.source for task in recipe.tasks.values()):
        with apart(found["tasks"], failures, *(name for name, task in recipe.tasks.items() if task.source == source)):
            found["sources"][source] = _take_in(recipe, source, day)
    jobs: dict[str, Job] = {}
    for name in _sound(recipe, found):
        with apart(found["tasks"], failures, name):
            jobs[name] = _job(recipe, name, day, device)
    clear_left(Path(recipe.output), jobs.values())
    for name, job in jobs.items():
        with apart(found["tasks"], failures, name):
            found["tasks"][name] = _task(job, day)
    with apart(found["tasks"], failures):
        _report(recipe, day, jobs, found)
    for name in _sound(recipe, found):
        with apart(found["tasks"], failures, name):
            _retain(recipe, name, day)
    report.forget(Path(recipe.output), recipe.nightly.keep_versions, recipe.nightly.keep_version_days)
    for name in recipe.tasks if recipe.nightly.replica else ():
        with apart(found["tasks"], failures, name):
            _replicate(recipe, name, found["tasks"][name])
    if failures:
        raise failures[0]


def _sound(recipe: Recipe, found: Mapping[str, Any]) -> list[str]:
    """The tasks that have not failed, so far."""
    return [name for name in recipe.tasks if found["tasks"].get(name, {}).get("status") != "failed"]


def _take_in(recipe: Recipe, source: str, day: date) -> dict[str, Any]:
    settings = recipe.nightly
    taken: Intake = _ledger(recipe, source).take_in(day, settings.lookback_days, settings.skip_bad_files)
    say(f"{source}: {taken.rows:,} new rows in {taken.files} files, {taken.bytes:,} bytes read")
    for path, reason in taken.bad_files.items():
        say(f"{source}: left out {path}: {reason}")
    return asdict(taken)


def _job(recipe: Recipe, name: str, day: date, device: str) -> Job:
    """The task on the window of rows that ends with the day."""
    source, first = recipe.tasks[name].source, day - timedelta(days=recipe.nightly.window_days - 1)
    window = _ledger(recipe, source).source(first, day)
    if window is None:
        raise BadInput(f"sources.{source}: no rows from {first} to {day}; see window_days and --as-of")
    windowed = recipe.model_copy(update={"sources": {**recipe.sources, source: window}})
    night = {"checks": recipe.nightly.checks.model_dump(mode="json"), "keep_days": recipe.nightly.keep_days}
    return Job(windowed, name, device, str(day), night)


def _report(recipe: Recipe, day: date, jobs: Mapping[str, Job], found: dict[str, Any]) -> None:
    """The night's page; also when it is missing, as after a kill between the commit and the page."""
    page = Path(recipe.output) / f"report-{day}.html"
    statuses = {task["status"] for task in found["tasks"].values()}
    if statuses & {"published", "rejected"} or ("unchanged" in statuses and not page.exists()):
        run = digest({name: job.digest for name, job in jobs.items()})
        result = {"run": run, "seconds": 0.0, "tasks": found["tasks"], "status": f"night of {day}"}
        found["report"] = str(report.write(result, page))


def _task(job: Job, day: date) -> dict[str, Any]:
    if done := job.dataset.find(job.digest):
        return _as_before(job, done)
    stay, gone = _partitions(job, day)
    try:
        with steps_of(job) as steps, job.dataset.stage(job.digest, str(day)) as stage:
            rows = read_rows(job, steps.scratch("splits"), job.recipe.nightly.drop_poison)
            chosen = fits.choose(job, day, rows)
            material = encode(job, rows, chosen.ngrams or steps.ngrams)
            steps.keep_ngrams(material.ngrams)
            if not (same := _same_space(job, material)):
                stay, gone = [], [*stay, *gone]
            kept = _samples(job.dataset, stay)
            fits.lend(job, chosen.fit, steps, warm=same)
            stream = 1000 * day.toordinal()  # each night draws anew
            outcome = make_version(job, steps, stage, material, victim=chosen.victim, kept=kept, stream=stream)
            about = _about(job, day, outcome, chosen, stay)
            return _conclude(job, day, stage, outcome, about, stay, gone, steps)
    except Refused as error:
        return refusal(job, str(error))


def _as_before(job: Job, done: Version) -> dict[str, Any]:
    """What this very night ended in before: nothing is done again."""
    result = {**done.manifest.result, "version": done.version}
    if done.version is None:  # rejected, and still so
        return result
    current = job.dataset.version()
    if not any(shard.path.startswith(f"{job.digest}/") for shard in current.manifest.files):
        result["reason"] = (
            f"published as version {done.version}, of which current version {current.version} holds no samples; "
            f"`sparring rollback {job.folder} {done.version}` brings them back"
        )
    return {**result, "status": "unchanged"}


def _conclude(
    job: Job, day: date, stage: Stage, outcome: Outcome, about: dict[str, Any], stay: list[str], gone: list[str],
    steps: Steps,
) -> dict[str, Any]:  # fmt: skip
    """Publish the day's partition beside those that stay, or reject it."""
    result = {**summary(job, outcome), "night": about}
    for check in about["checks"]:
        say(f"{job.name}: {check['severity']}: {check['reason']}")
    errors = [check["reason"] for check in about["checks"] if check["severity"] == "error"]
    if errors:
        result |= {"status": "rejected", "reason": f"checks failed: {'; '.join(errors)}; {result['reason']}"}
    job.dataset.keep_quarantine(job.digest, outcome.material.splits.quarantine)
    manifest = manifest_of(job, outcome, result, stage.files)
    if result["status"] == "rejected":
        job.dataset.reject(stage, manifest)
        return {**result, "version": None}
    if about["refit"]:
        fits.keep(job, day, outcome, steps)
    if stay:
        current = job.dataset.version()
        shards = [shard for d, shards in job.dataset.shards_by_day().items() if d in stay for shard in shards]
        encoders = list(dict.fromkeys([*manifest.encoders, *current.manifest.encoders]))
        manifest = replace(manifest, files=[*stage.files, *shards], encoders=encoders)
    if trouble := canary(job.dataset, stage, manifest, steps.scratch("canary")):
        raise BadInput(f"{job.folder}: the new version cannot be read back: {trouble[0]}; the current one stays")
    spaces.keep(job.dataset.root, outcome.material.ngrams)
    return {**result, "version": job.dataset.publish(stage, manifest, gone)}


def _partitions(job: Job, day: date) -> tuple[list[str], list[str]]:
    """Days of the current version that stay, and those that go: too old, of no night, damaged, of other settings."""
    days = job.dataset.shards_by_day()
    if not days:
        return [], []
    newest = sorted({*days, str(day)} - {ALL_DAYS})[-job.recipe.nightly.keep_days :]
    if str(day) not in newest:
        raise UsageError(f"--as-of {day}: older than the {job.recipe.nightly.keep_days} nights that {job.folder} keeps")
    same = _made_of(job.dataset.version().manifest.settings) == _made_of(job.settings)
    stay = [d for d in days if d in newest and d != str(day) and same and _whole(job.dataset, d, days[d])]
    return stay, [d for d in days if d not in stay]


def _made_of(settings: Mapping[str, Any]) -> list[Any]:
    """What samples of several nights must share to be read as one table: their gates, their columns and their space."""
    task, source = settings.get("task", {}), settings.get("source", {})
    return [task.get(key) for key in ("consumer", "options", "encoder", "gates")] + [source.get("columns")]


def _same_space(job: Job, material: Material) -> bool:
    """Whether tonight's reviews are encoded as the current version's samples are: vectors of two spaces do not mix."""
    if material.text is None or job.dataset.current() is None:
        return True
    return material.text.encoder in job.dataset.version().manifest.encoders


def _whole(dataset: Dataset, day: str, shards: list[Shard]) -> bool:
    """Whether a day's samples are what was published. A damaged day goes with a warning: no night mends it."""
    if damaged := [path for shard in shards if (path := dataset.damaged(shard))]:
        say(f"warning: the samples of {day} are left out: {damaged[0]} is missing or changed")
    return not damaged


def _samples(dataset: Dataset, days: list[str]) -> pa.Table | None:
    shards = [shard for d, shards in dataset.shards_by_day().items() if d in days for shard in shards]
    if not shards:
        return None
    return pa.concat_tables(pq.ParquetFile(dataset.root / shard.path).read() for shard in shards)


# -- what is known of the night --------------------------------------------------------------------


def _about(job: Job, day: date, outcome: Outcome, chosen: fits.Choice, stay: list[str]) -> dict[str, Any]:
    material, recipe, fit, drift = outcome.material, job.recipe, chosen.fit, chosen.drift
    then, now = _hardness(job, outcome, max((d for d in stay if d < str(day)), default=""))
    ledger = _ledger(recipe, job.task.source)
    window = [ledger.day_rows(day - timedelta(days=i)) for i in range(1, recipe.nightly.window_days)]
    usual = float(np.median([rows for rows in window if rows] or [0]))
    rows = sum(material.splits.counts.values())
    bad = sum(material.splits.quarantined.values())
    kept = sum(t.kept for t in outcome.generated.tallies.values())
    figures = Figures(
        few_rows=ledger.day_rows(day) / usual if usual else 1.0,
        bad_rows=(bad - material.poisoned) / max(1, rows + bad),
        drift=max(drift.values(), default=0.0),
        poison=material.poisoned / max(1, rows + bad),
        alarms=float(len(outcome.alarms)),
        kept_share=kept / max(1, sum(t.proposed for t in outcome.generated.tallies.values())),
    )
    gates, quarantined = job.task.gates, material.splits.quarantined
    details = {
        "few_rows": f"{ledger.day_rows(day):,} rows",
        "bad_rows": _worst(quarantined),
        "drift": max(drift, key=lambda name: drift[name], default=""),
        "poison": f"{material.poisoned:,} rows: {_worst(quarantined)}",
        "alarms": "; ".join(outcome.alarms),
        "kept_share": "; ".join(f"'{name}': {t.fate(gates)}" for name, t in outcome.generated.tallies.items()),
    }
    return {
        "day": str(day),
        "days": [*stay, str(day)],
        "fit": fit.folder.name if fit else fits.name_of(job, day),
        "refit": fit is None,
        "why": chosen.why,
        "generator_age_days": (day - date.fromisoformat(fit.day)).days if fit else 0,
        "drift": {name: round(index, 6) for name, index in drift.items()},
        "poisoned": material.poisoned,
        "hardness_of_yesterdays_samples": now,
        "hardness_when_made": then,
        "figures": asdict(figures),
        "checks": raised(figures, recipe.nightly.checks, details),
    }


def _worst(quarantined: Mapping[str, int]) -> str:
    """The commonest reasons for which rows are in quarantine."""
    worst = sorted(quarantined.items(), key=lambda reason: -reason[1])[:3]
    return ", ".join(f"{reason} {count:,}" for reason, count in worst)


def _hardness(job: Job, outcome: Outcome, yesterday: str) -> tuple[float | None, float | None]:
    """Mean loss on the last night's samples: of the victim they were made for, and of tonight's plain consumer."""
    samples = _samples(job.dataset, [yesterday]) if yesterday else None
    if samples is None or job.consumer.modality == "behaviour":
        return None, None
    rows = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
    columns = [c for c in pq.read_schema(outcome.material.splits.train).names if c not in RESERVED]
    prepared = dict(zip(published(columns), columns, strict=True)) if job.consumer.modality == "fields" else {}
    rows = rows.rename_columns([prepared.get(name, name) for name in rows.column_names])
    p = np.clip(outcome.real.predict(rows.append_column("embedding", samples["embedding"])), 1e-7, 1 - 1e-7)
    y = samples["label"].to_numpy()
    now = float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    return float(samples["hardness"].to_numpy().mean()), now


# -- before and after ------------------------------------------------------------------------------


def _check_space(output: Path, least: float) -> None:
    output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output).free / 1e9
    if free < least:
        raise NoSpace(f"{output}: {free:.1f} GB free, min_free_gb = {least:g}; make room, or `sparring gc {output}`")


def _retain(recipe: Recipe, name: str, day: date) -> None:
    """Remove what no version that is kept needs, and days that no window will reach again."""
    settings, output = recipe.nightly, Path(recipe.output)
    Dataset(output / name).gc(settings.keep_versions, keep_days=settings.keep_version_days)
    fits.forget(output, name)
    # Backfills reach back as far as partitions are kept.
    reach = timedelta(days=settings.window_days + settings.keep_days)
    _ledger(recipe, recipe.tasks[name].source).forget(day - reach)


def _replicate(recipe: Recipe, name: str, task: dict[str, Any]) -> None:
    """Bring the replica up to date, after all else: storage that is away costs no published version."""
    dataset = Dataset(Path(recipe.output) / name)
    if dataset.current() is None:
        return
    try:
        task["replica"] = replicate(dataset.root, f"{str(recipe.nightly.replica).rstrip('/')}/{name}")
        say(f"{name}: version {task['replica']} of the replica")
    except SparringError as error:
        task["replica_behind"] = str(error)
        if not isinstance(error, Unavailable):
            raise
        say(f"{name}: warning: the replica is behind, the next night tries again: {error}")


def _tell(recipe: Recipe, found: dict[str, Any], started: float, notify: str | None) -> None:
    found["seconds"] = round(time.monotonic() - started, 1)
    say(monitoring.one_line(found))
    try:
        monitoring.log(Path(recipe.output) / STATE / "nights.jsonl", found)
        if recipe.nightly.metrics:
            monitoring.export(Path(recipe.nightly.metrics), recipe.name, found)
    except OSError as error:  # a full disk: the night's own error says more
        say(f"the night's log could not be written: {error}")
    if notify and found["status"] in ("failed", "rejected"):
        monitoring.notify(notify, found)


def _ledger(recipe: Recipe, source: str) -> Ledger:
    return Ledger(Path(recipe.output) / STATE / "sources" / source, source, recipe.sources[source])
