"""Files: Parquet, delimited text and JSON lines. What is new is told one by one, by a file's stat and then its hash."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from augment.base.errors import BadInput
from augment.base.files import check_regular, file_sha256
from augment.contracts.source import Entry, Intake, Reading, SourceKind
from augment.recipes.source import Source
from augment.sources.dialects import LONGEST_LINE, may_end_open, without_open_quotes
from augment.sources.formats import Rows, delimited, keys_of, kind_of, own, rows_of, with_partitions
from augment.sources.tables import columns_of, insert, last, no_column, one_line, place_of

# Errors after which DuckDB loses lines, or has lost some to a quote that was never closed.
_OPEN_QUOTES = (
    "WHERE error_type IN ('UNQUOTED VALUE', 'LINE SIZE OVER MAXIMUM', 'INVALID STATE') "
    "OR contains(csv_line, chr(10)) OR contains(rtrim(csv_line, chr(13)), chr(13))"
)


class Files(SourceKind):
    """A source with `path`; `part` of `load` is one of its files."""

    name = "files"

    @classmethod
    def owns(cls, source: Source) -> bool:
        return source.path is not None

    def fingerprint(self, source: Source) -> dict[str, str]:
        """Path → sha256 of the file."""
        return {path: file_sha256(Path(path)) for path in files_of(source)}

    def load(
        self, db: duckdb.DuckDBPyConnection, name: str, source: Source, part: str | None = None,
        since: date | None = None,
    ) -> None:  # fmt: skip
        paths = [part] if part else files_of(source)
        if not (paths := [p for p in paths if Path(p).stat().st_size]):
            raise BadInput(f"sources.{name}: {part or place_of(source)} is empty")
        if len({kind_of(p) for p in paths}) > 1:
            raise BadInput(f"{one_line(', '.join(paths))}: files of one source have one format")
        for each in paths:
            with TemporaryDirectory(dir=_folder_of(db)) as scratch:
                try:
                    _load_file(db, f"sources.{name}: {each}", source, each, Path(scratch))
                except duckdb.Error as error:  # also a bare one, of a Parquet file whose bits are flipped
                    raise BadInput(f"sources.{name}: cannot read {each}: {one_line(str(error))}") from None
        db.execute("INSERT INTO malformed SELECT __row, __line FROM raw WHERE __line IS NOT NULL")
        db.execute("DELETE FROM raw WHERE __line IS NOT NULL")

    def new_parts(self, source: Source, reading: Reading, taken: Intake) -> dict[str, Entry]:
        """Files that are new, or changed. Raises BadInput for one that cannot be read, unless such are skipped."""
        entries = dict(reading.known)
        paths = paths_of(source)
        names = {entry.sha256: path for path, entry in reading.known.items()}
        for path in paths:
            try:
                check_regular(path)
                stat, known = Path(path).stat(), entries.get(path)
                if known and (known.size, known.modified) == (stat.st_size, stat.st_mtime_ns):
                    continue
                digest = file_sha256(Path(path))
                taken.bytes += stat.st_size
                if name := names.get(digest):  # touched, renamed or copied
                    entry = reading.known[name]
                    if name not in paths:
                        entries.pop(name, None)
                else:
                    entry = reading.read(path) if Path(path).stat().st_size else Entry()
                    taken.files += 1
                    taken.malformed += entry.malformed
                    taken.count(entry.rows)
                entries[path] = replace(entry, size=stat.st_size, modified=stat.st_mtime_ns, sha256=digest)
            except BadInput as error:
                if not reading.skip_bad:
                    raise
                taken.bad_files[path] = str(error)
        for path in entries.keys() - set(paths):
            if not entries[path].parts:  # gone, and so are its days
                del entries[path]
        return entries


def _load_file(db: duckdb.DuckDBPyConnection, where: str, source: Source, path: str, scratch: Path) -> None:
    wanted = columns_of(source)
    rows = rows_of(db, source, path, scratch, wanted)
    before = last(db)
    insert(db, rows, source, where)
    if kind_of(path) == "JSON lines":
        _check_keys(db, rows, wanted, where, before)
    if rows.dialect is None:
        return
    if rows.dialect.quote and (_rejected(db, _OPEN_QUOTES) or may_end_open(str(rows.path), rows.dialect)):
        db.execute(f"DELETE FROM raw WHERE __row > {before}")
        _forget_rejected(db)
        copy, apart = without_open_quotes(str(rows.path), rows.dialect, scratch)
        insert(db, with_partitions(delimited(copy, rows.dialect), path), source, where)
        lines = "SELECT json ->> '$[0]', json ->> '$[1]' FROM read_json_objects(?, format = 'newline_delimited')"
        db.execute(f"INSERT INTO malformed {lines}", [str(apart)])
    if _rejected(db):
        kept = f"left(any_value(csv_line), {LONGEST_LINE})"  # one line may have several errors
        db.execute(f"INSERT INTO malformed SELECT line, {kept} FROM reject_errors GROUP BY line")
    _forget_rejected(db)


def _check_keys(db: duckdb.DuckDBPyConnection, rows: Rows, wanted: list[str], where: str, before: int) -> None:
    """Raise BadInput for a column that is no key of any object; one that is null everywhere is there."""
    counts = ", ".join(f"count({own(column)})" for column in wanted)
    objects, *filled = db.execute(
        f"SELECT count(*), {counts} FROM raw WHERE __row > {before} AND __line IS NULL"
    ).fetchall()[0]
    if not objects or all(filled):
        return
    keys = [*keys_of(db, str(rows.path)), *rows.names[len(wanted) :]]
    for column, count in zip(wanted, filled, strict=True):
        if not count and column not in keys:
            raise no_column(where, column, keys)


def _rejected(db: duckdb.DuckDBPyConnection, which: str = "") -> int:
    """How many errors DuckDB had with the lines of the file that it read last."""
    if not db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchall()[0][0]:
        return 0
    return int(db.execute(f"SELECT count(*) FROM reject_errors {which}").fetchall()[0][0])


def _forget_rejected(db: duckdb.DuckDBPyConnection) -> None:
    db.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")


def _folder_of(db: duckdb.DuckDBPyConnection) -> str | None:
    """Where the database's file is, beside which there is room for copies."""
    path = db.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchall()[0][0]
    return str(Path(path).parent) if path else None


def paths_of(source: Source) -> list[str]:
    """What is at the source's path or paths, each once: what is there under that very name, else what a glob finds.

    Raises BadInput when nothing is.
    """
    patterns = [source.path] if isinstance(source.path, str) else source.path or []
    found = []
    for pattern in patterns:
        matched = [pattern] if os.path.lexists(pattern) else sorted(glob(pattern, recursive=True))
        if not matched:
            raise BadInput(f"no file at {one_line(pattern) or 'an empty path'}")
        found += matched
    if not found:
        raise BadInput("`path` names no file")
    return list(dict.fromkeys(found))


def files_of(source: Source) -> list[str]:
    """The files at the source's path or paths. Raises BadInput when one is not there, or is no file."""
    found = paths_of(source)
    for path in found:
        check_regular(path)
    return found
