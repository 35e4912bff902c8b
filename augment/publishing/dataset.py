"""The published data set of one task: a Delta table whose head is the current version.

    <root>/_delta_log/                      one commit = one published version, or a rollback; partitioned by `day`
    <root>/<run>/<sha256>.parquet           shards
    <root>/_sparring/manifests/<run>.json   written before the commit, whose metadata holds its hash
    <root>/_sparring/rejected/<run>/        shards and manifest.json of a run that was refused

A commit is one file of the log, created or not: killed at any instant, readers see
the old version or the new one.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from augment.base.errors import BadInput, UsageError
from augment.base.files import file_sha256, sha256, write_whole
from augment.base.progress import say
from augment.contracts.sample import opened
from augment.publishing import pins, spaces
from augment.publishing.audit import problems
from augment.publishing.lock import check_place
from augment.publishing.manifest import ALL_DAYS, Manifest, Shard, Version
from augment.publishing.stage import Stage

T = TypeVar("T")
STATE = "_sparring"
OURS = re.compile(r"\.?[0-9a-f]{64}\.parquet(\.[0-9]+\.tmp)?")  # a shard, or what a killed run left of one


class Dataset:
    def __init__(self, root: Path | str) -> None:
        """Raises NotOurs for a path that no Delta table can be at."""
        self.root = Path(root)
        check_place(self.root)

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def stage(self, run: str, day: str = ALL_DAYS) -> Iterator[Stage]:
        """An empty stage; whatever an exception leaves in it is removed.

        Raises UsageError for a run that is published: older versions still need its shards.
        """
        stage = Stage(self.root, run, day)
        if any(commit["run"] == run for commit in self._commits().values()):
            raise UsageError(f"{self.root}: run {run} is published already; see `sparring ls {self.root}`")
        shutil.rmtree(stage.folder, ignore_errors=True)
        try:
            yield stage
        except BaseException:
            if not stage.committing:
                shutil.rmtree(stage.folder, ignore_errors=True)
            raise

    def publish(self, stage: Stage, manifest: Manifest, gone: Sequence[str] | None = None) -> int:
        """Make the stage the current version in one Delta commit; the version's number.

        gone: the days of the current version that the new one leaves out, besides the stage's own; None: every day.
        """
        if not stage.files or stage.schema is None:
            raise BadInput(f"{self.root}: an empty version cannot be published")
        content = manifest.dump()
        write_whole(self._manifest_path(stage.run), content)
        day = {"day": stage.day}
        adds = [
            AddAction(s.path, s.bytes, day, _milliseconds(), True, json.dumps({"numRecords": s.rows}))
            for s in stage.files
        ]
        properties = CommitProperties(custom_metadata={"run": stage.run, "manifest": sha256(content)})
        schema = Schema.from_arrow(stage.schema)
        stage.committing = True
        table = self._table()
        if table is None:
            # Commits are the lineage of every version: Delta must not expire them after its 30 days.
            keep_log = {"delta.enableExpiredLogCleanup": "false"}
            create_table_with_add_actions(str(self.root.resolve()), schema, adds, partition_by=["day"],
                                          configuration=keep_log, commit_properties=properties)  # fmt: skip
        else:
            filters = None if gone is None else [("day", "in", sorted({stage.day, *gone}))]
            table.create_write_transaction([*adds], "overwrite", schema, partition_by=["day"],
                                           partition_filters=filters, commit_properties=properties)  # fmt: skip
        return self._require().version()

    def shards_by_day(self) -> dict[str, list[Shard]]:
        """The current version's shards, oldest day first."""
        current = self.current()
        table = self._table()
        if current is None or table is None:
            return {}
        shards = {shard.path: shard for shard in self._published(current).manifest.files}
        found: dict[str, list[Shard]] = {}
        for add in sorted(pa.table(table.get_add_actions(flatten=True)).to_pylist(), key=lambda a: a["path"]):
            found.setdefault(add["partition.day"], []).append(shards[add["path"]])
        return dict(sorted(found.items()))

    def damaged(self, shard: Shard) -> Path | None:
        """Where the shard is, when its content is not what was published."""
        path = self._inside(shard.path)
        return None if path.exists() and file_sha256(path) == shard.sha256 else path

    def reject(self, stage: Stage, manifest: Manifest) -> None:
        """Keep the stage for inspection, where no reader of the table sees it."""
        write_whole(stage.folder / "manifest.json", manifest.dump())
        target = self._rejected / stage.run
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        stage.folder.replace(target)

    def keep_quarantine(self, run: str, rows: Path) -> Path:
        """Keep a run's bad rows, each with its reason, for inspection; where they are."""
        path = self.root / STATE / "quarantine" / f"{run}.parquet"
        write_whole(path, rows.read_bytes())
        return path

    def rollback(self, version: int) -> int:
        """A new commit with an older version's content; its number. Raises BadInput when it is damaged."""
        old = self._published(version)
        if version == self.current():
            raise UsageError(f"{self.root}: version {version} is current already")
        if damage := self.verify(version):
            raise BadInput(f"{self.root}: version {version} is damaged, the current one stays: {damage[0]}")
        properties = CommitProperties(custom_metadata={"run": old.run, "manifest": sha256(old.manifest.dump())})
        try:
            self._require().restore(version, commit_properties=properties)
        except DeltaError as error:
            raise BadInput(f"{self.root}: version {version} cannot be restored: {str(error).splitlines()[0]}") from None
        return self._require().version()

    def gc(self, keep_last: int, dry_run: bool = False, keep_days: float = 0) -> list[Path]:
        """Remove shards that no kept version uses, what else is kept of runs, when it is old, and orphans.

        Kept are the last `keep_last` versions, those of the last `keep_days` days, and those that a reader has pinned.
        What the current version needs always stays. Call it under the lock: a running stage is an orphan too.
        """
        published = self.current() is not None
        with pins.guarded(self.root) if published and not dry_run else nullcontext():
            dead = self._dead(keep_last, _milliseconds() - keep_days * 86_400_000 if keep_days else None)
            if not dry_run:
                for path in dead:
                    path.unlink()
                for folder in {path.parent for path in dead}:
                    if not any(folder.iterdir()):
                        folder.rmdir()
        return dead

    def _dead(self, keep_last: int, since: float | None) -> list[Path]:
        """What `gc` removes; `since`, in milliseconds, is when what is kept for its age begins."""
        commits = self._commits()
        recent = [number for number, commit in commits.items() if since and commit["timestamp"] >= since]
        pinned = [number for number in pins.held(self.root) if number in commits]
        versions = {*list(commits)[-max(1, keep_last) :], *recent, *pinned}
        kept = {path for version in versions for path in self._paths(version)}
        # By name: Delta keeps Parquet files too, its checkpoints, and so may the user.
        ours = [path for path in self.root.glob("*/*") if OURS.fullmatch(path.name)]
        dead = [path for path in ours if path.relative_to(self.root).as_posix() not in kept]
        rejected = sorted(self._rejected.glob("*"), key=_modified)
        dead += [path for folder in rejected[:-keep_last] for path in folder.glob("*")]
        runs = {*(commits[version]["run"] for version in versions), *(folder.name for folder in rejected[-keep_last:])}
        quarantine = (self.root / STATE / "quarantine").glob("*.parquet")
        dead += [p for p in quarantine if p.stem not in runs and not (since and _modified(p) >= since)]
        return dead + spaces.unused(self.root, runs)

    # -- reading -----------------------------------------------------------------------------------

    def current(self) -> int | None:
        """The current version's number, or None before the first one."""
        return max(self._commits(), default=None)

    def versions(self) -> list[Version]:
        """Published versions, oldest first, then rejected runs. One whose manifest is damaged is said and left out."""

        def whole(read: Callable[[T], Version], things: Iterable[T]) -> Iterator[Version]:
            for thing in things:
                try:
                    yield read(thing)
                except BadInput as error:
                    say(f"left out: {error}")

        current = self.current()
        published = whole(self._published, self._commits())
        rejected = whole(self._refused, sorted(self._rejected.glob("*/manifest.json")))
        return [
            *(replace(v, status="current") if v.version == current else v for v in published),
            *sorted(rejected, key=lambda v: v.created),
        ]

    def find(self, run: str) -> Version | None:
        """The version or rejected run that a run of this digest ended in, if it ever ended.

        Reads that manifest alone: an old one that is damaged stops no new run.
        """
        numbers = [number for number, commit in self._commits().items() if commit["run"] == run]
        if numbers:
            found = self._published(max(numbers))
            return replace(found, status="current") if found.version == self.current() else found
        path = self._inside(f"{STATE}/rejected/{run}/manifest.json")
        return self._refused(path) if path.exists() else None

    def lost(self, run: str) -> str:
        """What the version that this run published lacks on disk, in words; "" when nothing, or nothing is published.

        It looks at names and sizes alone: `verify` reads the content.
        """
        try:
            found = self.find(run)
        except BadInput:
            return f"{self.root}: the manifest of its version is missing or damaged"
        if found is None or found.version is None:
            return ""
        shards = [(shard, self._inside(shard.path)) for shard in found.manifest.files]
        gone = [shard.path for shard, at in shards if not at.is_file() or at.stat().st_size != shard.bytes]
        if not gone:
            return ""
        return f"{self.root}: {len(gone)} of {len(shards)} files of version {found.version} are gone or cut: {gone[0]}"

    def version(self, number: int | str | None = None) -> Version:
        """A published version by number, as a word too, or run digest; the current one by default."""
        if isinstance(number, str) and number.isdecimal() and int(number) in self._commits():
            number = int(number)
        if isinstance(number, str) and number not in ("", "current"):
            found = self.find(number)
            if found is None or found.version is None:
                raise UsageError(f"{self.root}: no published version {number}; see `sparring ls {self.root}`")
            return found
        if number is None or number in ("", "current"):
            number = self.current()
            if number is None:
                raise UsageError(f"{self.root}: nothing is published here")
        return self._published(int(number))

    def read(self, number: int | str | None = None) -> pads.Dataset:
        """An Arrow data set over one version's files, listed now: later commits do not change it."""
        version = self.version(number)
        paths = [str(self._inside(path)) for path in self._paths(int(version.version or 0))]
        missing = [path for path in paths if not Path(path).exists()]
        if missing:
            raise BadInput(f"{self.root}: version {version.version} was removed by gc; roll forward or run again")
        return opened(paths)

    def samples_of(self, found: Version) -> pa.Table:
        """The rows of a version, or of a rejected run."""
        if found.version is not None:
            return self.read(found.version).to_table()
        shards = sorted(self._inside(f"{STATE}/rejected/{found.run}").glob("*.parquet"))
        return opened([*map(str, shards)]).to_table()

    def verify(self, number: int | str | None = None) -> list[str]:
        """One line for each way in which a version is not what was committed; none when it is whole.

        Recomputes every checksum and re-reads every row.
        """
        try:
            version = self.version(number)
        except BadInput as error:  # the manifest itself
            return [str(error)]
        # Readers of the head also see what others committed after us: OPTIMIZE, an append.
        table = self._table(None if version.version == self.current() else version.version)
        adds = pa.table(table.get_add_actions(flatten=True)).to_pylist() if table else []
        listed = {add["path"]: add["num_records"] for add in adds}
        return list(problems(self.root, version.manifest, listed))

    # -- helpers -----------------------------------------------------------------------------------

    def _table(self, version: int | None = None) -> DeltaTable | None:
        try:
            return DeltaTable(str(self.root.resolve()), version=version)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            raise BadInput(f"{self.root}: no readable version {version}: {str(error).splitlines()[0]}") from None

    def _require(self) -> DeltaTable:
        table = self._table()
        if table is None:
            raise UsageError(f"{self.root}: nothing is published here")
        return table

    def _commits(self) -> dict[int, dict[str, Any]]:
        """Our commits by version, oldest first; those of others (VACUUM, OPTIMIZE) name no manifest."""
        table = self._table()
        history = [] if table is None else reversed(table.history())
        return {int(commit["version"]): commit for commit in history if "manifest" in commit}

    def _published(self, number: int) -> Version:
        entry = self._commits().get(number)
        if entry is None:
            raise UsageError(f"{self.root}: no version {number}; see `sparring ls {self.root}`")
        path, mend = self._manifest_path(entry["run"]), "put it back, or `sparring rollback` to another version"
        try:
            content = path.read_bytes()
        except OSError:
            raise BadInput(f"{path}: the manifest of version {number} is missing; {mend}") from None
        if sha256(content) != entry["manifest"]:
            raise BadInput(f"{path}: changed since version {number} was published; {mend}")
        created = datetime.fromtimestamp(entry["timestamp"] / 1000, timezone.utc).isoformat(timespec="seconds")
        status = f"rolled back to {entry['run']}" if entry.get("operation") == "RESTORE" else "published"
        return Version(number, entry["run"], created, status, Manifest.parse(content, str(path)))

    def _refused(self, path: Path) -> Version:
        manifest = Manifest.parse(path.read_bytes(), str(path))
        return Version(None, manifest.run, manifest.created, "rejected", manifest)

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


def _modified(path: Path) -> float:
    """In milliseconds, as Delta's."""
    return path.stat().st_mtime * 1000


def _milliseconds() -> int:
    return int(datetime.now(timezone.utc).timestamp() * 1000)
