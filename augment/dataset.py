"""The published data set of one task: a Delta table whose head is the current version.

    <root>/_delta_log/                      one commit = one published version, or a rollback
    <root>/<run>/<sha256>.parquet           shards
    <root>/_sparring/manifests/<run>.json   written before the commit, whose metadata holds its hash
    <root>/_sparring/rejected/<run>/        shards and manifest.json of a run that was refused

A commit is one file of the log, created or not: killed at any instant, readers see the old version or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions
from filelock import FileLock, Timeout

from augment.errors import BadInput, Locked, UsageError
from augment.manifest import Manifest, Shard, sha256

STATE = "_sparring"


@dataclass(frozen=True)
class Version:
    """A published version (a number of the Delta log), or a rejected run (no number)."""

    version: int | None
    run: str
    created: str
    status: str  # "current", "published", "rolled back to" or "rejected"
    manifest: Manifest

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.manifest.files)


@dataclass
class Stage:
    """A run's shards before the verdict. They are in place already, but no log names them yet."""

    root: Path
    run: str
    files: list[Shard] = field(default_factory=list)
    schema: pa.Schema | None = None

    @property
    def folder(self) -> Path:
        return self.root / self.run

    def write(self, table: pa.Table) -> None:
        """One shard, named by its content: whole and on disk when this returns."""
        self.schema = table.schema
        self.folder.mkdir(parents=True, exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        name = f"{sha256(content)}.parquet"
        _write(self.folder / name, content)
        self.files.append(Shard(f"{self.run}/{name}", sha256(content), len(table), len(content)))

    def read(self) -> pa.Table:
        return pa.concat_tables(pq.ParquetFile(self.root / shard.path).read() for shard in self.files)


class Dataset:
    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # -- writing ------------------------------------------------------------------------------------------------

    @contextmanager
    def stage(self, run: str) -> Iterator[Stage]:
        """An empty stage; whatever an exception leaves in it is removed."""
        stage = Stage(self.root, run)
        shutil.rmtree(stage.folder, ignore_errors=True)
        try:
            yield stage
        except BaseException:
            shutil.rmtree(stage.folder, ignore_errors=True)
            raise

    def publish(self, stage: Stage, manifest: Manifest) -> int:
        """Make the stage the current version in one Delta commit; the version's number."""
        if not stage.files or stage.schema is None:
            raise BadInput(f"{self.root}: an empty version cannot be published")
        content = manifest.dump()
        _write(self._manifest_path(stage.run), content)
        adds = [
            AddAction(s.path, s.bytes, {}, _milliseconds(), True, json.dumps({"numRecords": s.rows}))
            for s in stage.files
        ]
        properties = CommitProperties(custom_metadata={"run": stage.run, "manifest": sha256(content)})
        table = self._table()
        if table is None:
            create_table_with_add_actions(
                str(self.root.resolve()), _delta_schema(stage.schema), adds, commit_properties=properties
            )
        else:
            table.create_write_transaction(
                adds, "overwrite", _delta_schema(stage.schema), commit_properties=properties
            )
        return self._require().version()

    def reject(self, stage: Stage, manifest: Manifest) -> None:
        """Keep the stage for inspection, where no reader of the table sees it."""
        _write(stage.folder / "manifest.json", manifest.dump())
        target = self._rejected / stage.run
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        stage.folder.replace(target)

    def rollback(self, version: int) -> int:
        """A new commit with the content of an older version; its number."""
        old = self._published(version)
        properties = CommitProperties(
            custom_metadata={"run": old.run, "manifest": sha256(old.manifest.dump())}
        )
        try:
            self._require().restore(version, commit_properties=properties)
        except DeltaError as error:
            raise BadInput(
                f"{self.root}: version {version} cannot be restored: {str(error).splitlines()[0]}"
            ) from None
        return self._require().version()

    def gc(self, keep_last: int, dry_run: bool = False) -> list[Path]:
        """Remove shards that none of the last `keep_last` versions uses, older rejected runs, and orphans.

        What the current version needs always stays. Call it under the lock: a running stage is an orphan too.
        """
        kept = {path for version in self._numbers()[-max(1, keep_last) :] for path in self._paths(version)}
        dead = [p for p in self.root.glob("*/*.parquet") if p.relative_to(self.root).as_posix() not in kept]
        rejected = sorted(self._rejected.glob("*"), key=lambda p: p.stat().st_mtime)
        dead += [p for folder in rejected[: max(0, len(rejected) - keep_last)] for p in folder.glob("*")]
        if not dry_run:
            for path in dead:
                path.unlink()
            for folder in {path.parent for path in dead}:
                if not any(folder.iterdir()):
                    folder.rmdir()
        return dead

    # -- reading ------------------------------------------------------------------------------------------------

    def current(self) -> int | None:
        """The current version's number, or None before the first one."""
        table = self._table()
        return None if table is None else table.version()

    def versions(self) -> list[Version]:
        """Published versions, oldest first, then rejected runs."""
        current = self.current()
        published = [self._published(number) for number in self._numbers()]
        published = [replace(v, status="current") if v.version == current else v for v in published]
        rejected = []
        for path in sorted(self._rejected.glob("*/manifest.json")):
            manifest = Manifest.parse(path.read_bytes(), str(path))
            rejected.append(Version(None, manifest.run, manifest.created, "rejected", manifest))
        return published + sorted(rejected, key=lambda v: v.created)

    def find(self, run: str) -> Version | None:
        """The version or rejected run that a run of this digest ended in, if it ever ended."""
        return next((v for v in reversed(self.versions()) if v.run == run), None)

    def version(self, number: int | str | None = None) -> Version:
        """A published version by number or run digest; the current one by default."""
        if isinstance(number, str) and number not in ("", "current"):
            found = self.find(number)
            if found is None or found.version is None:
                raise UsageError(f"{self.root}: no published version has the run {number}")
            return found
        current = self._require().version()
        return self._published(current if number in (None, "", "current") else int(number))

    def read(self, number: int | str | None = None) -> pads.Dataset:
        """An Arrow data set over one version's files, listed now: later commits do not change it."""
        version = self.version(number)
        paths = [str(self._inside(path)) for path in self._paths(int(version.version or 0))]
        missing = [path for path in paths if not Path(path).exists()]
        if missing:
            raise BadInput(
                f"{self.root}: version {version.version} was removed by gc; roll forward or run again"
            )
        return pads.dataset(paths, format="parquet")

    # -- helpers ------------------------------------------------------------------------------------------------

    def _table(self, version: int | None = None) -> DeltaTable | None:
        try:
            return DeltaTable(str(self.root.resolve()), version=version)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            raise BadInput(
                f"{self.root}: no readable version {version}: {str(error).splitlines()[0]}"
            ) from None

    def _require(self) -> DeltaTable:
        table = self._table()
        if table is None:
            raise UsageError(f"{self.root}: nothing is published here")
        return table

    def _numbers(self) -> list[int]:
        table = self._table()
        return [] if table is None else sorted(int(entry["version"]) for entry in table.history())

    def _published(self, number: int) -> Version:
        entry = next((e for e in self._require().history() if int(e["version"]) == number), None)
        if entry is None or "run" not in entry:
            raise UsageError(f"{self.root}: no version {number}; see `sparring ls {self.root}`")
        path = self._manifest_path(entry["run"])
        try:
            content = path.read_bytes()
        except OSError:
            raise BadInput(f"{path}: the manifest of version {number} is missing") from None
        if sha256(content) != entry["manifest"]:
            raise BadInput(f"{path}: changed since version {number} was published")
        created = datetime.fromtimestamp(entry["timestamp"] / 1000, timezone.utc).isoformat(
            timespec="seconds"
        )
        status = f"rolled back to {entry['run']}" if entry.get("operation") == "RESTORE" else "published"
        return Version(number, entry["run"], created, status, Manifest.parse(content, str(path)))

    def _paths(self, version: int) -> list[str]:
        table = self._table(version)
        adds = pa.table(table.get_add_actions()) if table else pa.table({"path": []})
        return sorted(adds["path"].to_pylist())

    def _inside(self, path: str) -> Path:
        """A log or manifest may be tampered with: no path leaves the root."""
        resolved = (self.root / path).resolve()
        if not resolved.is_relative_to(self.root.resolve()):
            raise BadInput(f"{self.root}: {path} points outside the table")
        return resolved

    def _manifest_path(self, run: str) -> Path:
        return self._inside(f"{STATE}/manifests/{run}.json")

    @property
    def _rejected(self) -> Path:
        return self.root / STATE / "rejected"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the output folder. Raises Locked at once, naming the holder; a lock dies with its process."""
    output.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(output / ".lock", timeout=0), output / ".lock.holder"
    try:
        lock.acquire()
    except Timeout:
        holder = note.read_text().strip() if note.exists() else "another process"
        raise Locked(f"{output} is in use by {holder}; wait for it, or choose another output") from None
    try:
        note.write_text(
            f"{socket.gethostname()} pid {os.getpid()} since {datetime.now(timezone.utc):%F %T} UTC"
        )
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _write(path: Path, content: bytes) -> None:
    """Whole and on disk, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _delta_schema(schema: pa.Schema):  # type: ignore[no-untyped-def]
    from deltalake import Schema

    return Schema.from_arrow(schema)


def _milliseconds() -> int:
    return int(datetime.now(timezone.utc).timestamp() * 1000)
