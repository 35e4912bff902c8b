"""Small logs for the tests of the sources, and reading them."""

import pyarrow as pa
import pyarrow.parquet as pq

from augment import sources
from augment.recipe import Source

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
    splits = sources.prepare("logs", source(path, **changes), modality, tmp_path / "work", seed=1)
    return splits, {name: pq.read_table(getattr(splits, name)) for name in ("train", "valid", "test")}
