"""Rows out of a database, streamed as Arrow by an ADBC driver.

DuckDB's own database extensions are downloads that many machines cannot reach; ADBC drivers are on PyPI.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import pyarrow as pa

from augment.base.errors import BadInput, Unavailable, UsageError
from augment.recipes.source import Source
from augment.sources.sql import COMPACT
from augment.sources.streamed import Streamed

AWAY = re.compile(r"refused|timeout expired|timed out|could not translate host|unreachable|no route|starting up|"
                  r"shutting down|in recovery|too many c|remaining connection slots|terminating connection|"
                  r"closed the connection|database is locked", re.IGNORECASE)  # fmt: skip
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}


class Database(Streamed):
    """A source with `connection` and `query`."""

    name = "database"

    @classmethod
    def owns(cls, source: Source) -> bool:
        return source.connection is not None

    def batches(self, source: Source, since: date | None = None) -> AbstractContextManager[pa.RecordBatchReader]:
        since = None if source.timestamp_format else since  # which the database cannot compare
        return rows_since(str(source.connection), str(source.query), str(source.columns.timestamp), since)


@contextmanager
def rows_since(connection: str, query: str, column: str, since: date | None) -> Iterator[pa.RecordBatchReader]:
    """Rows of `query` whose `column` is of the day `since` or later, which the database itself selects; all for None.

    The column holds timestamps, dates, ISO text, or the epoch in seconds to nanoseconds. Of text, some rows of the day
    before may be among them.
    """
    if since is None:
        with rows(connection, query) as reader:
            yield reader
        return
    name = '"' + column.replace('"', '""') + '"'
    with rows(connection, f"SELECT {name} FROM ({query}) AS q WHERE {name} IS NOT NULL LIMIT 1") as reader:
        found = reader.read_all()
    bound = None if not len(found) else _as_stored(found[0][0], since)
    if bound is None:  # nothing to read, or no way to tell: read it all
        with rows(connection, query) as reader:
            yield reader
        return
    marker = "?" if connection.startswith("sqlite") else "$1"
    with rows(connection, f"SELECT * FROM ({query}) AS q WHERE {name} >= {marker}", bound) as reader:
        yield reader


def _as_stored(example: pa.Scalar, since: date) -> Any:
    """The start of a day in the terms of the column that `example` is from."""
    start = datetime(since.year, since.month, since.day, tzinfo=timezone.utc)
    kind, value = example.type, example.as_py()
    if pa.types.is_timestamp(kind):
        return start if kind.tz else start.replace(tzinfo=None)
    if pa.types.is_date(kind):
        return since
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        if form := next((form for size, form in COMPACT.items() if len(str(int(value))) == size), None):
            return int(start.strftime(form))
        scale = next((s for limit, s in ((1e11, 1), (1e14, 1e3), (1e17, 1e6)) if abs(value) < limit), 1e9)
        return int(start.timestamp() * scale)
    if pa.types.is_string(kind) and re.match(r"\d{4}-\d\d-\d\d", value):
        return str(since - timedelta(days=1))  # text with an offset from UTC may be of the day before there
    return None


@contextmanager
def rows(connection: str, query: str, parameter: Any = None) -> Iterator[pa.RecordBatchReader]:
    """The result of `query` at `connection`, one batch in memory at a time; `parameter` is bound to its one marker.

    Raises UsageError for an unknown scheme, a missing driver or an unset variable, Unavailable when the database is
    away, and BadInput when it refuses. Messages never hold the connection string: it may carry a password.
    """
    scheme = connection.partition(":")[0]
    if scheme not in DRIVERS:
        raise UsageError(f"connection: '{scheme}' is not one of {', '.join(sorted(DRIVERS))}")
    extra = DRIVERS[scheme]
    try:
        driver = import_module(f"adbc_driver_{extra}.dbapi")
    except ModuleNotFoundError:
        raise UsageError(f"the {extra} driver is not installed: pip install 'sparring[{extra}]'") from None
    try:
        target = Template(connection).substitute(os.environ)
    except KeyError as error:
        raise UsageError(f"connection: environment variable {error} is not set") from None
    except ValueError:
        raise UsageError("connection: a $ that begins no ${NAME} is written $$") from None
    if extra == "sqlite":
        target = target.removeprefix("sqlite:///")
        if not Path(target).is_file():
            raise BadInput(f"no SQLite database at {target}")
    elif not _parses(target):
        raise UsageError(
            "connection: cannot be parsed; percent-encode special characters of user and password (@ is %40, / is %2F)"
        )
    try:
        with driver.connect(target) as session, session.cursor() as cursor:
            cursor.execute(query, None if parameter is None else (parameter,))
            yield cursor.fetch_record_batch()
    # Rows are fetched while the caller reads, so what goes wrong then arrives as Arrow's errors or DuckDB's.
    except (driver.Error, OSError, pa.ArrowException, duckdb.Error) as error:
        detail = str(error).replace(target, f"{scheme}:…").splitlines()[0]
        mixed = "; CAST the column to one type in `query`" if "mismatch" in detail else ""
        away = AWAY.search(str(error)) and not isinstance(error, driver.ProgrammingError)  # which would quote the query
        kind = Unavailable if away else BadInput
        raise kind(f"reading the {extra} database failed: {detail}{mixed}") from None


def _parses(uri: str) -> bool:
    """Whether libpq can parse user and password: its complaint would quote the part that it cannot, the password."""
    user, _, hosts = uri.partition("://")[2].partition("/")[0].rpartition("@")
    hosts = hosts.partition("?")[0]  # with a / in the password, these are user and password
    ports = all(re.fullmatch(r"(\[[^]]*\]|[^:]*)(:\d*)?", host) for host in hosts.split(","))
    return ports and not re.search(r"[@\s]", user) and not re.search(r"%(?!(?!00)[0-9A-Fa-f]{2})", uri)
