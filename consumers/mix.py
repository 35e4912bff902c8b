"""A published data set, opened for reading at a pinned version: Arrow, pandas or torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from augment.dataset import Dataset, Version
from augment.errors import UsageError, suggest
from augment.manifest import Manifest
from augment.replica import Replica

if TYPE_CHECKING:
    import pandas as pd

    from consumers.streaming import MixStream


def open_mix(path: str | Path, task: str | None = None, version: int | str | None = "current") -> Mix:
    """Open the samples of one task: `path` is a run's output folder, with `task`, or the task's table itself.

    It may be the URL of a replica, s3://bucket/prefix; see `augment.replica` for the environment that needs.
    `version` is a Delta version, a run digest or "current". It is resolved here, once: a run that publishes
    meanwhile changes nothing for this reader.

    Raises UsageError when there is no such table or version, BadInput when its files are gone or changed.
    """
    if "://" in str(path):
        url = str(path).rstrip("/")
        return _open(Replica(url if task is None else f"{url}/{task}"), version)
    root = Path(path) if task is None else Path(path) / task
    if not (root / "_delta_log").is_dir():
        tables = sorted(log.parent.name for log in Path(path).glob("*/_delta_log"))
        if task is None and tables:
            raise UsageError(f"{path} holds several tasks: choose one with task=, of {', '.join(tables)}")
        hint = suggest(task, tables) if task is not None else "; `sparring run` publishes"
        raise UsageError(f"{root}: no published data set here{hint}")
    return _open(Dataset(root), version)


def _open(table: Dataset | Replica, version: int | str | None) -> Mix:
    found = table.version(version)
    return Mix(found, table.read(found.version))


class Mix:
    """One version of one task's samples, with the columns of `augment.samples.sample_schema`."""

    def __init__(self, version: Version, rows: ds.Dataset) -> None:
        self.version = version.version
        self.manifest: Manifest = version.manifest
        self._rows = rows

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
        """A shuffled torch IterableDataset of batches; see `consumers.streaming.MixStream`.

        `real` has columns `embedding` and `label`, and `weight` where rows weigh other than 1.
        `ratio` is the number of real rows per synthetic row; without it, every row comes once per epoch.
        """
        from consumers.streaming import MixStream

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
