"""How files and queries become the table that all else reads.

A run and a night read by the same `load`, file by file: what a value is depends neither on the files beside it nor on
who asks. What DuckDB would read wrong without a word is mended or refused (`augment.dialects`, `augment.formats`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from augment import database
from augment.dialects import LONGEST_LINE, may_end_open, without_open_quotes
from augment.errors import BadInput, UsageError, suggest
from augment.formats import Rows, delimited, described, keys_of, kind_of, own, rows_of, with_partitions
from augment.rows import Source

MEMORY = "2GB"  # beyond it DuckDB spills to the disk
LONGEST = 300  # characters of what an error quotes
# Errors after which DuckDB loses lines, or has lost some to a quote that was never closed.
_OPEN_QUOTES = (
    "WHERE error_type IN ('UNQUOTED VALUE', 'LINE SIZE OVER MAXIMUM', 'INVALID STATE') "
    "OR contains(csv_line, chr(10)) OR contains(rtrim(csv_line, chr(13)), chr(13))"
)


@contextmanager
def workspace(path: Path, name: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in the file `path`, for the source `name`; times without a zone are UTC.

    Raises BadInput for a value, the memory or the disk that it fails on: not for our SQL.
    """
    try:
        with duckdb.connect(str(path)) as db:
            db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 2; SET TimeZone = 'UTC'")
            db.execute("SET enable_progress_bar = false")
            yield db
    except (duckdb.DataError, duckdb.OperationalError) as error:
        raise BadInput(f"sources.{name}: cannot be prepared: {one_line(str(error))}") from None


def load(
    db: duckdb.DuckDBPyConnection, name: str, source: Source, path: str | None = None, since: date | None = None
) -> None:
    """Table `raw`: the recipe's columns (`own`) as text, and `__row`, a row's place. Table `malformed`: lines that are
    no rows.

    path: of the source's files this one alone. since: of a database, rows of this day and later alone.
    Raises BadInput for what cannot be read, and for a file without one of the recipe's columns; UsageError for a
    reading option that the format does not have.
    """
    wanted = columns_of(source)
    columns = "".join(f", {own(column)} VARCHAR" for column in wanted)
    db.execute(f"CREATE OR REPLACE TABLE raw (__row BIGINT, __line VARCHAR{columns})")
    db.execute("CREATE OR REPLACE TABLE malformed (__row BIGINT, line VARCHAR)")
    _check_format(db, name, source)
    if source.path is None:
        column = str(source.columns.timestamp)
        since = None if source.timestamp_format else since  # which the database cannot compare
        with database.rows_since(str(source.connection), str(source.query), column, since) as incoming:
            db.register("incoming", incoming)
            _insert(db, described(db, "incoming", list(incoming.schema.names)), wanted, f"sources.{name}: the query")
            db.unregister("incoming")
        return
    paths = [path] if path else files_of(source)
    if not (paths := [p for p in paths if Path(p).stat().st_size]):
        raise BadInput(f"sources.{name}: {path or place_of(source)} is empty")
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


def _check_format(db: duckdb.DuckDBPyConnection, name: str, source: Source) -> None:
    try:
        if source.timestamp_format is not None:
            db.execute("SELECT try_strptime('', ?)", [source.timestamp_format])
    except duckdb.Error as error:
        raise UsageError(f"sources.{name}.timestamp_format: {one_line(str(error))}") from None


def _load_file(db: duckdb.DuckDBPyConnection, where: str, source: Source, path: str, scratch: Path) -> None:
    wanted = columns_of(source)
    rows = rows_of(db, source, path, scratch, wanted)
    before = _last(db)
    _insert(db, rows, wanted, where)
    if kind_of(path) == "JSON lines":
        _check_keys(db, rows, wanted, where, before)
    if rows.dialect is None:
        return
    if rows.dialect.quote and (_rejected(db, _OPEN_QUOTES) or may_end_open(str(rows.path), rows.dialect)):
        db.execute(f"DELETE FROM raw WHERE __row > {before}")
        _forget_rejected(db)
        copy, apart = without_open_quotes(str(rows.path), rows.dialect, scratch)
        _insert(db, with_partitions(delimited(copy, rows.dialect), path), wanted, where)
        lines = "SELECT json ->> '$[0]', json ->> '$[1]' FROM read_json_objects(?, format = 'newline_delimited')"
        db.execute(f"INSERT INTO malformed {lines}", [str(apart)])
    if _rejected(db):
        kept = f"left(any_value(csv_line), {LONGEST_LINE})"  # one line may have several errors
        db.execute(f"INSERT INTO malformed SELECT line, {kept} FROM reject_errors GROUP BY line")
    _forget_rejected(db)


def _insert(db: duckdb.DuckDBPyConnection, rows: Rows, wanted: list[str], where: str) -> None:
    """Append the wanted columns to `raw`. Raises BadInput when one is not there, or is not the only one of its name."""
    for column in wanted:
        if rows.place(column) is None:
            raise _no_column(where, column, rows.names)
        if rows.names.count(column) > 1:
            name = one_line(column)
            raise BadInput(f"{where} has {rows.names.count(column)} columns '{name}': rename them, or take '{name}_1'")
    values = "".join(f", {rows.text(column)}" for column in wanted)
    select = f"SELECT {_last(db)} + row_number() OVER (), {rows.line}{values} FROM {rows.relation}"
    try:
        db.execute(f"INSERT INTO raw {select}", rows.parameters)
    except duckdb.ConversionException as error:
        blobs = [f"'{one_line(column)}'" for column in wanted if rows.kinds[rows.place(column) or 0] == "BLOB"]
        if not blobs:
            raise
        raise BadInput(
            f"{where}: the bytes of column {', '.join(blobs)} are not text: {one_line(str(error))}"
        ) from None


def _no_column(where: str, column: str, names: list[str]) -> BadInput:
    same = next((name for name in names if name.lower() == column.lower()), None)
    hint = f"; did you mean '{same}'?" if same else suggest(column, names)
    return BadInput(f"{where} has no column '{one_line(column)}'{one_line(hint)}")


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
            raise _no_column(where, column, keys)


def _last(db: duckdb.DuckDBPyConnection) -> int:
    return int(db.execute("SELECT coalesce(max(__row), 0) FROM raw").fetchall()[0][0])


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


def columns_of(source: Source) -> list[str]:
    """The recipe's columns, as the source names them."""
    c = source.columns
    roles = [role for role in (c.id, c.user, c.item, c.timestamp, c.label, c.text, c.segment) if role]
    return list(dict.fromkeys([*roles, *c.fields, *c.numbers]))


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


def check_regular(path: str) -> None:
    """Raise BadInput for what is no file, or a link to none: a pipe would block for ever."""
    if not Path(path).is_file():
        raise BadInput(f"{path}: not a file that can be read")


def place_of(source: Source) -> str:
    """Where its rows are, in an error."""
    if isinstance(source.path, list):
        return f"{len(source.path)} files ({source.path[0]}, …)" if len(source.path) > 1 else source.path[0]
    return source.path or "the query"


def one_line(text: str) -> str:
    """The first line of a message, short and printable: what was in a file may be in it."""
    first = "".join(c if c.isprintable() else "?" for c in text.strip().partition("\n")[0])
    return first if len(first) <= LONGEST else first[:LONGEST] + "…"
