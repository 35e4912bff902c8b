"""One night: take in what is new, make samples of the window's rows, judge them, and replace the day's partition.

State lives beside the tables, under `_nightly`: the ledger of each source, and for each task its `augment.fits`.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment import fits, monitoring, report
from augment.canary import canary
from augment.checks import Figures, raised
from augment.dataset import Dataset, Stage, locked
from augment.errors import BadInput, NoSpace, Refused, UsageError
from augment.fits import STATE
from augment.job import Job, digest, read, resolve_device
from augment.ledger import Intake, Ledger, yesterday
from augment.pipeline import Outcome, clear_left, make_version, manifest_of, refusal, steps_of, summary
from augment.progress import say
from augment.recipe import Recipe
from augment.replica import replicate
from augment.steps import Steps


def night(
    recipe: Recipe, *, as_of: date | None = None, device: str = "auto", threads: int | None = None, notify: str = ""
) -> dict[str, Any]:
    """Bring every task up to the day `as_of` (default: yesterday, UTC); what `sparring nightly --json` prints.

    A night that was finished with the same rows is left alone. Raises what `pipeline.run` does, and NoSpace.
    """
    started = time.monotonic()
    day, output = as_of or yesterday(), Path(recipe.output)
    found: dict[str, Any] = {"day": str(day), "status": "failed", "sources": {}, "tasks": {}}
    try:
        _check_space(output, recipe.nightly.min_free_gb)
        chosen = resolve_device(device, threads)
        with locked(output):
            _take_in(recipe, day, found)
            _tasks(recipe, day, chosen, found)
            _retain(recipe, day)
            _replicate(recipe, found)
        statuses = {task["status"] for task in found["tasks"].values()}
        found["status"] = next(s for s in ("published", "rejected", "unchanged") if s in statuses)
    except BaseException as error:
        found["error"] = " ".join(str(error).split()) or type(error).__name__
        raise
    finally:
        found["seconds"] = round(time.monotonic() - started, 1)
        _tell(recipe, output, found, notify)
    return found


def _take_in(recipe: Recipe, day: date, found: dict[str, Any]) -> None:
    settings = recipe.nightly
    for name in dict.fromkeys(task.source for task in recipe.tasks.values()):
        taken: Intake = _ledger(recipe, name).take_in(day, settings.lookback_days, settings.skip_bad_files)
        say(f"{name}: {taken.rows:,} new rows in {taken.files} files, {taken.bytes:,} bytes read")
        for path, reason in taken.bad_files.items():
            say(f"{name}: left out {path}: {reason}")
        found["sources"][name] = asdict(taken)


def _tasks(recipe: Recipe, day: date, device: str, found: dict[str, Any]) -> None:
    jobs = {}
    for name, task in recipe.tasks.items():
        first = day - timedelta(days=recipe.nightly.window_days - 1)
        parts = _ledger(recipe, task.source).window(first, day)
        if not parts:
            raise BadInput(f"sources.{task.source}: no rows from {first} to {day}; see window_days and --as-of")
        window = recipe.sources[task.source].model_copy(update={"path": parts, "connection": None, "query": None})
        windowed = recipe.model_copy(update={"sources": {**recipe.sources, task.source: window}})
        night = {"checks": recipe.nightly.checks.model_dump(mode="json"), "keep_days": recipe.nightly.keep_days}
        jobs[name] = Job(windowed, name, device, str(day), night)
    clear_left(Path(recipe.output), jobs.values())
    for name, job in jobs.items():
        found["tasks"][name] = _task(job, day)
    if any(task["status"] != "unchanged" for task in found["tasks"].values()):
        page = Path(recipe.output) / f"report-{day}.html"
        result = {"run": digest({n: j.digest for n, j in jobs.items()}), "seconds": 0.0, "tasks": found["tasks"]}
        found["report"] = str(report.write({**result, "status": f"night of {day}"}, page))


def _task(job: Job, day: date) -> dict[str, Any]:
    if done := job.dataset.find(job.digest):
        return {**done.manifest.result, "status": "unchanged", "version": done.version}
    stay, gone = _partitions(job, day)
    try:
        with steps_of(job) as steps, job.dataset.stage(job.digest, str(day)) as stage:
            material = read(job, steps.scratch("splits"), job.recipe.nightly.drop_poison)
            chosen = fits.choose(job, day, material)
            kept = _samples(job.dataset, stay)
            fits.lend(job, chosen.fit, steps)
            stream = 1000 * day.toordinal()  # each night draws anew
            outcome = make_version(job, steps, stage, material, victim=chosen.victim, kept=kept, stream=stream)
            about = _about(job, day, outcome, chosen, stay)
            return _conclude(job, day, stage, outcome, about, stay, gone, steps)
    except Refused as error:
        return refusal(job, str(error))


def _conclude(
    job: Job, day: date, stage: Stage, outcome: Outcome, about: dict[str, Any], stay: list[str], gone: list[str],
    steps: Steps,
) -> dict[str, Any]:  # fmt: skip
    """Publish the day's partition beside those that stay, or reject it."""
    result = {**summary(job, outcome), "night": about}
    for check in about["checks"]:
        say(f"{job.name}: {check['severity']}: {check['name']} is {check['value']:.4g}, limit {check['limit']:g}")
    errors = [check["name"] for check in about["checks"] if check["severity"] == "error"]
    if errors:
        result |= {"status": "rejected", "reason": f"checks failed: {', '.join(errors)}; {result['reason']}"}
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
    return {**result, "version": job.dataset.publish(stage, manifest, gone)}


def _partitions(job: Job, day: date) -> tuple[list[str], list[str]]:
    """Days of the current version that stay, and those that go: too old, or judged by other gates."""
    days = list(job.dataset.shards_by_day())
    if not days:
        return [], []
    newest = sorted({*days, str(day)})[-job.recipe.nightly.keep_days :]
    if str(day) not in newest:
        raise UsageError(f"--as-of {day}: older than the {job.recipe.nightly.keep_days} nights that {job.folder} keeps")
    same = job.dataset.version().manifest.gates == job.task.gates.model_dump(mode="json")
    stay = [d for d in days if d in newest and d != str(day) and same]
    return stay, [d for d in days if d not in stay]


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
        bad_rows=bad / max(1, rows + bad),
        drift=max(drift.values(), default=0.0),
        poison=material.poisoned / max(1, rows + bad),
        alarms=float(len(outcome.alarms)),
        kept_share=kept / max(1, sum(t.proposed for t in outcome.generated.tallies.values())),
    )
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
        "checks": raised(figures, recipe.nightly.checks),
    }


def _hardness(job: Job, outcome: Outcome, yesterday: str) -> tuple[float | None, float | None]:
    """Mean loss on the last night's samples: of the victim they were made for, and of tonight's plain consumer."""
    samples = _samples(job.dataset, [yesterday]) if yesterday else None
    if samples is None or job.consumer.modality == "behaviour":
        return None, None
    rows = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
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


def _retain(recipe: Recipe, day: date) -> None:
    """Remove what no version that is kept needs, and days that no window will reach again."""
    settings = recipe.nightly
    for name, task in recipe.tasks.items():
        dataset = Dataset(Path(recipe.output) / name)
        dataset.gc(settings.keep_versions, keep_days=settings.keep_version_days)
        fits.forget(Path(recipe.output), name)
        # Backfills reach back as far as partitions are kept.
        reach = timedelta(days=settings.window_days + settings.keep_days)
        _ledger(recipe, task.source).forget(day - reach)


def _replicate(recipe: Recipe, found: dict[str, Any]) -> None:
    """Bring the replicas up to date, after all else: storage that is away costs no published version."""
    for name in recipe.tasks if recipe.nightly.replica else ():
        dataset = Dataset(Path(recipe.output) / name)
        if dataset.current() is not None:
            number = replicate(dataset.root, f"{str(recipe.nightly.replica).rstrip('/')}/{name}")
            say(f"{name}: version {number} of the replica")
            found["tasks"][name]["replica"] = number


def _tell(recipe: Recipe, output: Path, found: dict[str, Any], notify: str) -> None:
    say(monitoring.one_line(found))
    try:
        monitoring.log(output / STATE / "nights.jsonl", found)
        if recipe.nightly.metrics:
            monitoring.export(Path(recipe.nightly.metrics), recipe.name, found)
    except OSError as error:  # a full disk: the night's own error says more
        say(f"the night's log could not be written: {error}")
    if notify and found["status"] in ("failed", "rejected"):
        monitoring.notify(notify, found)


def _ledger(recipe: Recipe, source: str) -> Ledger:
    return Ledger(Path(recipe.output) / STATE / "sources" / source, source, recipe.sources[source])
