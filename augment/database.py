"""Rows out of a database, streamed as Arrow by an ADBC driver.

DuckDB's own database extensions are downloads that many machines cannot reach; ADBC drivers are on PyPI.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from string import Template

import duckdb
import pyarrow as pa

from augment.errors import BadInput, UsageError

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}


@contextmanager
def rows(connection: str, query: str) -> Iterator[pa.RecordBatchReader]:
    """The result of `query` at `connection`, one batch in memory at a time.

    Raises UsageError for an unknown scheme, a missing driver or an unset variable, and BadInput when the database
    refuses. Messages never hold the connection string: it may carry a password.
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
            cursor.execute(query)
            yield cursor.fetch_record_batch()
    # Rows are fetched while the caller reads, so what goes wrong then arrives as Arrow's errors or DuckDB's.
    except (driver.Error, OSError, pa.ArrowException, duckdb.Error) as error:
        detail = str(error).replace(target, f"{scheme}:…").splitlines()[0]
        mixed = "; CAST the column to one type in `query`" if "mismatch" in detail else ""
        raise BadInput(f"reading the {extra} database failed: {detail}{mixed}") from None


def _parses(uri: str) -> bool:
    """Whether libpq can parse user and password: its complaint would quote the part that it cannot, the password."""
    user, _, hosts = uri.partition("://")[2].partition("/")[0].rpartition("@")
    hosts = hosts.partition("?")[0]  # with a / in the password, these are user and password
    ports = all(re.fullmatch(r"(\[[^]]*\]|[^:]*)(:\d*)?", host) for host in hosts.split(","))
    return ports and not re.search(r"[@\s]", user) and not re.search(r"%(?!(?!00)[0-9A-Fa-f]{2})", uri)
