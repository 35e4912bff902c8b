import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def clicks(demo_folder):
    """The first 12,000 impressions of the MovieLens click table, in order of time: train, validation and test."""
    rows = pq.read_table(demo_folder / "impressions.parquet").slice(0, 12_000)
    fields = ["user_id", "item_id", "gender", "occupation", "genre"]
    columns = {name: rows[name].cast(pa.string()) for name in fields}
    columns |= {"label": rows["label"].cast(pa.float32()), "row_id": pa.array([str(i) for i in range(len(rows))])}
    table = pa.table(columns)
    return table.slice(0, 8000), table.slice(8000, 1500), table.slice(9500)
