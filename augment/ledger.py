"""What was read of a source so far, by day: each night reads only what is new.

    <folder>/index.json                     files read (their stat and hash), and the parts of each day
    <folder>/<day>/<sha256>.parquet         one day's raw rows of one file or query: the recipe's columns, as text

The index is replaced whole after its parts are on disk: killed at any instant, what it names is there, and what it does
not name is nobody's.
"""

from __future__ import annotations

import glob
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from augment import database
from augment.errors import BadInput, suggest
from augment.files import file_sha256, sha256, write_whole
from augment.readers import _q, check_files, files_of, is_json, keys_of, microseconds, one_line, reader
from augment.recipe import Source
from augment.sources import EARLIEST

INDEX = "index.json"
MEMORY = "1GB"  # beyond it DuckDB spills


@dataclass
class Entry:
    """A file as it was when it was read; a query has no stat."""

    size: int = 0
    modified: int = 0  # nanoseconds
    sha256: str = ""
    parts: dict[str, str] = field(default_factory=dict)  # day → file of that day's rows
    rows: int = 0


@dataclass
class Intake:
    """What one night took in."""

    rows: int = 0
    bytes: int = 0
    files: int = 0
    malformed: int = 0
    days: dict[str, int] = field(default_factory=dict)  # day → new rows
    bad_files: dict[str, str] = field(default_factory=dict)  # file → why it was left out


class Ledger:
    """Source by source: `folder` is this one's own."""

    def __init__(self, folder: Path, name: str, source: Source) -> None:
        self._folder, self._name, self._source = folder, name, source
        path = folder / INDEX
        try:
            found = json.loads(path.read_text()) if path.exists() else {}
            self._entries = {key: Entry(**entry) for key, entry in found.items()}
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{path}: not an index of this version ({error}); delete {folder} to read all anew"
            ) from None

    def take_in(self, as_of: date, lookback: int, skip_bad: bool) -> Intake:
        """Read what is new up to and with the day `as_of`; of a database, the last `lookback` days anew.

        Rows without a day of their own, or from the future, are put under `as_of`: cleaning gives them their reason.
        Raises BadInput for a file or column that cannot be read; unless `skip_bad`, nothing is taken in then.
        """
        taken = Intake()
        entries = dict(self._entries)
        if self._source.path:
            self._take_files(entries, taken, as_of, skip_bad)
        else:
            self._take_query(entries, taken, as_of, lookback)
        if entries != self._entries:
            self._keep(entries)
        self._sweep()
        return taken

    def window(self, first: date, last: date) -> list[str]:
        """The parts of the days from `first` to `last`, oldest first."""
        found = [
            (day, part)
            for entry in self._entries.values()
            for day, part in entry.parts.items()
            if str(first) <= day <= str(last)
        ]
        return [str(self._folder / day / part) for day, part in sorted(found)]

    def day_rows(self, day: date) -> int:
        """Raw rows of a day."""
        parts = self.window(day, day)
        return sum(pq.read_metadata(part).num_rows for part in parts)

    def newest(self) -> str | None:
        """The latest day there are rows of."""
        return max((day for entry in self._entries.values() for day in entry.parts), default=None)

    # -- files -------------------------------------------------------------------------------------

    def _take_files(self, entries: dict[str, Entry], taken: Intake, as_of: date, skip_bad: bool) -> None:
        for path in files_of(self._source):
            known, stat = entries.get(path), Path(path).stat()
            if known and (known.size, known.modified) == (stat.st_size, stat.st_mtime_ns):
                continue
            digest = file_sha256(Path(path))
            taken.bytes += stat.st_size
            if known and known.sha256 == digest:
                entries[path] = Entry(stat.st_size, stat.st_mtime_ns, digest, known.parts, known.rows)
                continue
            try:
                parts, rows, malformed = self._read_file(path, as_of)
            except BadInput as error:
                if not skip_bad:
                    raise
                taken.bad_files[path] = str(error)
                entries[path] = Entry(stat.st_size, stat.st_mtime_ns, digest)
                continue
            entries[path] = Entry(stat.st_size, stat.st_mtime_ns, digest, parts, sum(rows.values()))
            taken.files += 1
            taken.malformed += malformed
            _count(taken, rows)

    def _read_file(self, path: str, as_of: date) -> tuple[dict[str, str], dict[str, int], int]:
        """Parts of a file by day, the rows of each, and the lines that are none."""
        if not Path(path).stat().st_size:
            return {}, {}, 0
        check_files([path])
        with _duckdb(self._folder) as db:
            try:
                db.execute(f"CREATE TABLE raw AS SELECT row_number() OVER () AS __row, * FROM {reader(Path(path))}",
                           [[glob.escape(path)]])  # fmt: skip
                if is_json(Path(path)):
                    keys_of(db, self._wanted())
                parts, rows = self._parts(db, path, as_of)
            except (duckdb.DataError, duckdb.OperationalError, duckdb.ProgrammingError) as error:
                raise BadInput(f"sources.{self._name}: cannot read {path}: {one_line(str(error))}") from None
            has = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'"
            rejected = 0
            if db.execute(has).fetchall()[0][0]:
                rejected = db.execute("SELECT count(DISTINCT (file_id, line)) FROM reject_errors").fetchall()[0][0]
            return parts, rows, rejected

    # -- databases ---------------------------------------------------------------------------------

    def _take_query(self, entries: dict[str, Entry], taken: Intake, as_of: date, lookback: int) -> None:
        """The days that are not there yet, and the last few again: rows arrive late."""
        newest = self.newest()
        since = as_of - timedelta(days=lookback) if newest and self._source.columns.timestamp else None
        if newest and since and date.fromisoformat(newest) < since:
            since = date.fromisoformat(newest)  # nights were missed
        with _duckdb(self._folder) as db:
            column = str(self._source.columns.timestamp)
            with database.rows_since(str(self._source.connection), str(self._source.query), column, since) as incoming:
                db.register("incoming", incoming)
                db.execute("CREATE TABLE raw AS SELECT row_number() OVER () AS __row, * FROM incoming")
                db.unregister("incoming")
            parts, rows = self._parts(db, "the query", as_of, since, "ALL")
        query = str(self._source.query)
        kept = {day: part for day, part in entries.get(query, Entry()).parts.items() if since and day < str(since)}
        old = entries.get(query, Entry()).parts
        fresh = {day: count for day, count in rows.items() if old.get(day) != parts[day]}
        entries[query] = Entry(parts={**kept, **parts}, rows=sum(rows.values()))
        taken.bytes += sum((self._folder / day / part).stat().st_size for day, part in parts.items())
        _count(taken, fresh)

    # -- both --------------------------------------------------------------------------------------

    def _parts(
        self, db: duckdb.DuckDBPyConnection, where: str, as_of: date, since: date | None = None, order: str = "__row"
    ) -> tuple[dict[str, str], dict[str, int]]:
        """Write table `raw` as one part for each day; day → file, day → rows. A query's rows have no order: ALL."""
        columns, wanted = self._source.columns, self._wanted()
        present = {row[0] for row in db.execute("DESCRIBE raw").fetchall()}
        for column in wanted:
            if column not in present:
                hint = suggest(column, present - {"__row"})
                raise BadInput(f"sources.{self._name}: {where} has no column '{column}'{hint}")
        if columns.timestamp is None:  # rows are of the day on which they came
            return self._write_parts(db, wanted, f"'{as_of}'", since, order)
        moment = microseconds(columns.timestamp)
        soonest = f"greatest(epoch_us(now()), epoch_us(TIMESTAMP '{as_of}')) + 86400000000"
        day = (
            f"CASE WHEN {moment} BETWEEN {EARLIEST} AND {soonest} "
            f"THEN strftime(make_timestamp({moment}), '%Y-%m-%d') ELSE '{as_of}' END"
        )
        return self._write_parts(db, wanted, day, since, order)

    def _wanted(self) -> list[str]:
        """The recipe's columns, as the source names them."""
        c = self._source.columns
        roles = [role for role in (c.id, c.user, c.item, c.timestamp, c.label, c.text, c.segment) if role]
        return list(dict.fromkeys([*roles, *c.fields, *c.numbers]))

    def _write_parts(
        self, db: duckdb.DuckDBPyConnection, columns: list[str], day: str, since: date | None, order: str
    ) -> tuple[dict[str, str], dict[str, int]]:
        db.execute(f"CREATE TABLE dated AS SELECT *, {day} AS __day FROM raw")
        texts = ", ".join(f"CAST({_q(c)} AS VARCHAR) AS {_q(c)}" for c in columns)
        parts, rows = {}, {}
        counts = "SELECT __day, count(*) FROM dated GROUP BY 1 ORDER BY 1"
        for name, count in db.execute(counts).fetchall():
            if since and name < str(since):
                continue
            scratch = self._folder / "part.tmp"
            query = f"SELECT {texts} FROM dated WHERE __day = ? ORDER BY {order}"
            db.execute(f"COPY ({query}) TO '{str(scratch).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)", [name])
            content = scratch.read_bytes()
            parts[name], rows[name] = f"{sha256(content)}.parquet", count
            write_whole(self._folder / name / parts[name], content)
            scratch.unlink()
        return parts, rows

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
        content = json.dumps({key: asdict(entry) for key, entry in sorted(entries.items())}, indent=0)
        write_whole(self._folder / INDEX, content.encode())
        self._entries = entries

    def forget(self, before: date) -> int:
        """Drop days before `before`; how many parts went. Their files stay known: they are not read again."""
        gone = 0
        for entry in self._entries.values():
            old = [day for day in entry.parts if day < str(before)]
            gone += len(old)
            for day in old:
                del entry.parts[day]
        if gone:
            self._keep(self._entries)
            self._sweep()
        return gone


def days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=i) for i in range((last - first).days + 1))


def yesterday() -> date:
    return datetime.now(timezone.utc).date() - timedelta(days=1)


@contextmanager
def _duckdb(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A scratch database on disk, gone afterwards."""
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with duckdb.connect(str(scratch / "night.duckdb")) as db:
            db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 2; SET TimeZone = 'UTC'")
            db.execute("SET enable_progress_bar = false")
            yield db
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _count(taken: Intake, rows: Mapping[str, int]) -> None:
    taken.rows += sum(rows.values())
    for day, count in rows.items():
        taken.days[day] = taken.days.get(day, 0) + count
