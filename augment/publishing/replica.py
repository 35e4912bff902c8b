"""A replica of a published table on S3-compatible storage, for readers elsewhere.

The local table stays the source of truth. The replica's files have the same names (see `dataset`), but its Delta log
counts for itself: one commit for each version that was current when it was brought up to date. A run digest names the
same version in both places.

Shards and manifest are there before the commit, and the commit is one object, put only if no other took its number:
killed at any instant, readers see the old version or the new one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions
from pyarrow import fs

from augment.base.errors import BadInput, Unavailable, UsageError
from augment.base.files import file_sha256, sha256
from augment.contracts.sample import opened
from augment.publishing import spaces
from augment.publishing.dataset import STATE, Dataset
from augment.publishing.manifest import Manifest, Shard, Version
from augment.publishing.s3 import AWAY, Connections, reason_of, settings_of

if TYPE_CHECKING:
    from augment.language.ngrams import Ngrams

# Characters that Delta and Arrow both leave as they are; others they would escape, each in its way.
URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.+(/|$))[A-Za-z0-9._=-]+)+/?")
# The library's default, which a variable of the environment could turn off: a commit never replaces another.
STORAGE = {"aws_conditional_put": "etag"}


def replicate(root: Path, url: str) -> int:
    """Make the current version of the local table at `root` that of the replica at `url`; its number there.

    Uploads what is not there yet, then commits once, unless the replica's head is this version already. Call it under
    the lock of the local table: gc would remove files meanwhile.

    Raises UsageError when there is nothing to copy, or `url` holds something else; Unavailable when the storage is
    away; BadInput when it refuses, a local file is damaged, or another process commits there at the same time.
    """
    return Replica(url).update(Dataset(root))


def verify_replica(url: str, version: int | str | None = None) -> list[str]:
    """One line for each way in which the replica's files are not those of its manifest; none when all are.

    Reads every byte. Rows are audited where they are published, by `Dataset.verify`.
    """
    return Replica(url).verify(version)


class Replica:
    """The replica of one task's table; it is read as a `Dataset` is."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for a URL, or settings in the environment, that cannot be used."""
        if not URL.fullmatch(url):
            raise UsageError(f"{url}: not the URL of a replica; s3://bucket/prefix, of letters, digits and . _ = -")
        self.url = url.rstrip("/")
        self._connections = Connections(settings_of(url))

    # -- writing -----------------------------------------------------------------------------------

    def update(self, dataset: Dataset) -> int:
        """See `replicate`."""
        version = dataset.version()
        local = DeltaTable(str(dataset.root.resolve()), version=version.version)
        remote = self._table()
        content = (dataset.root / _manifest_path(version.run)).read_bytes()
        commit = {"run": version.run, "manifest": sha256(content)}
        commits = self._commits(remote)
        self._refuse_others(local, remote, commits, commit)
        self._upload(dataset.root, version.manifest, _adds(local))
        for path in self._missing(spaces.paths(version.manifest.encoders)):
            self._copy(dataset.root, path)
        self._put_manifest(version.run, content)
        if remote is not None:
            current = max(commits)
            if commit.items() <= commits[current].items() and _sizes(remote) == _sizes(local):
                return current
        return self._commit(local, remote, commit)

    def _refuse_others(
        self,
        local: DeltaTable,
        remote: DeltaTable | None,
        commits: Mapping[int, Mapping[str, Any]],
        commit: Mapping[str, str],
    ) -> None:
        """Never replace what is no replica of this table, nor the manifest that an older version there names."""
        if remote is None:
            return
        if not commits:
            raise UsageError(f"{self.url}: holds a Delta table that is no replica; choose another URL")
        if remote.metadata().partition_columns != local.metadata().partition_columns:
            raise UsageError(f"{self.url}: the replica has other partitions than the table; choose another URL")
        if any(c["run"] == commit["run"] and c["manifest"] != commit["manifest"] for c in commits.values()):
            raise UsageError(f"{self.url}: holds another table's run {commit['run']}; choose another URL")

    def _upload(self, root: Path, manifest: Manifest, adds: Mapping[str, AddAction]) -> None:
        """The shards that are not there in their size. A damaged one is not spread."""
        shards = {shard.path: shard for shard in manifest.files}
        there = self._sizes_there(adds)
        for path, add in adds.items():
            if there[path] == add.size:
                continue
            if path not in shards or file_sha256(root / path) != shards[path].sha256:
                raise BadInput(f"{root / path}: not what was published; see `sparring verify {root}`")
            self._copy(root, path)

    def _copy(self, root: Path, path: str) -> None:
        here = fs.LocalFileSystem()
        with self._told():
            fs.copy_files(str(root / path), self._key(path), source_filesystem=here, destination_filesystem=self._files)

    def _put_manifest(self, run: str, content: bytes) -> None:
        path = _manifest_path(run)
        if self._content(path) == content:
            return
        with self._told(), self._files.open_output_stream(self._key(path)) as stream:
            stream.write(content)

    def _commit(self, local: DeltaTable, remote: DeltaTable | None, commit: dict[str, str]) -> int:
        """The head becomes the files of `local`, in one commit right after the one that was read, or none at all."""
        adds, metadata = _adds(local), local.metadata()
        columns = metadata.partition_columns
        properties = CommitProperties(custom_metadata=commit, max_commit_retries=0)
        if remote is None:
            with self._told():
                create_table_with_add_actions(self.url, local.schema(), [*adds.values()], partition_by=columns,
                                              configuration=metadata.configuration, storage_options=STORAGE,
                                              commit_properties=properties)  # fmt: skip
            return 0
        filters = None
        if columns:  # only partitions that differ: a commit should not remove and add the same file
            here, there = _by_partition(adds, columns[0]), _by_partition(_adds(remote), columns[0])
            changed = {value for value in here.keys() | there.keys() if here.get(value) != there.get(value)}
            if None not in changed:
                filters = [(columns[0], "in", sorted(str(value) for value in changed))]
                adds = {path: add for path, add in adds.items() if add.partition_values[columns[0]] in changed}
        with self._told():
            remote.create_write_transaction([*adds.values()], "overwrite", local.schema(), partition_by=columns,
                                            partition_filters=filters, commit_properties=properties)  # fmt: skip
        return remote.version() + 1

    # -- reading -----------------------------------------------------------------------------------

    def version(self, wanted: int | str | None = None) -> Version:
        """A version by its number here or its run digest; the current one by default."""
        commits = self._commits(self._table())
        if not commits:
            raise UsageError(f"{self.url}: no replica here; a URL of a whole output needs task=")
        number = max(commits)
        if wanted not in (None, "", "current"):
            number = max((n for n, commit in commits.items() if wanted in (n, str(n), commit["run"])), default=-1)
        if number not in commits:
            known = ", ".join(f"{n} (run {commit['run']})" for n, commit in commits.items())
            raise UsageError(f"{self.url}: no version {wanted}; known: {known}")
        commit, path = commits[number], _manifest_path(commits[number]["run"])
        content = self._content(path)
        if content is None:
            raise BadInput(f"{self.url}/{path}: the manifest of version {number} is missing")
        if sha256(content) != commit["manifest"]:
            raise BadInput(f"{self.url}/{path}: changed since version {number} was published")
        created = datetime.fromtimestamp(commit["timestamp"] / 1000, timezone.utc).isoformat(timespec="seconds")
        status = "current" if number == max(commits) else "published"
        return Version(number, commit["run"], created, status, Manifest.parse(content, f"{self.url}/{path}"))

    def read(self, number: int | str | None = None) -> pads.Dataset:
        """An Arrow data set over one version's files, listed now: later commits do not change it."""
        version = self.version(number)
        paths = sorted(_sizes(self._require(version.version)))
        if missing := self._missing(paths):
            raise BadInput(f"{self.url}/{missing[0]}: missing; version {version.version} cannot be read")
        with self._told():
            files = fs.PyFileSystem(self._connections)
            return opened([self._key(path) for path in paths], filesystem=files)

    def verify(self, number: int | str | None = None) -> list[str]:
        """See `verify_replica`."""
        try:
            version = self.version(number)
        except BadInput as error:  # the manifest itself
            return [str(error)]
        # Readers of the head also see what others committed after us.
        table = self._require(None if version.status == "current" else version.version)
        listed = _sizes(table)
        promised = {shard.path: shard.bytes for shard in version.manifest.files}
        disagree = sorted({name for name, _ in promised.items() ^ listed.items()})
        problems = [f"{name}: the Delta log and the manifest disagree on this file" for name in disagree]
        return problems + [line for shard in version.manifest.files if (line := self._damage(shard))]

    def _damage(self, shard: Shard) -> str | None:
        digest = hashlib.sha256()
        try:
            with self._told(), self._files.open_input_stream(self._key(shard.path)) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except FileNotFoundError:
            return f"{shard.path}: missing"
        changed = digest.hexdigest() != shard.sha256
        return f"{shard.path}: its content changed, sha256 differs from the manifest's" if changed else None

    # -- helpers -----------------------------------------------------------------------------------

    @property
    def _files(self) -> fs.S3FileSystem:
        return self._connections.here

    def _table(self, version: int | None = None) -> DeltaTable | None:
        try:
            with self._told():
                return DeltaTable(self.url, version=version, storage_options=STORAGE)
        except TableNotFoundError:
            return None

    def _require(self, version: int | None) -> DeltaTable:
        table = self._table(version)
        if table is None:
            raise BadInput(f"{self.url}: the table was removed while it was read")
        return table

    def _commits(self, table: DeltaTable | None) -> dict[int, dict[str, Any]]:
        """Our commits by version, oldest first; those of others (VACUUM, OPTIMIZE) name no manifest."""
        if table is None:
            return {}
        with self._told():
            return {int(c["version"]): c for c in reversed(table.history()) if "manifest" in c and "run" in c}

    def _content(self, path: str) -> bytes | None:
        try:
            with self._told(), self._files.open_input_stream(self._key(path)) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def _sizes_there(self, paths: Iterable[str]) -> dict[str, int | None]:
        """Sizes of the objects at these paths, None where there is none."""
        named = list(paths)
        with self._told():
            found = self._files.get_file_info([self._key(path) for path in named])
        return {path: info.size if info.is_file else None for path, info in zip(named, found, strict=True)}

    def _missing(self, paths: Iterable[str]) -> list[str]:
        return [path for path, size in self._sizes_there(paths).items() if size is None]

    def ngrams(self, encoders: Iterable[str]) -> Ngrams | None:
        """See `spaces.load`."""
        return spaces.load(encoders, self._content, self.url)

    def _key(self, path: str) -> str:
        """A log or manifest may be tampered with: no path leaves the replica."""
        plain = PurePosixPath(path)
        if plain.is_absolute() or ".." in plain.parts or "://" in path:
            raise BadInput(f"{self.url}: {path} points outside the table")
        return f"{self.url.removeprefix('s3://')}/{plain}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the storage says becomes one line. What is not there is the caller's to tell."""
        try:
            yield
        except (FileNotFoundError, TableNotFoundError):
            raise
        except CommitFailedError:
            raise BadInput(f"{self.url}: another process commits here; replicate again") from None
        except (DeltaError, OSError, pa.ArrowException) as error:
            kind = Unavailable if AWAY.search(str(error)) else BadInput
            raise kind(f"{self.url}: {reason_of(error)}") from None


def _adds(table: DeltaTable) -> dict[str, AddAction]:
    """The table's files, each with the action that adds it to another table."""
    columns = table.metadata().partition_columns
    now = int(datetime.now(timezone.utc).timestamp() * 1000)
    found = {}
    for add in sorted(pa.table(table.get_add_actions(flatten=True)).to_pylist(), key=lambda add: add["path"]):
        values = {column: add[f"partition.{column}"] for column in columns}
        partition = {column: None if value is None else str(value) for column, value in values.items()}
        stats = {} if add["num_records"] is None else {"numRecords": add["num_records"]}
        found[add["path"]] = AddAction(add["path"], add["size_bytes"], partition, now, True, json.dumps(stats))
    return found


def _sizes(table: DeltaTable) -> dict[str, int]:
    return {path: add.size for path, add in _adds(table).items()}


def _by_partition(adds: Mapping[str, AddAction], column: str) -> dict[str | None, dict[str, int]]:
    """Files and their sizes by the value of one partition column."""
    found: dict[str | None, dict[str, int]] = {}
    for path, add in adds.items():
        found.setdefault(add.partition_values[column], {})[path] = add.size
    return found


def _manifest_path(run: str) -> str:
    return f"{STATE}/manifests/{run}.json"
