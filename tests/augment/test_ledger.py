"""What the ledger takes in: by day, once, whole; what changes, moves or cannot be read."""

import sqlite3
from datetime import date, datetime, timedelta, timezone

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.errors import BadInput
from augment.ledger import Ledger
from augment.recipe import Source

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
COLUMNS = {"user": "who", "item": "what", "timestamp": "at", "label": "click"}


def write(path, hours, first=0):
    lines = [f"u{i},i{i % 7},{(START + timedelta(hours=h)).isoformat()},{i % 2}" for i, h in enumerate(hours, first)]
    path.write_text("who,what,at,click\n" + "\n".join(lines) + "\n")


@pytest.fixture
def source(tmp_path):
    write(tmp_path / "a.csv", range(0, 48, 2))
    return Source.model_validate({"path": str(tmp_path / "*.csv"), "columns": COLUMNS})


def users(ledger, day):
    parts = ledger.window(day, day)
    return sorted(duckdb.read_parquet(parts).fetchall()) if parts else []


def test_rows_are_dealt_out_to_days_and_read_once(source, tmp_path):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    assert ledger.take_in(date(2026, 3, 2), 2, False).days == {"2026-03-01": 12, "2026-03-02": 12}
    again = Ledger(tmp_path / "ledger", "clicks", source)
    assert again.take_in(date(2026, 3, 2), 2, False).bytes == 0
    assert ledger.day_rows(date(2026, 3, 2)) == 12
    write(tmp_path / "b.csv", [5, 50], first=100)  # one row comes late
    taken = again.take_in(date(2026, 3, 3), 2, False)
    assert taken.days == {"2026-03-01": 1, "2026-03-03": 1}
    assert len(users(again, date(2026, 3, 1))) == 13


def test_a_file_that_changed_replaces_its_own_rows(source, tmp_path):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(date(2026, 3, 2), 2, False)
    write(tmp_path / "a.csv", [1, 2, 30])
    taken = ledger.take_in(date(2026, 3, 2), 2, False)
    assert taken.rows == 3
    assert [len(users(ledger, date(2026, 3, d))) for d in (1, 2)] == [2, 1]
    kept = {path.name for path in (tmp_path / "ledger").glob("*/*.parquet")}
    assert len(kept) == 2  # the old parts are gone
    (tmp_path / "a.csv").touch()
    assert ledger.take_in(date(2026, 3, 2), 2, False).rows == 0


def test_rows_without_a_day_come_under_the_night_that_read_them(tmp_path, source):
    (tmp_path / "b.csv").write_text("who,what,at,click\nu,i,not a time,1\nu,i,9999-01-01,0\nu,i,1971-01-01,0\n")
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    assert ledger.take_in(date(2026, 3, 2), 2, False).days == {"2026-03-01": 12, "2026-03-02": 15}
    untimed = source.model_copy(update={"columns": source.columns.model_copy(update={"timestamp": None})})
    assert Ledger(tmp_path / "other", "clicks", untimed).take_in(date(2026, 3, 9), 2, False).days == {"2026-03-09": 27}


def test_a_night_that_cannot_read_takes_in_nothing(tmp_path, source):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    (tmp_path / "z.csv").write_text("who,where,at,click\nu,i,2026-03-01,1\n")
    with pytest.raises(BadInput, match=r"z\.csv has no column 'what'; did you mean"):
        ledger.take_in(date(2026, 3, 2), 2, False)
    assert ledger.newest() is None
    taken = ledger.take_in(date(2026, 3, 2), 2, True)
    assert list(taken.bad_files) == [str(tmp_path / "z.csv")]
    assert taken.rows == 24


def test_forgotten_days_are_not_read_again(tmp_path, source):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(date(2026, 3, 2), 2, False)
    assert ledger.forget(date(2026, 3, 2)) == 1
    assert Ledger(tmp_path / "ledger", "clicks", source).take_in(date(2026, 3, 2), 2, False).rows == 0
    assert users(ledger, date(2026, 3, 1)) == []


@pytest.mark.parametrize("kind", ["iso", "seconds", "milliseconds"])
def test_a_database_is_asked_for_the_last_days_alone(tmp_path, kind):
    db = sqlite3.connect(tmp_path / "shop.db")
    db.execute("CREATE TABLE clicks (who, what, at, click)")

    def add(hours):
        for i, h in enumerate(hours):
            at = START + timedelta(hours=h)
            stored = {"iso": at.isoformat(), "seconds": int(at.timestamp()), "milliseconds": int(at.timestamp() * 1000)}
            db.execute("INSERT INTO clicks VALUES (?, ?, ?, ?)", (f"u{i}", f"i{h}", stored[kind], h % 2))
        db.commit()

    add(range(0, 72, 3))
    source = Source.model_validate(
        {"connection": f"sqlite:///{tmp_path}/shop.db", "query": "SELECT * FROM clicks", "columns": COLUMNS}
    )
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    assert ledger.take_in(date(2026, 3, 3), 1, False).rows == 24
    add([1, 49, 73])  # too late to be seen, late, on time
    taken = ledger.take_in(date(2026, 3, 4), 1, False)
    assert taken.days == {"2026-03-03": 9, "2026-03-04": 1}
    assert len(users(ledger, date(2026, 3, 1))) == 8
    assert ledger.take_in(date(2026, 3, 4), 1, False).rows == 0


def test_parts_hold_text_whatever_the_file_held(tmp_path):
    for name, value in (("a", 3), ("b", "three")):
        table = pa.table({"who": [value], "what": ["i"], "at": [START + timedelta(hours=1)], "click": [1]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    source = Source.model_validate({"path": str(tmp_path / "*.parquet"), "columns": COLUMNS})
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(date(2026, 3, 1), 2, False)
    assert [row[0] for row in users(ledger, date(2026, 3, 1))] == ["3", "three"]
