"""What was read of a source so far, by day: each night reads only what is new.

    <folder>/index.json                     what it was read with, files read (stat and hash), and the parts of each day
    <folder>/<day>/<sha256>.parquet         one day's raw rows of one file or query: the recipe's columns, as text

The index is replaced whole after its parts are on disk: killed at any instant, what it names is there, and what it does
not name is nobody's.

A file is its content: under another name it is not read again, and two copies count once. A file that changed replaces
its own rows. Rows of a file that is gone stay, since logs are often removed long before the window has passed them. A
file that cannot be read is tried again each night, and what was read of it before stays. Other columns, or another
path or query, in the recipe read everything anew: rows without the new columns are of no use.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb

from augment.base.errors import BadInput
from augment.base.files import file_sha256, sha256, write_whole
from augment.recipes.source import OF_TEXT, Source
from augment.sources.files import check_regular, columns_of, load, paths_of, workspace
from augment.sources.formats import MALFORMED, own
from augment.sources.sql import EARLIEST, given, literal, microseconds

INDEX = "index.json"
VERSION = 3  # of what parts hold: another one reads everything anew


@dataclass
class Entry:
    """A file as it was when it was read; a query has no stat."""

    size: int = 0
    modified: int = 0  # nanoseconds
    sha256: str = ""
    parts: dict[str, str] = field(default_factory=dict)  # day → file of that day's rows
    rows: dict[str, int] = field(default_factory=dict)  # day → rows, without malformed lines
    malformed: int = 0


@dataclass
class Intake:
    """What one night took in."""

    rows: int = 0
    bytes: int = 0
    files: int = 0
    malformed: int = 0  # lines that are no rows: they count as bad rows of the window
    days: dict[str, int] = field(default_factory=dict)  # day → new rows
    bad_files: dict[str, str] = field(default_factory=dict)  # file → why it was left out


class Ledger:
    """Source by source: `folder` is this one's own."""

    def __init__(self, folder: Path, name: str, source: Source) -> None:
        self._folder, self._name, self._source = folder, name, source
        path, anew = folder / INDEX, f"delete {folder} to read all anew"
        try:
            found = json.loads(path.read_text("utf-8")) if path.exists() else {}
            self._known = found.get("read_with") == self._read_with()  # else what is there is of another recipe
            entries = found["entries"] if self._known else {}
            self._entries = {key: Entry(**entry) for key, entry in entries.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(f"{path}: not an index of this version ({error}); {anew}") from None

    def take_in(self, as_of: date, lookback: int, skip_bad: bool) -> Intake:
        """Read what is new up to and with the day `as_of`; of a database, the last `lookback` days anew.

        Rows without a day of their own, or from the future, are put under `as_of`: cleaning gives them their reason. Of
        a database they are read the first time alone: later on their day is to come, or they are known.
        Raises BadInput for a file or column that cannot be read; unless `skip_bad`, nothing is taken in then.
        """
        taken = Intake()
        entries = dict(self._entries)
        if self._source.path:
            self._take_files(entries, taken, as_of, skip_bad)
        else:
            self._take_query(entries, taken, as_of, lookback)
        if entries != self._entries or not self._known:
            self._keep(entries)
        self._sweep()
        return taken

    def window(self, first: date, last: date) -> list[str]:
        """The parts of the days from `first` to `last`, oldest first. Raises BadInput when one is not what it was."""
        paths = [self._folder / day / part for day, part in sorted(self._parts_of(first, last))]
        for path in paths:
            if not path.is_file() or file_sha256(path) != path.stem:
                raise BadInput(f"{path}: damaged or missing; delete {self._folder} to read all anew")
        return [str(path) for path in paths]

    def source(self, first: date, last: date) -> Source | None:
        """The window as a source of its own, or None where it is empty; raises what `window` does."""
        parts = self.window(first, last)
        return self._source.model_copy(update={"path": parts, "connection": None, "query": None}) if parts else None

    def day_rows(self, day: date) -> int:
        """Raw rows of a day."""
        return sum(self._parts_of(day, day).values())

    def _parts_of(self, first: date, last: date) -> dict[tuple[str, str], int]:
        """Day and file of each part → its rows; that of two copies once."""
        return {
            (day, part): entry.rows[day]
            for entry in self._entries.values()
            for day, part in entry.parts.items()
            if str(first) <= day <= str(last)
        }

    def newest(self) -> str | None:
        """The latest day there are rows of."""
        return max((day for entry in self._entries.values() for day in entry.parts), default=None)

    def _read_with(self) -> str:
        """Digest of what decides what is read, and of which day it is."""
        decisive = {"path", "connection", "query", "timestamp_format", "null", *OF_TEXT}
        source = self._source.model_dump(mode="json", include=decisive)
        columns = [sorted(columns_of(self._source)), self._source.columns.timestamp]
        return sha256(json.dumps([VERSION, columns, source], sort_keys=True).encode())

    # -- files -------------------------------------------------------------------------------------

    def _take_files(self, entries: dict[str, Entry], taken: Intake, as_of: date, skip_bad: bool) -> None:
        paths = paths_of(self._source)
        names = {entry.sha256: path for path, entry in self._entries.items()}
        for path in paths:
            try:
                check_regular(path)
                stat, known = Path(path).stat(), entries.get(path)
                if known and (known.size, known.modified) == (stat.st_size, stat.st_mtime_ns):
                    continue
                digest = file_sha256(Path(path))
                taken.bytes += stat.st_size
                if name := names.get(digest):  # touched, renamed or copied
                    entry = self._entries[name]
                    if name not in paths:
                        entries.pop(name, None)
                else:
                    entry = self._read_file(path, as_of)
                    taken.files += 1
                    taken.malformed += entry.malformed
                    _count(taken, entry.rows)
                entries[path] = replace(entry, size=stat.st_size, modified=stat.st_mtime_ns, sha256=digest)
            except BadInput as error:
                if not skip_bad:
                    raise
                taken.bad_files[path] = str(error)
        for path in entries.keys() - set(paths):
            if not entries[path].parts:  # gone, and so are its days
                del entries[path]

    def _read_file(self, path: str, as_of: date) -> Entry:
        if not Path(path).stat().st_size:
            return Entry()
        with self._workspace() as db:
            load(db, self._name, self._source, path)
            return self._deal_out(db, as_of, "__row")

    # -- databases ---------------------------------------------------------------------------------

    def _take_query(self, entries: dict[str, Entry], taken: Intake, as_of: date, lookback: int) -> None:
        """The days that are not there yet, and the last few again: rows arrive late."""
        newest = self.newest()
        since = as_of - timedelta(days=lookback) if newest and self._source.columns.timestamp else None
        if newest and since and date.fromisoformat(newest) < since:
            since = date.fromisoformat(newest)  # nights were missed
        query = str(self._source.query)
        old = entries.get(query, Entry())
        with self._workspace() as db:
            load(db, self._name, self._source, since=since)
            new = self._deal_out(db, as_of, "ALL", since)  # a query's rows have no order
        taken.bytes += sum((self._folder / day / part).stat().st_size for day, part in new.parts.items())
        _count(taken, {day: count for day, count in new.rows.items() if old.parts.get(day) != new.parts[day]})
        kept = [day for day in old.parts if since and day < str(since)]
        entries[query] = Entry(parts={**{day: old.parts[day] for day in kept}, **new.parts},
                               rows={**{day: old.rows[day] for day in kept}, **new.rows})  # fmt: skip

    # -- both --------------------------------------------------------------------------------------

    @contextmanager
    def _workspace(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A scratch database on disk, gone afterwards."""
        scratch = self._folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            with workspace(scratch / "night.duckdb", self._name) as db:
                yield db
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _deal_out(self, db: duckdb.DuckDBPyConnection, as_of: date, order: str, since: date | None = None) -> Entry:
        """Write what was loaded as one part for each day, in that order; days before `since` are left out."""
        names = ", ".join(own(column) for column in columns_of(self._source))
        other = "NULL" if since else f"'{as_of}'"
        day = other  # without timestamps, rows are of the day on which they came
        if column := self._source.columns.timestamp:
            moment = microseconds(given(own(column), self._source.null), self._source.timestamp_format)
            soonest = f"greatest(epoch_us(now()), epoch_us(TIMESTAMP '{as_of}')) + 86400000000"
            day = (
                f"CASE WHEN {moment} BETWEEN {EARLIEST} AND {soonest} "
                f"THEN strftime(make_timestamp({moment}), '%Y-%m-%d') ELSE {other} END"
            )
        db.execute(
            f"CREATE TABLE dated AS SELECT __row, {day} AS __day, {names} FROM raw UNION ALL BY NAME "
            f"SELECT __row, '{as_of}' AS __day, line AS {MALFORMED} FROM malformed"
        )
        found = Entry(malformed=db.execute("SELECT count(*) FROM malformed").fetchall()[0][0])
        days = f"SELECT __day, count(*) FILTER ({MALFORMED} IS NULL) FROM dated WHERE __day >= ? GROUP BY 1 ORDER BY 1"
        for name, count in db.execute(days, [str(since or date.min)]).fetchall():
            scratch = self._folder / "part.tmp"
            query = f"SELECT {names}, {MALFORMED} FROM dated WHERE __day = ? ORDER BY {order}"
            db.execute(f"COPY ({query}) TO {literal(str(scratch))} (FORMAT parquet)", [name])
            content = scratch.read_bytes()
            found.parts[name], found.rows[name] = f"{sha256(content)}.parquet", count
            write_whole(self._folder / name / found.parts[name], content)
            scratch.unlink()
        return found

    def _sweep(self) -> None:
        """Remove parts that the index does not name: left by a killed night, or of a file that changed."""
        named = defaultdict(set)
        for entry in self._entries.values():
            for day, part in entry.parts.items():
                named[day].add(part)
        for folder in self._folder.glob("????-??-??"):
            for path in folder.iterdir():
                if path.name not in named[folder.name]:
                    path.unlink()
            if not named[folder.name]:
                shutil.rmtree(folder)

    def _keep(self, entries: dict[str, Entry]) -> None:
        index = {"read_with": self._read_with(), "entries": {k: asdict(entry) for k, entry in sorted(entries.items())}}
        write_whole(self._folder / INDEX, json.dumps(index, indent=0).encode())
        self._entries, self._known = entries, True

    def forget(self, before: date) -> int:
        """Drop days before `before`; how many parts went. Their files stay known: they are not read again."""
        gone = 0
        for entry in self._entries.values():
            old = [day for day in entry.parts if day < str(before)]
            gone += len(old)
            for day in old:
                del entry.parts[day], entry.rows[day]
        if gone:
            self._keep(self._entries)
            self._sweep()
        return gone


def yesterday() -> date:
    return datetime.now(timezone.utc).date() - timedelta(days=1)


def _count(taken: Intake, rows: Mapping[str, int]) -> None:
    taken.rows += sum(rows.values())
    for day, count in rows.items():
        taken.days[day] = taken.days.get(day, 0) + count
