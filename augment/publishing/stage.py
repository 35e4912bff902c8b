"""Samples on their way to a version: shards under content-hashed names, not yet committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.files import sha256, write_whole
from augment.publishing.manifest import ALL_DAYS, Shard

SHARD_ROWS = 16_384  # 25 MB of 384 numbers each: what a stage holds in memory


@dataclass
class Stage:
    """A run's shards before the verdict. They are in place already, but no log names them yet."""

    root: Path
    run: str
    day: str = ALL_DAYS  # the partition of its rows
    written: list[Shard] = field(default_factory=list)
    waiting: list[pa.Table] = field(default_factory=list)
    schema: pa.Schema | None = None
    committing: bool = False  # from here on the log may name the shards: no exception removes them any more

    @property
    def folder(self) -> Path:
        return self.root / self.run

    def write(self, table: pa.Table) -> None:
        """Add rows: they go to disk in shards of `SHARD_ROWS`, so that a version is a few files."""
        self.schema = table.schema
        self.waiting.append(table)
        if sum(map(len, self.waiting)) >= SHARD_ROWS:
            self._flush()

    @property
    def files(self) -> list[Shard]:
        """Every shard, the rows still waiting among them: on disk when this returns."""
        self._flush()
        return self.written

    def _flush(self) -> None:
        """One shard of the waiting rows, if there are any, named by its content."""
        if not self.waiting:
            return
        table = pa.concat_tables(self.waiting)
        self.waiting.clear()
        self.folder.mkdir(parents=True, exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        name = f"{sha256(content)}.parquet"
        write_whole(self.folder / name, content)
        self.written.append(Shard(f"{self.run}/{name}", sha256(content), len(table), len(content)))

    def drop(self, shards: Sequence[Shard]) -> None:
        """Take shards back, from disk too."""
        for shard in shards:
            self.written.remove(shard)
            (self.root / shard.path).unlink()

    def replace(self, samples: pa.Table) -> pa.Table:
        """These are all rows from now on, as `read` gives them; at least one."""
        before = [*self.files]
        if self.read().equals(samples):
            return samples
        for start in range(0, len(samples), SHARD_ROWS):
            self.write(samples.slice(start, SHARD_ROWS))
        kept = {shard.path for shard in self.files[len(before) :]}
        self.drop([shard for shard in before if shard.path not in kept])
        return self.read()

    def read(self) -> pa.Table:
        """All rows, in the order in which readers of the published version will find them."""
        paths = sorted(shard.path for shard in self.files)
        return pa.concat_tables(pq.ParquetFile(self.root / path).read() for path in paths)
