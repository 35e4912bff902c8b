"""Small logs for the tests of the sources, and reading them."""

from contextlib import suppress
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.errors import BadInput
from augment.recipes.schema import Source
from augment.sources.ledger import Ledger
from augment.sources.prepare import prepare

START = 1_600_000_020  # a full minute


def behaviour(rows=400):
    return pa.table(
        {
            "u": [f"u{i % 20}" for i in range(rows)],
            "i": [f"i{(i * 7) % 30}" for i in range(rows)],
            "t": [START + 600 * i for i in range(rows)],
        }
    )


def source(where, **changes):
    columns = {"user": "u", "item": "i", "timestamp": "t"}
    return Source.model_validate({"path": str(where), "columns": columns, "split": {"by": "time"}, **changes})


def prepared(tmp_path, table_or_path, modality="behaviour", **changes):
    path = table_or_path
    if isinstance(path, pa.Table):
        path = tmp_path / "logs.parquet"
        pq.write_table(table_or_path, path)
    splits = prepare("logs", source(path, **changes), modality, tmp_path / "work", seed=1)
    return splits, {name: pq.read_table(getattr(splits, name)) for name in ("train", "valid", "test")}


def read_twice(source, folder, columns, modality="text"):
    """These columns of every row that a run types, good or bad, and each malformed line; the same by a night."""
    found = []
    Ledger(folder / "ledger", "x", source).take_in(date(2024, 1, 6), 2, False)
    window = Ledger(folder / "ledger", "x", source).source(date.min, date.max)
    for name, each in (("run", source), ("night", window)):
        with suppress(BadInput):  # with few rows, a split is left empty
            prepare("x", each, modality, folder / name, 1)
        with duckdb.connect(str(folder / name / "source.duckdb")) as db:
            rows = db.execute(f"SELECT {columns} FROM typed ORDER BY ALL NULLS LAST").fetchall()
            found.append((rows, sorted(line for (line,) in db.execute("SELECT line FROM malformed").fetchall())))
    assert found[0] == found[1]
    return found[0]
