"""What was made of something, by a hash of it: a table of an SQLite file, which several processes may share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from augment.base.errors import BadInput

T = TypeVar("T")


class Shelf:
    """All that is on it can be made again, so a damaged file is started anew."""

    def __init__(self, path: Path, what: str, table: str) -> None:
        """what: is kept, for errors. table: its name and columns, in SQL."""
        self._path, self._what, self._table = path, what, table

    def work(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """What `do` says, in a transaction of its own. Raises BadInput where the file cannot be used."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._attempt(do)
            except sqlite3.OperationalError:  # busy, full, read-only: nothing is wrong with the file
                raise
            except sqlite3.DatabaseError:  # not a database, or a damaged one
                for end in ("", "-journal"):
                    self._path.with_name(self._path.name + end).unlink(missing_ok=True)
                return self._attempt(do)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(
                f"{self._path}: the cache of {self._what} cannot be used ({error}); make room, or delete it"
            ) from None

    def _attempt(self, do: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self._path, timeout=60)) as db, db:
            db.execute(f"CREATE TABLE IF NOT EXISTS {self._table}")
            return do(db)
