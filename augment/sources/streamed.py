"""Sources whose rows come as Arrow batches, such as a query's result: one method says what there is."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from contextlib import AbstractContextManager
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from augment.contracts.source import Entry, Intake, Reading, SourceKind
from augment.recipes.source import Source
from augment.sources.formats import described
from augment.sources.tables import insert, place_of


class Streamed(SourceKind):
    @abstractmethod
    def batches(self, source: Source, since: date | None = None) -> AbstractContextManager[pa.RecordBatchReader]:
        """All rows, with the recipe's columns at least, of any Arrow type; one batch in memory at a time.

        since: rows of this day and later are enough; earlier ones may be among them. Raises BadInput for what cannot
        be read, Unavailable where trying again later may well succeed.
        """

    def fingerprint(self, source: Source) -> dict[str, str]:
        """The query, or the URL → sha256 of all rows."""
        digest = hashlib.sha256()
        with self.batches(source) as batches:
            for batch in batches:
                digest.update(batch.serialize())
        return {_key(source): digest.hexdigest()}

    def load(
        self, db: duckdb.DuckDBPyConnection, name: str, source: Source, part: str | None = None,
        since: date | None = None,
    ) -> None:  # fmt: skip
        with self.batches(source, since) as incoming:
            db.register("incoming", incoming)
            rows = described(db, "incoming", list(incoming.schema.names))
            insert(db, rows, source, f"sources.{name}: {place_of(source)}")
            db.unregister("incoming")

    def new_parts(self, source: Source, reading: Reading, taken: Intake) -> dict[str, Entry]:
        """The days that are not there yet, and the last few again: rows arrive late."""
        newest, entries = reading.newest, dict(reading.known)
        since = reading.as_of - timedelta(days=reading.lookback) if newest and source.columns.timestamp else None
        if newest and since and date.fromisoformat(newest) < since:
            since = date.fromisoformat(newest)  # nights were missed
        old = entries.get(_key(source), Entry())
        new = reading.read(since=since, ordered=False)  # a query's rows have no order
        taken.bytes += reading.size(new)
        taken.count({day: count for day, count in new.rows.items() if old.parts.get(day) != new.parts[day]})
        kept = [day for day in old.parts if since and day < str(since)]
        entries[_key(source)] = Entry(parts={**{day: old.parts[day] for day in kept}, **new.parts},
                                      rows={**{day: old.rows[day] for day in kept}, **new.rows})  # fmt: skip
        return entries


def _key(source: Source) -> str:
    """What its rows were read from, in the ledger and in digests."""
    return source.query or place_of(source)
