"""What a kind of source promises: all rows as text, a hash of what is there, and each row once over the nights."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.errors import BadInput
from augment.contracts.registry import every, source_kind
from augment.contracts.source import SourceKind
from augment.recipes.source import Source
from augment.sources.formats import own
from augment.sources.ledger import Ledger
from augment.sources.prepare import fingerprint, prepare
from augment.sources.tables import columns_of, load
from augment.testing import data
from augment.testing.promises import error_of, registered, skip, tests_of

COLUMNS = {"id": "row_id", "user": "user_id", "item": "item_id", "timestamp": "timestamp", "label": "label",
           "fields": ["colour", "device"]}  # fmt: skip
Put = Callable[[Path, pa.Table], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    kind: type[SourceKind]
    put: Put
    spoil: Callable[[Path], None] | None

    def source(self, folder: Path, rows: pa.Table, **changes: Any) -> Source:
        """Of rows that are put into the folder, in place of any that are there."""
        folder.mkdir(exist_ok=True)
        return Source(**{**self.put(folder, rows), "columns": COLUMNS, **changes})


def suite(kind: type[SourceKind], put: Put, spoil: Callable[[Path], None] | None = None) -> type:
    """The tests of a kind of source.

    put: put(folder, rows) writes rows of `augment.testing.data` instead of what it wrote there before, and gives what
    a recipe's source says of the place ({"path": "lake://…"}). spoil: spoil(folder) adds one line that is no row.
    """
    return tests_of(SourcePromises, {kind.name: Case(kind, put, spoil)})


def read(source: Source) -> tuple[list[tuple[Any, ...]], int]:
    """The rows that are loaded, in order, as text; and how many lines were none."""
    with duckdb.connect() as db:
        load(db, "rows", source)
        names = ", ".join(own(column) for column in columns_of(source))
        kinds = {kind for _, kind, *_ in db.execute(f"DESCRIBE SELECT {names} FROM raw").fetchall()}
        assert kinds == {"VARCHAR"}, "columns of `raw` are text"
        placed = db.execute("SELECT count(*) = count(DISTINCT __row) FROM raw").fetchall()[0][0]
        assert placed, "every row of `raw` has a place of its own in `__row`"
        found = db.execute(f"SELECT {names} FROM raw ORDER BY ALL").fetchall()
        return found, db.execute("SELECT count(*) FROM malformed").fetchall()[0][0]


class SourcePromises:
    def test_it_reads_what_a_recipe_names_so(self, case: Case, tmp_path: Path) -> None:
        with registered("sources", case.kind):
            kind = type(source_kind(case.source(tmp_path / "shop", data.rows())))
        assert kind is case.kind, f"what `put` describes is read by {kind.__name__}: see `owns`"

    def test_all_rows_are_loaded_as_text(self, case: Case, tmp_path: Path) -> None:
        with registered("sources", case.kind):
            found, malformed = read(case.source(tmp_path / "shop", rows := data.rows()))
        assert (len(found), malformed) == (len(rows), 0), "`load` fills `raw` with every row, once"
        words = {"row_id": 0, "user_id": 1, "colour": 5, "device": 6}
        expected = rows.sort_by("row_id").select(list(words)).to_pydict()
        assert expected == {name: [row[i] for row in found] for name, i in words.items()}, "values are as they were put"

    def test_a_line_that_is_no_row_is_kept_apart(self, case: Case, tmp_path: Path) -> None:
        if case.spoil is None:
            skip("it has no lines that are no rows: `spoil` is not given")
        with registered("sources", case.kind):
            source = case.source(tmp_path / "shop", data.rows())
            before, _ = read(source)
            case.spoil(tmp_path / "shop")
            assert read(source) == (before, 1), "the rows stay, and the line is in `malformed`"

    def test_a_column_that_is_not_there_is_said(self, case: Case, tmp_path: Path) -> None:
        with registered("sources", case.kind):
            source = case.source(tmp_path / "shop", data.rows(), columns={**COLUMNS, "segment": "colours"})
            said = error_of(BadInput, lambda: read(source))
        assert "has no column 'colours'" in said, f"the column that is not there is named, not: {said}"

    def test_the_fingerprint_is_of_the_content(self, case: Case, tmp_path: Path) -> None:
        found = []
        with registered("sources", case.kind):
            for some in (data.rows(), data.rows(), data.rows().slice(1)):
                source = case.source(tmp_path / "shop", some)
                found.append(fingerprint(source))
            assert found[0] == found[1], "the fingerprint of the same rows differs"
            assert found[0] != found[2], "the fingerprint of other rows is the same"
            shutil.rmtree(tmp_path / "shop")
            error_of(BadInput, lambda: fingerprint(source))

    def test_nights_read_every_row_once(self, case: Case, tmp_path: Path) -> None:
        rows = data.rows()
        with registered("sources", case.kind):
            for count in (300, 300, 480):
                some = rows.slice(0, count)
                ledger = Ledger(tmp_path / "ledger", "rows", case.source(tmp_path / "shop", some))
                ledger.take_in(date(2024, 1, 1), 2, False)
                kept = pa.concat_tables(pq.read_table(part) for part in ledger.window(date.min, date.max))
                assert sorted(kept["=row_id"].to_pylist()) == sorted(some["row_id"].to_pylist()), "each row, once"

    def test_rows_become_clean_splits(self, case: Case, tmp_path: Path) -> None:
        modality = next(name for name, one in every("modalities").items() if one.rows.fields)
        with registered("sources", case.kind):
            splits = prepare("rows", case.source(tmp_path / "shop", data.rows()), modality, tmp_path / "work", 0)
        assert sum(splits.counts.values()) == len(data.rows()), "good rows are lost on the way to the splits"
