"""A published data set, opened for reading at a pinned version: Arrow, pandas or torch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from augment.base.errors import Unavailable, UsageError, suggest
from augment.publishing import pins, spaces
from augment.publishing.dataset import Dataset
from augment.publishing.manifest import Manifest, Version
from augment.publishing.replica import Replica

POLL = 5.0  # seconds between looks at a table that is waited for

if TYPE_CHECKING:
    import pandas as pd

    from augment.language.ngrams import Ngrams
    from augment.numeric.frozen import FrozenEncoder
    from consumers.reading.streaming import MixStream


def open_mix(
    path: str | Path,
    task: str | None = None,
    version: int | str | None = "current",
    *,
    day: str | None = None,
    wait: float = 0.0,
    pin: float = 0.0,
) -> Mix:
    """Open the samples of one task: `path` is a run's output folder, with `task`, or the task's table itself.

    It may be the URL of a replica, s3://bucket/prefix; see `augment.publishing.replica` for the environment that needs.
    `version` is a Delta version, a run digest or "current". It is resolved here, once: a run that publishes
    meanwhile changes nothing for this reader.

    day: a night (YYYY-MM-DD) whose samples the version must hold. wait: seconds to wait for it, or for a first version.
    pin: hours for which the version's files are kept from being removed, whatever is published meanwhile (of a local
    table; `Mix.release` lets go before).

    Raises UsageError when there is no such table or version, BadInput when its files are gone or changed, Unavailable
    when a replica's storage is away.
    """
    until = time.monotonic() + wait
    while True:
        try:
            return _open(_table(path, task), version, day, pin)
        except (UsageError, Unavailable):
            left = until - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(left, POLL))


def _open(table: Dataset | Replica, version: int | str | None, day: str | None, pin: float) -> Mix:
    local = table.root if pin and isinstance(table, Dataset) else None
    with nullcontext() if local is None else pins.guarded(local):  # no gc between the look and the pin
        found = table.version(version)
        if day is not None and day not in found.days:
            where = table.root if isinstance(table, Dataset) else table.url
            raise UsageError(f"{where}: version {found.version} has no samples of {day}; wait= waits for them")
        rows = table.read(found.version)
        held = None if local is None else pins.pin(local, int(found.version or 0), pin)
    return Mix(found, rows, table, held)


def _table(path: str | Path, task: str | None) -> Dataset | Replica:
    if "://" in str(path):
        url = str(path).rstrip("/")
        return Replica(url if task is None else f"{url}/{task}")
    root = Path(path) if task is None else Path(path) / task
    if not (root / "_delta_log").is_dir():
        tables = sorted(log.parent.name for log in Path(path).glob("*/_delta_log"))
        if task is None and tables:
            raise UsageError(f"{path} holds several tasks: choose one with task=, of {', '.join(tables)}")
        hint = suggest(task, tables) if task is not None else "; `sparring run` publishes"
        raise UsageError(f"{root}: no published data set here{hint}")
    return Dataset(root)


class Mix:
    """One version of one task's samples, with the columns of `augment.contracts.sample.sample_schema`."""

    def __init__(self, version: Version, rows: ds.Dataset, table: Dataset | Replica, held: Path | None = None) -> None:
        self.version = version.version
        self.manifest: Manifest = version.manifest
        self._rows, self._table, self._held = rows, table, held

    def release(self) -> None:
        """Let go of the version: its files may be removed once it is old."""
        if self._held is not None:
            self._held.unlink(missing_ok=True)

    def encoder(self, cache: Path | None = None, device: str = "cpu") -> FrozenEncoder:
        """The encoder of a task's vectors, for texts, pictures (see `normalised`) or clips that shall lie beside them.

        cache: a file that keeps vectors. Raises UsageError where samples are of none, or another encoder is
        installed than the version was made with; BadInput when the n-grams of it are gone.
        """
        from augment.language.encoders import text_encoder
        from augment.pictures.clips import clip_encoder
        from augment.pictures.encoders import image_encoder

        named, names = self.manifest.settings["task"]["encoder"], self.manifest.encoders
        content = self.schema.field("decoded").type.names
        if content not in (["text"], ["image"], ["clip"]):
            raise UsageError(f"task '{self.manifest.task}' has no encoder of contents: its vectors are a model's own")
        if content == ["image"]:
            found: FrozenEncoder = image_encoder(named, cache, device)
        elif content == ["clip"]:
            found = clip_encoder(named, cache, device)
        else:
            found = text_encoder(named, cache, device, self._ngrams())
        if found.name not in names:
            raise UsageError(f"version {self.version} was made with encoder {', '.join(names)}; here is {found.name}")
        return found

    def _ngrams(self) -> Ngrams | None:
        if isinstance(self._table, Replica):
            return self._table.ngrams(self.manifest.encoders)
        return spaces.load_local(self._table.root, self.manifest.encoders)

    @property
    def schema(self) -> pa.Schema:
        return self._rows.schema

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.manifest.files)

    def __repr__(self) -> str:
        return f"Mix(task={self.manifest.task!r}, version={self.version}, rows={len(self)})"

    def batches(self, columns: list[str] | None = None, batch_size: int = 4096) -> Iterator[pa.RecordBatch]:
        """Rows in a fixed order, at most `batch_size` at a time; memory is bounded by a few batches.

        Raises UsageError for an unknown column.
        """
        for column in columns or []:
            if column not in self.schema.names:
                raise UsageError(f"no column '{column}'{suggest(column, self.schema.names)}")
        scanner = self._rows.scanner(
            columns=columns, batch_size=batch_size, batch_readahead=1, fragment_readahead=1, use_threads=False
        )
        return scanner.to_batches()

    def to_table(self) -> pa.Table:
        """Every row, in memory: what `Consumer.fit` takes as `mix`."""
        return self._rows.to_table()

    def to_pandas(self) -> pd.DataFrame:
        return self.to_table().to_pandas()

    def to_torch(
        self,
        real: pa.Table | ds.Dataset | None = None,
        *,
        ratio: float | None = None,
        batch_size: int = 256,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> MixStream:
        """A shuffled torch IterableDataset of batches; see `consumers.reading.streaming.MixStream`.

        `real` has columns `embedding` and `label`, and `weight` where rows weigh other than 1.
        `ratio` is the number of real rows per synthetic row; without it, every row comes once per epoch.
        """
        from consumers.reading.streaming import MixStream

        return MixStream(
            self._rows,
            real,
            dim=self.manifest.dim,
            run=self.manifest.run,
            ratio=ratio,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
