"""What the ledger takes in: by day, once, whole; what changes, moves or cannot be read."""

import gzip
import json
import sqlite3
from datetime import date, datetime, timedelta, timezone

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput
from augment.recipes.schema import Source
from augment.sources.ledger import Ledger
from augment.sources.prepare import prepare

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)
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


def counts(ledger):
    return [ledger.day_rows(day) for day in (FIRST, SECOND)]


def rows_of(hours):
    return [{"who": f"u{i}", "what": f"i{i % 7}", "at": (START + timedelta(hours=h)).isoformat(), "click": i % 2}
            for i, h in enumerate(hours)]  # fmt: skip


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


@pytest.mark.parametrize("kind", ["csv.gz", "tsv", "jsonl", "ndjson", "jsonl.gz", "parquet"])
def test_every_format_gives_the_same_parts(tmp_path, kind, source):
    rows, path = rows_of(range(0, 48, 2)), tmp_path / f"b.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        comma = "\t" if kind == "tsv" else ","
        lines = [comma.join(rows[0]), *(comma.join(map(str, row.values())) for row in rows)]
        if "json" in kind:
            lines = [json.dumps(row) for row in rows]
        content = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    ledgers = [
        Ledger(tmp_path / name, "clicks", source.model_copy(update={"path": str(tmp_path / f"{name}.*")}))
        for name in "ab"
    ]
    for ledger in ledgers:
        ledger.take_in(SECOND, 2, False)
    assert [users(ledgers[1], day) for day in (FIRST, SECOND)] == [users(ledgers[0], day) for day in (FIRST, SECOND)]


@pytest.mark.parametrize(
    ("kind", "line"), [("csv", "u1,i1"), ("csv", "u,i,2026-03-01,1,5,6"), ("jsonl", '{"who": "u1"')]
)
def test_malformed_lines_are_bad_rows_of_the_night_that_read_them(tmp_path, kind, line):
    rows = rows_of(range(0, 48, 2))
    lines = [json.dumps(row) if kind == "jsonl" else ",".join(map(str, row.values())) for row in rows]
    head = ["who,what,at,click"] if kind == "csv" else []
    (tmp_path / f"a.{kind}").write_text("\n".join([*head, *lines, *[line] * 16]))
    settings = {"columns": COLUMNS, "split": {"by": "time", "valid": 0.2, "test": 0.3}, "max_bad_share": 0.5}
    source = Source.model_validate({"path": str(tmp_path / f"a.{kind}"), **settings})
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    taken = ledger.take_in(SECOND, 2, False)
    assert (taken.rows, taken.malformed, counts(ledger)) == (24, 16, [12, 12])
    window = source.model_copy(update={"path": ledger.window(FIRST, SECOND)})
    for where, reads in (("night", window), ("run", source)):
        splits = prepare("clicks", reads, "fields", tmp_path / where, 1)
        assert splits.quarantined == {"malformed line": 16}
        assert sum(splits.counts.values()) == 24
        kept = pq.read_table(splits.quarantine).to_pylist()
        assert [row["reason"] for row in kept] == ["malformed line"] * 16
        assert {row["row"] for row in kept} == {line if kind == "csv" else ""}
        strict = reads.model_copy(update={"max_bad_share": 0.3})
        with pytest.raises(BadInput, match=r"16 of 40 rows are bad.*malformed line \(16\)"):
            prepare("clicks", strict, "fields", tmp_path / where, 1)


def test_a_file_whose_bits_are_flipped_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(range(24))), path)
    damaged = bytearray(path.read_bytes())
    damaged[4] ^= 1  # DuckDB has no class of its own for what it makes of this
    path.write_bytes(damaged)
    ledger = Ledger(tmp_path / "ledger", "x", Source.model_validate({"path": str(path), "columns": COLUMNS}))
    with pytest.raises(BadInput, match=r"cannot read .*a\.parquet"):
        ledger.take_in(SECOND, 2, False)


@pytest.mark.parametrize("how", ["renamed", "copied", "compressed", "rotated", "gone and back"])
def test_a_file_is_its_content(tmp_path, how):
    path, other = tmp_path / "a.csv", tmp_path / "a.csv.1.csv"
    write(path, range(0, 48, 2))
    (tmp_path / "empty.csv").touch()
    content = path.read_bytes()
    source = Source.model_validate({"path": str(tmp_path / "*.csv*"), "columns": COLUMNS})
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(SECOND, 2, False)
    if how == "copied":
        other.write_bytes(content)
    elif how == "compressed":
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
        path.unlink()
    elif how == "gone and back":
        path.unlink()
    else:
        path.rename(other)
    if how == "rotated":
        write(path, [3], first=50)
    new = ledger.take_in(SECOND, 2, False).rows
    assert new == {"compressed": 24, "rotated": 1}.get(how, 0)
    assert counts(ledger) == ([13, 12] if how == "rotated" else [12, 12])
    if how == "gone and back":
        path.write_bytes(content)
    assert ledger.take_in(SECOND, 2, False).rows == 0
    if how == "renamed":  # the rows are the new name's alone
        write(other, [1, 2])
        ledger.take_in(SECOND, 2, False)
        assert counts(ledger) == [2, 0]


def test_a_file_that_cannot_be_read_is_tried_again(tmp_path, source):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(SECOND, 2, False)
    (tmp_path / "b.csv").symlink_to("nowhere")
    (tmp_path / "a.csv").write_text("no,columns\n")
    for _ in range(2):
        taken = ledger.take_in(SECOND, 2, True)
        assert list(taken.bad_files) == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
        assert counts(ledger) == [12, 12]  # what it held before it was bad
    write(tmp_path / "nowhere", [1])
    taken = ledger.take_in(SECOND, 2, True)
    assert (taken.rows, list(taken.bad_files)) == (1, [str(tmp_path / "a.csv")])


@pytest.mark.parametrize(
    "change",
    [{"columns": {**COLUMNS, "fields": ["place"]}}, {"columns": {**COLUMNS, "timestamp": None}}, {"path": "b.csv"}],
)
def test_another_recipe_reads_everything_anew(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "place": f"p{i % 3}"} for i, row in enumerate(rows_of(range(0, 48, 2)))]
    for name, part in (("a", rows), ("b", rows[:5])):
        lines = [",".join(part[0]), *(",".join(map(str, row.values())) for row in part)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    plain = {"path": "a.csv", "columns": COLUMNS}
    old, new = (Source.model_validate({**plain, **changed}) for changed in ({}, change))
    Ledger(tmp_path / "ledger", "clicks", old).take_in(SECOND, 2, False)
    ledger = Ledger(tmp_path / "ledger", "clicks", new)
    assert ledger.window(FIRST, SECOND) == []
    ledger.take_in(SECOND, 2, False)
    fresh = Ledger(tmp_path / "fresh", "clicks", new)
    fresh.take_in(SECOND, 2, False)
    names = [[path.rpartition("/")[2] for path in each.window(FIRST, SECOND)] for each in (ledger, fresh)]
    assert names[0] == names[1] != []
    assert Ledger(tmp_path / "ledger", "clicks", new).take_in(SECOND, 2, False).bytes == 0


def test_a_night_that_reads_nothing_of_a_changed_recipe_forgets_the_old_rows(tmp_path, source):
    Ledger(tmp_path / "ledger", "clicks", source).take_in(SECOND, 2, False)
    (tmp_path / "empty.csv").touch()
    other = source.model_copy(update={"path": str(tmp_path / "empty.csv")})
    for _ in range(2):
        ledger = Ledger(tmp_path / "ledger", "clicks", other)
        assert ledger.take_in(SECOND, 2, False).rows == 0
        assert ledger.newest() is None


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_part_that_is_not_what_it_was_is_one_line_with_the_remedy(tmp_path, source, how):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(SECOND, 2, False)
    part = next((tmp_path / "ledger").glob("*/*.parquet"))
    part.unlink() if how == "missing" else part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(BadInput, match=f"damaged or missing; delete {tmp_path / 'ledger'} to read all anew"):
        ledger.window(FIRST, SECOND)
    assert counts(ledger) == [12, 12]


@pytest.mark.parametrize("index", ["", "[]", '{"read_with": 3', "\x80"])
def test_a_damaged_index_is_one_line_with_the_remedy(tmp_path, source, index):
    Ledger(tmp_path / "ledger", "clicks", source).take_in(SECOND, 2, False)
    (tmp_path / "ledger" / "index.json").write_bytes(index.encode("latin-1"))
    with pytest.raises(BadInput, match=r"index\.json: not an index .*delete .*ledger to read all anew"):
        Ledger(tmp_path / "ledger", "clicks", source)


def test_files_of_the_past_leave_no_trace_when_their_days_are_forgotten(tmp_path, source):
    ledger = Ledger(tmp_path / "ledger", "clicks", source)
    ledger.take_in(SECOND, 2, False)
    (tmp_path / "a.csv").rename(tmp_path / "old")
    write(tmp_path / "b.csv", [50])
    ledger.take_in(date(2026, 3, 3), 2, False)
    assert counts(ledger) == [12, 12]
    ledger.forget(date(2026, 3, 3))
    ledger.take_in(date(2026, 3, 3), 2, False)
    assert list(json.loads((tmp_path / "ledger" / "index.json").read_text())["entries"]) == [str(tmp_path / "b.csv")]


def shop(tmp_path, times):
    """A SQLite database with one click at each time, and its source."""
    db = sqlite3.connect(tmp_path / "shop.db")
    db.execute("CREATE TABLE IF NOT EXISTS clicks (who, what, at, click)")
    db.executemany("INSERT INTO clicks VALUES (?, 'i', ?, 1)", [(f"u{i}", at) for i, at in enumerate(times)])
    db.commit()
    where = {"connection": f"sqlite:///{tmp_path}/shop.db", "query": "SELECT * FROM clicks"}
    return Source.model_validate({**where, "columns": COLUMNS})


@pytest.mark.parametrize("offset", [-11, -5, 0, 9, 14])
def test_text_with_an_offset_from_utc_loses_no_row(tmp_path, offset):
    zone = timezone(timedelta(hours=offset))
    source = shop(tmp_path, [(START + timedelta(hours=h)).astimezone(zone).isoformat() for h in range(72)])
    for _ in range(2):
        ledger = Ledger(tmp_path / "ledger", "clicks", source)
        ledger.take_in(date(2026, 3, 3), 1, False)
        assert [ledger.day_rows(date(2026, 3, d)) for d in (1, 2, 3)] == [24, 24, 24]


def test_rows_of_a_database_without_a_day_of_their_own_do_not_pile_up(tmp_path):
    for day in range(5):
        at = [(START + timedelta(days=day, hours=h)).isoformat() for h in range(10)]
        source = shop(tmp_path, [*at, None, "not a time", "9999-01-01"])
        ledger = Ledger(tmp_path / "ledger", "clicks", source)
        ledger.take_in(FIRST + timedelta(days=day), 2, False)
    days = [ledger.day_rows(FIRST + timedelta(days=d)) for d in range(5)]
    assert days == [10, 10, 10, 10, 10]  # the first night's three are gone when its day is read again


def test_another_query_reads_everything_anew(tmp_path):
    source = shop(tmp_path, [(START + timedelta(hours=h)).isoformat() for h in range(48)])
    Ledger(tmp_path / "ledger", "clicks", source).take_in(SECOND, 1, False)
    other = source.model_copy(update={"query": "SELECT * FROM clicks WHERE who <> 'u5'"})
    ledger = Ledger(tmp_path / "ledger", "clicks", other)
    ledger.take_in(SECOND, 1, False)
    assert counts(ledger) == [23, 24]
