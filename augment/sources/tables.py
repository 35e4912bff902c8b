"""The tables that every source is read into, whatever kind it is of.

A run and a night read by the same `load`, file by file: what a value is depends neither on the files beside it nor on
who asks. What DuckDB would read wrong without a word is mended or refused (`dialects`, `formats`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb

from augment.base.errors import BadInput, UsageError, suggest
from augment.contracts.registry import source_kind
from augment.recipes.source import Source
from augment.sources.formats import Rows, own

MEMORY = "2GB"  # beyond it DuckDB spills to the disk
LONGEST = 300  # characters of what an error quotes


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
    db: duckdb.DuckDBPyConnection, name: str, source: Source, part: str | None = None, since: date | None = None
) -> None:
    """Table `raw`: the recipe's columns (`own`) as text, and `__row`, a row's place. Table `malformed`: lines that are
    no rows.

    What is read, and what is raised: see `SourceKind.load`; UsageError also for a `timestamp_format` that is none.
    """
    columns = "".join(f", {own(column)} VARCHAR" for column in columns_of(source))
    db.execute(f"CREATE OR REPLACE TABLE raw (__row BIGINT, __line VARCHAR{columns})")
    db.execute("CREATE OR REPLACE TABLE malformed (__row BIGINT, line VARCHAR)")
    _check_format(db, name, source)
    source_kind(source).load(db, name, source, part, since)


def _check_format(db: duckdb.DuckDBPyConnection, name: str, source: Source) -> None:
    try:
        if source.timestamp_format is not None:
            db.execute("SELECT try_strptime('', ?)", [source.timestamp_format])
    except duckdb.Error as error:
        raise UsageError(f"sources.{name}.timestamp_format: {one_line(str(error))}") from None


def insert(db: duckdb.DuckDBPyConnection, rows: Rows, source: Source, where: str) -> None:
    """Append the source's columns to `raw`. Raises BadInput when one is not there, or not the only one of its name."""
    wanted = columns_of(source)
    for column in wanted:
        if rows.place(column) is None:
            raise no_column(where, column, rows.names)
        if rows.names.count(column) > 1:
            name = one_line(column)
            raise BadInput(f"{where} has {rows.names.count(column)} columns '{name}': rename them, or take '{name}_1'")
    values = "".join(f", {rows.text(column, column in source.binary)}" for column in wanted)
    select = f"SELECT {last(db)} + row_number() OVER (), {rows.line}{values} FROM {rows.relation}"
    try:
        db.execute(f"INSERT INTO raw {select}", rows.parameters)
    except duckdb.ConversionException as error:
        blobs = [f"'{one_line(column)}'" for column in wanted if rows.kinds[rows.place(column) or 0] == "BLOB"]
        if not blobs:
            raise
        raise BadInput(
            f"{where}: the bytes of column {', '.join(blobs)} are not text: {one_line(str(error))}"
        ) from None


def no_column(where: str, column: str, names: list[str]) -> BadInput:
    same = next((name for name in names if name.lower() == column.lower()), None)
    hint = f"; did you mean '{same}'?" if same else suggest(column, names)
    return BadInput(f"{where} has no column '{one_line(column)}'{one_line(hint)}")


def last(db: duckdb.DuckDBPyConnection) -> int:
    return int(db.execute("SELECT coalesce(max(__row), 0) FROM raw").fetchall()[0][0])


def columns_of(source: Source) -> list[str]:
    """The recipe's columns, as the source names them."""
    c = source.columns
    roles = [role for role in (c.id, c.user, c.item, c.timestamp, c.label, c.text, c.image, c.clip, c.segment) if role]
    return list(dict.fromkeys([*roles, *c.fields, *c.numbers]))


def place_of(source: Source) -> str:
    """Where its rows are, in an error."""
    if isinstance(source.path, list):
        return f"{len(source.path)} files ({source.path[0]}, …)" if len(source.path) > 1 else source.path[0]
    return source.path or "the query"


def one_line(text: str) -> str:
    """The first line of a message, short and printable: what was in a file may be in it."""
    first = "".join(c if c.isprintable() else "?" for c in text.strip().partition("\n")[0])
    return first if len(first) <= LONGEST else first[:LONGEST] + "…"
