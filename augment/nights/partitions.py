"""Days of the current version: which stay beside tonight's, and their samples."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from augment.base.errors import UsageError
from augment.base.progress import say
from augment.contracts.sample import opened
from augment.publishing.dataset import Dataset
from augment.publishing.manifest import ALL_DAYS, Shard
from augment.runs.rows import Material
from augment.runs.task import Job


def days_kept(job: Job, day: date) -> tuple[list[str], list[str]]:
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
    """What samples of several nights must share to be read as one table: gates, columns, space, what labels mean."""
    task, source = settings.get("task", {}), settings.get("source", {})
    of_task = [task.get(key) for key in ("consumer", "options", "encoder", "gates")]
    return of_task + [source.get(key) for key in ("columns", "positive", "classes")]


def same_space(job: Job, material: Material) -> bool:
    """Whether tonight's reviews are encoded as the current version's samples are: vectors of two spaces do not mix."""
    if not material.prepared.encoder or job.dataset.current() is None:
        return True
    return material.prepared.encoder in job.dataset.version().manifest.encoders


def _whole(dataset: Dataset, day: str, shards: list[Shard]) -> bool:
    """Whether a day's samples are what was published. A damaged day goes with a warning: no night mends it."""
    if damaged := [path for shard in shards if (path := dataset.damaged(shard))]:
        say(f"warning: the samples of {day} are left out: {damaged[0]} is missing or changed")
    return not damaged


def samples_of(dataset: Dataset, days: list[str]) -> pa.Table | None:
    shards = [shard for d, shards in dataset.shards_by_day().items() if d in days for shard in shards]
    if not shards:
        return None
    return opened([str(dataset.root / shard.path) for shard in shards]).to_table()
