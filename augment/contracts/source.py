"""A kind of source: where rows come from, and what is new there since the last night.

A new kind is one new file in `augment/sources/kinds`, or an entry point of the group `sparring.sources` whose name is
the scheme of its URLs: `path = "NAME://…"`, or `connection = "NAME://…"` with its `query`. Where rows come as Arrow
batches, `augment.sources.streamed.Streamed` leaves one method to write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel

from augment.contracts.options import BaseOptions, checked
from augment.recipes.source import Source

if TYPE_CHECKING:
    import duckdb


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

    def count(self, rows: Mapping[str, int]) -> None:
        """Add new rows, by day."""
        self.rows += sum(rows.values())
        for day, count in rows.items():
            self.days[day] = self.days.get(day, 0) + count


class Read(Protocol):
    def __call__(self, part: str | None = None, since: date | None = None, ordered: bool = True) -> Entry:
        """Load the source (see `SourceKind.load`) and write its rows down, by day; days before `since` are left out.

        ordered: rows are kept in the order in which they were loaded, else sorted. Raises what `load` does.
        """
        ...


@dataclass(frozen=True)
class Reading:
    """What a night asks of a source, and what was read of it before."""

    known: Mapping[str, Entry]  # by what each was read from: a path, a query
    as_of: date
    lookback: int  # days that are read again where nothing says what is new: rows arrive late
    skip_bad: bool  # what cannot be read is left out, with its reason
    read: Read
    size: Callable[[Entry], int]  # bytes of its parts that are written down

    @property
    def newest(self) -> str | None:
        """The latest day there are rows of."""
        return max((day for entry in self.known.values() for day in entry.parts), default=None)


class SourceKind(ABC):
    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]] = BaseOptions  # what a recipe may set under `options` of the source

    @classmethod
    def options(cls, source: Source, where: str = "sources.NAME.options") -> Any:
        """The source's `Options`. Raises UsageError, which begins with `where`, for what is none."""
        return checked(cls.Options, source.options, where)

    @classmethod
    def owns(cls, source: Source) -> bool:
        """Whether it reads that source: where nothing else is said, by the scheme of its URL."""
        return source.scheme == cls.name

    @abstractmethod
    def fingerprint(self, source: Source) -> dict[str, str]:
        """Input → sha256 of what is read. Raises BadInput when there is nothing to read."""

    @abstractmethod
    def load(
        self, db: duckdb.DuckDBPyConnection, name: str, source: Source, part: str | None = None,
        since: date | None = None,
    ) -> None:  # fmt: skip
        """Fill the tables `raw` and `malformed`, which are there and empty: see `augment.sources.tables`.

        name: of the source, for errors. part: of a source of several parts (files) this one alone. since: rows of this
        day and later are enough.
        Raises BadInput for what cannot be read, and for a source without one of the recipe's columns; UsageError for a
        reading option that it does not have; Unavailable where trying again later may well succeed.
        """

    @abstractmethod
    def new_parts(self, source: Source, reading: Reading, taken: Intake) -> dict[str, Entry]:
        """All that is known after the night: what is new is read by `reading.read` and counted in `taken`."""
