"""The same rows from a real PostgreSQL server as from a file; skipped where no server is installed."""

from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput
from augment.recipes.schema import Source
from augment.sources.kinds import database
from augment.sources.ledger import Ledger
from augment.sources.prepare import fingerprint, prepare

dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
pytestmark = pytest.mark.slow


def test_rows_from_a_server_are_those_of_the_file(server, demo_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    path = demo_folder / "behaviour.parquet"
    with dbapi.connect(server.replace("${SHOP_PASSWORD}", "secret")) as db, db.cursor() as cursor:
        cursor.adbc_ingest("logs", pq.read_table(path), mode="create")
        db.commit()
    columns = {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "label": "rating"}
    common = {"columns": columns, "keep": 4, "split": {"by": "user_time", "core": 10}}
    database = Source.model_validate({"connection": server, "query": "SELECT * FROM logs", **common})
    file = Source.model_validate({"path": str(path), **common})
    from_database, from_file = (
        prepare("logs", source, "behaviour", tmp_path / name, 7)
        for name, source in (("database", database), ("file", file))
    )
    assert pq.read_table(from_database.train).equals(pq.read_table(from_file.train))
    wrong = database.model_copy(update={"query": "SELECT * FROM nowhere"})
    with pytest.raises(BadInput, match="nowhere") as raised:
        fingerprint(wrong)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_night_asks_the_server_for_the_last_days_alone(server, demo_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    uri = server.replace("${SHOP_PASSWORD}", "secret")
    rows = pq.read_table(demo_folder / "impressions.parquet").slice(0, 900).select(["user_id", "item_id", "label"])
    start = datetime(2026, 3, 1, tzinfo=timezone.utc)
    times = pa.array([start + timedelta(minutes=8 * i) for i in range(900)], pa.timestamp("us", "UTC"))  # five days
    rows = rows.append_column("seen", times)
    with dbapi.connect(uri) as db, db.cursor() as cursor:
        cursor.adbc_ingest("clicks", rows.slice(0, 540), mode="create")
        db.commit()
    columns = {"user": "user_id", "item": "item_id", "timestamp": "seen", "label": "label"}
    source = Source.model_validate({"connection": server, "query": "SELECT * FROM clicks", "columns": columns})
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    first = ledger.take_in(date(2026, 3, 3), 1, False)
    assert first.days == {"2026-03-01": 180, "2026-03-02": 180, "2026-03-03": 180}
    with dbapi.connect(uri) as db, db.cursor() as cursor:
        cursor.adbc_ingest("clicks", rows.slice(540), mode="append")
        db.commit()
    with database.rows_since(server, "SELECT * FROM clicks", "seen", date(2026, 3, 3)) as reader:
        assert reader.read_all().num_rows == 180 * 3
    later = Ledger(tmp_path / "ledger", "clicks", source)
    assert later.take_in(date(2026, 3, 5), 1, False).days == {"2026-03-04": 180, "2026-03-05": 180}
    assert len(later.window(date(2026, 3, 1), date(2026, 3, 5))) == 5
    assert later.take_in(date(2026, 3, 5), 1, False).rows == 0


@pytest.mark.parametrize(
    ("name", "modality", "columns", "again"),
    [
        ("reviews", "text", {"id": "review_id", "text": "text", "label": "label", "segment": "category"}, 3000),
        ("impressions", "fields",
         {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "label": "label", "fields": ["genre"],
          "numbers": ["age"]}, 0),
    ],
)  # fmt: skip
def test_a_night_reads_from_a_server_what_a_run_reads_from_a_file(
    server, demo_folder, tmp_path, monkeypatch, name, modality, columns, again
):
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    path = tmp_path / "rows.parquet"
    pq.write_table(pq.read_table(demo_folder / f"{name}.parquet").slice(0, 3000), path)
    with dbapi.connect(server.replace("${SHOP_PASSWORD}", "secret")) as db, db.cursor() as cursor:
        cursor.adbc_ingest(name, pq.read_table(path), mode="create")
        db.commit()
    file = Source.model_validate({"path": str(path), "columns": columns})
    table = file.model_copy(update={"path": None, "connection": server, "query": f"SELECT * FROM {name}"})
    ledger = Ledger(tmp_path / "ledger", name, table)
    assert ledger.take_in(date(2026, 3, 3), 2, False).rows == 3000
    assert ledger.take_in(date(2026, 3, 4), 2, False).rows == again  # without a time, all rows are read each night
    night = ledger.source(date.min, date.max)
    read = [
        prepare(name, source, modality, tmp_path / f"work{number}", 7)
        for number, source in enumerate((file, table, night))
    ]
    assert read[0].counts == read[1].counts == read[2].counts
    for split in read[0].counts:
        tables = [pq.read_table(getattr(each, split)).sort_by("row_id") for each in read]
        assert tables[0].equals(tables[1])
        assert tables[0].equals(tables[2])


def test_text_times_of_a_server_lose_no_row(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    zone = timezone(timedelta(hours=-5))
    start = datetime(2026, 3, 1, tzinfo=timezone.utc)
    times = [(start + timedelta(hours=h)).astimezone(zone).isoformat() for h in range(72)]
    rows = pa.table({"who": ["u"] * 73, "at": [*times, None], "stars": [h % 5 for h in range(73)]})
    with dbapi.connect(server.replace("${SHOP_PASSWORD}", "secret")) as db, db.cursor() as cursor:
        cursor.adbc_ingest("texts", rows, mode="create")
        db.commit()
    columns = {"user": "who", "timestamp": "at", "label": "stars"}
    source = Source.model_validate({"connection": server, "query": "SELECT * FROM texts", "columns": columns})
    for number in range(2):
        ledger = Ledger(tmp_path / "ledger", "texts", source)
        ledger.take_in(date(2026, 3, 3), 1, False)
        found = [ledger.day_rows(date(2026, 3, d)) for d in (1, 2, 3)]
        assert found == [24, 24, 24 if number else 25]  # the row without a time is read the first night
