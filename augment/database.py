"""Rows out of a database, streamed as Arrow by an ADBC driver.

DuckDB's own database extensions are downloads that many machines cannot reach; ADBC drivers are on PyPI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from string import Template

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
    except (KeyError, ValueError) as error:
        raise UsageError(f"connection: environment variable {error} is not set") from None
    if extra == "sqlite":
        target = target.removeprefix("sqlite:///")
        if not Path(target).is_file():
            raise BadInput(f"no SQLite database at {target}")
    try:
        with driver.connect(target) as session, session.cursor() as cursor:
            cursor.execute(query)
            yield cursor.fetch_record_batch()
    except driver.Error as error:
        detail = str(error).replace(target, f"{scheme}:…").splitlines()[0]
        raise BadInput(f"the {extra} database refused: {detail}") from None
