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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import duckdb

from augment.base.errors import BadInput
from augment.base.files import file_sha256, sha256, write_whole
from augment.contracts.registry import source_kind
from augment.contracts.source import Entry, Intake, Reading
from augment.recipes.source import OF_TEXT, Source
from augment.sources.formats import MALFORMED, own
from augment.sources.sql import EARLIEST, given, literal, microseconds
from augment.sources.tables import columns_of, load, workspace

INDEX = "index.json"
VERSION = 4  # of what parts hold: another one reads everything anew


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
        read = partial(self._read, as_of)
        reading = Reading(dict(self._entries), as_of, lookback, skip_bad, read, self._size)
        entries = source_kind(self._source).new_parts(self._source, reading, taken)
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
        return (
            self._source.model_copy(update={"path": parts, "connection": None, "query": None, "options": {}})
            if parts
            else None
        )

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
        decisive = {"path", "connection", "query", "options", "timestamp_format", "null", "images", "clips", *OF_TEXT}
        source = self._source.model_dump(mode="json", include=decisive)
        columns = [sorted(columns_of(self._source)), self._source.columns.timestamp]
        return sha256(json.dumps([VERSION, columns, source], sort_keys=True).encode())

    # -- parts -------------------------------------------------------------------------------------

    def _read(self, as_of: date, part: str | None = None, since: date | None = None, ordered: bool = True) -> Entry:
        with self._workspace() as db:
            load(db, self._name, self._source, part, since)
            return self._deal_out(db, as_of, "__row" if ordered else "ALL", since)

    def _size(self, entry: Entry) -> int:
        return sum((self._folder / day / part).stat().st_size for day, part in entry.parts.items())

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
