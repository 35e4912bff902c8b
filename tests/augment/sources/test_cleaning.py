import gzip
import json
import sqlite3
import time
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from logs import START, behaviour, prepared, source

from augment.base.errors import BadInput, Unavailable, UsageError
from augment.sources import cleaning as sources
from augment.sources.prepare import fingerprint, prepare


def test_a_time_split_is_in_order_and_loses_no_row(tmp_path):
    _, read = prepared(tmp_path, behaviour())
    assert sum(map(len, read.values())) == 400
    latest = {name: (min(t["timestamp"].to_pylist()), max(t["timestamp"].to_pylist())) for name, t in read.items()}
    assert latest["train"][1] < latest["valid"][0]
    assert latest["valid"][1] < latest["test"][0]
    assert len(read["test"]) == pytest.approx(80, abs=2)


def test_a_user_time_split_tests_each_users_latest_rows(tmp_path):
    _, read = prepared(tmp_path, behaviour(), split={"by": "user_time", "valid": 0.1, "test": 0.2})
    for user in set(read["test"]["user_id"].to_pylist()):
        times = {n: [t for u, t in zip(x["user_id"].to_pylist(), x["timestamp"].to_pylist(), strict=True) if u == user]
                 for n, x in read.items()}  # fmt: skip
        assert max(times["train"]) < min(times["test"])


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "jsonl", "jsonl.zst", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, kind):
    table, path = behaviour(), tmp_path / f"logs.{kind}"
    lines = "\n".join(json.dumps(row) for row in table.to_pylist()).encode()
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind.startswith("jsonl"):
        path.write_bytes(pa.compress(lines, "zstd", asbytes=True) if kind.endswith("zst") else lines)
    else:
        pc.write_csv(table, path, pc.WriteOptions(delimiter="\t" if kind == "tsv" else ","))
        if kind.endswith("gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    _, read = prepared(tmp_path, path)
    reference, _ = prepared(tmp_path / "again", table) if (tmp_path / "again").mkdir() is None else None
    assert read["train"].equals(pq.read_table(reference.train))


def test_bad_rows_are_quarantined_with_their_reason_and_content(tmp_path):
    rows = behaviour().to_pylist()
    rows[3]["u"] = " "
    rows[4]["t"] = 12
    rows[5]["i"] = None
    rows.append(rows[10])
    splits, read = prepared(tmp_path, pa.Table.from_pylist(rows))
    expected = {"user missing": 1, "timestamp impossible": 1, "item missing": 1, "duplicate": 1}
    assert splits.quarantined == expected
    assert sum(map(len, read.values())) == 397
    kept = pq.read_table(splits.quarantine).to_pylist()
    assert json.loads(next(k["row"] for k in kept if k["reason"] == "timestamp impossible"))["t"] == "12"


def test_too_many_bad_rows_stop_the_run_and_name_the_reason(tmp_path):
    rows = behaviour().to_pylist()
    for row in rows[:100]:
        row["u"] = None
    with pytest.raises(BadInput, match=r"100 of 400 rows are bad.*user missing \(100\)"):
        prepared(tmp_path, pa.Table.from_pylist(rows))


def test_an_item_without_a_description_is_no_bad_row(tmp_path):
    titles = [None if row["i"] == "i3" else f"title of {row['i']}" for row in behaviour().to_pylist()]
    columns = {"user": "u", "item": "i", "timestamp": "t", "text": "title"}
    splits, read = prepared(tmp_path, behaviour().append_column("title", pa.array(titles)), columns=columns)
    assert splits.quarantined == {}
    assert read["train"]["text"].null_count > 0


def test_a_bot_loses_all_its_rows(tmp_path):
    rows = behaviour().to_pylist() + [{"u": "bot", "i": f"i{n % 30}", "t": START + n % 50} for n in range(200)]
    splits, read = prepared(tmp_path, pa.Table.from_pylist(rows), max_bad_share=0.5)
    assert splits.quarantined["bot"] + splits.quarantined.get("duplicate", 0) == 200
    assert "bot" not in read["train"]["user_id"].to_pylist()


def test_malformed_csv_lines_are_quarantined(tmp_path):
    path = tmp_path / "logs.csv"
    pc.write_csv(behaviour(), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:50], "u1,i1,1600000000,extra,columns", *lines[50:]]))
    splits, read = prepared(tmp_path, path)
    assert splits.quarantined.get("malformed line") == 1
    assert sum(map(len, read.values())) == 400


def test_labels_are_checked_scaled_and_made_scarce(tmp_path):
    table = pa.table(
        {"text": [f"text number {i}" for i in range(300)], "stars": [i % 5 + 1 for i in range(299)] + [float("nan")]}
    )
    changes = {"columns": {"text": "text", "label": "stars"}, "split": {}, "positive": 4}
    splits, read = prepared(tmp_path, table, "text", labelled=50, unlabelled=60, **changes)
    assert splits.quarantined == {}  # NaN is a missing label
    assert len(read["train"]) == 50
    assert set(read["train"]["label"].to_pylist()) == {0.0, 1.0}
    hidden = pq.read_table(splits.unlabelled)
    assert len(hidden) == 60
    assert hidden["label"].null_count == 60


def test_numbers_are_binned_by_training_rows_alone(tmp_path):
    table = behaviour().append_column("price", pa.array([float(i) for i in range(400)]))
    table = table.append_column("click", pa.array([i % 2 for i in range(400)]))
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "click", "numbers": ["price"]}
    _, read = prepared(tmp_path, table, "fields", columns=columns)
    assert len(set(read["train"]["price"].to_pylist())) == sources.BINS
    # Prices rise with time: a bin learnt on test rows would split them.
    assert set(read["test"]["price"].to_pylist()) == {f"q{sources.BINS - 1}"}


def test_fields_may_be_called_what_the_reader_calls_its_own_columns(tmp_path):
    names = ["reason", "split", "place", "n", "burst"]
    table = behaviour().append_column("click", pa.array([i % 2 for i in range(400)]))
    for name in names:
        table = table.append_column(name, pa.array([f"{name}{i % 3}" for i in range(400)]))
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "click", "fields": names}
    splits, read = prepared(tmp_path, table, "fields", columns=columns)
    assert splits.quarantined == {}
    for name in names:
        assert set(read["train"][name].to_pylist()) == {f"{name}{i}" for i in range(3)}


def test_a_time_without_zone_is_utc_wherever_the_machine_is(tmp_path, monkeypatch):
    times = [
        datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%d %H:%M:%S") for t in behaviour()["t"].to_pylist()
    ]
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        _, read = prepared(tmp_path, behaviour().set_column(2, "t", pa.array(times)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert min(read["train"]["timestamp"].to_pylist()) == START * 1_000_000


def test_rows_without_label_do_not_use_up_the_labelled(tmp_path):
    table = pa.table(
        {"text": [f"text {i}" for i in range(400)], "label": [None if i % 2 else i // 2 % 2 for i in range(400)]}
    )
    changes = {"columns": {"text": "text", "label": "label"}, "split": {}, "labelled": 50, "unlabelled": 60}
    splits, _ = prepared(tmp_path, table, "text", valid_rows=12, **changes)
    assert splits.counts == {"train": 50, "unlabelled": 60, "valid": 12, "test": splits.counts["test"]}


def clicks(rows=400):
    table = behaviour(rows).append_column("price", pa.array([float(i) for i in range(rows)]))
    return table.append_column("click", pa.array([None if i % 4 == 0 else i // 4 % 2 for i in range(rows)]))


CLICKS = {"columns": {"user": "u", "item": "i", "timestamp": "t", "label": "click", "numbers": ["price"]}}


def test_clicks_without_label_are_bad_rows_unless_the_recipe_asks_for_them(tmp_path):
    splits, _ = prepared(tmp_path, clicks(), "fields", max_bad_share=0.5, **CLICKS)
    assert splits.quarantined == {"label missing": 100}
    assert splits.unlabelled is None
    for given, hidden in ((30, 30), (2**63 - 1, 71)):
        splits, read = prepared(tmp_path, clicks(), "fields", unlabelled=given, **CLICKS)
        assert splits.quarantined == {}
        rows = pq.read_table(splits.unlabelled)
        assert (len(rows), rows["label"].null_count) == (hidden, hidden)
        assert [table["label"].null_count for table in read.values()] == [0, 0, 0]
        assert max(rows["timestamp"].to_pylist()) < min(read["valid"]["timestamp"].to_pylist())
        assert set(rows.column_names) == set(read["train"].column_names)


def test_clicks_beyond_the_labelled_lose_their_label_as_reviews_do(tmp_path):
    splits, read = prepared(tmp_path, clicks(), "fields", labelled=50, **CLICKS)
    assert splits.counts == {"train": 50, "unlabelled": 231, "valid": 30, "test": 60}
    assert read["train"]["label"].null_count == 0


def test_a_folder_can_be_prepared_again(tmp_path):
    first, _ = prepared(tmp_path, behaviour())
    again, _ = prepared(tmp_path, behaviour())
    assert again.counts == first.counts


def test_a_core_leaves_no_sparse_user_or_item(tmp_path):
    sparse = [{"u": "once", "i": "i1", "t": START}, {"u": "u1", "i": "rare", "t": START + 1}]
    rows = [*behaviour().to_pylist(), *sparse]
    _, read = prepared(tmp_path, pa.Table.from_pylist(rows), split={"by": "time", "core": 5})
    everything = pa.concat_tables(read.values())
    assert "once" not in everything["user_id"].to_pylist()
    assert "rare" not in everything["item_id"].to_pylist()


def test_items_whose_early_rows_were_left_out_are_named_with_their_first_time(tmp_path):
    rows = [{**row, "l": 5.0} for row in behaviour().to_pylist()]
    rows += [{"u": f"u{n}", "i": "disliked", "t": START + 60 * (5 - n), "l": 2.0} for n in range(3)]
    rows += [{"u": "u1", "i": "sparse", "t": START + 60, "l": 5.0}]
    rows += [{"u": "u2", "i": "of the test", "t": START + 600 * 399, "l": 2.0}]
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "l"}
    splits, _ = prepared(tmp_path, pa.Table.from_pylist(rows), columns=columns, keep=4, split={"by": "time", "core": 2})
    found = pq.read_table(splits.left_out).to_pylist()
    assert found == [{"item_id": "disliked", "timestamp": (START + 180) * 10**6},
                     {"item_id": "sparse", "timestamp": (START + 60) * 10**6}]  # fmt: skip


def test_what_a_split_takes_for_new_is_not_named_as_left_out(tmp_path):
    rows = [{**row, "l": 5.0} for row in behaviour().to_pylist()]
    names = [f"disliked {n}" for n in range(40)]
    rows += [{"u": "u0", "i": name, "t": START + 60, "l": 2.0} for name in names]
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "l"}
    split = {"by": "new_items", "valid": 0.2, "test": 0.3}
    splits, _ = prepared(tmp_path, pa.Table.from_pylist(rows), columns=columns, keep=4, split=split)
    assert 5 < len(pq.read_table(splits.left_out)) < 20  # of 40 half are new, of the rest half are late ones


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "nowhere.parquet"}, "no file at nowhere.parquet"),
        ({"columns": {"user": "user", "item": "i", "timestamp": "t"}}, "no column 'user'"),
        ({"columns": {"user": "u"}, "split": {}}, "needs the role 'item'"),
        ({"columns": {"user": "u", "item": "i"}}, "needs the role 'timestamp'"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, changes, message):
    with pytest.raises(BadInput, match=message):
        prepared(tmp_path, behaviour(), **changes)


def test_a_file_that_is_not_what_its_name_says(tmp_path):
    (tmp_path / "logs.parquet").write_bytes(b"PAR1 this is not parquet")
    with pytest.raises(BadInput, match="cannot read"):
        prepared(tmp_path, tmp_path / "logs.parquet")


def test_a_sqlite_database_gives_the_rows_of_a_file(tmp_path):
    table, path = behaviour(), tmp_path / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE logs (u TEXT, i TEXT, t INTEGER)")
        db.executemany("INSERT INTO logs VALUES (?, ?, ?)", list(zip(*table.to_pydict().values(), strict=True)))
    from_database = {"path": None, "connection": f"sqlite:///{path}", "query": "SELECT * FROM logs"}
    (tmp_path / "db").mkdir()
    _, read = prepared(tmp_path / "db", table, **from_database)
    _, reference = prepared(tmp_path, table)
    assert read["train"].equals(reference["train"])
    changes = source("x", **from_database)
    assert fingerprint(changes) == fingerprint(changes)


def test_a_column_of_mixed_types_in_a_database_is_one_line_with_a_remedy(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE logs (u, i, t)")
        rows = [(f"u{n % 20}", f"i{n % 30}", START + 600 * n if n != 3000 else "bad") for n in range(4000)]
        db.executemany("INSERT INTO logs VALUES (?, ?, ?)", rows)
    mixed = source("x", path=None, connection=f"sqlite:///{path}", query="SELECT * FROM logs")
    for read in (fingerprint, lambda s: prepare("logs", s, "behaviour", tmp_path / "work", 1)):
        with pytest.raises(BadInput, match=r"mismatch.*CAST the column") as raised:
            read(mixed)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("password", ["pa/ss", "pa@ss", "pa%zss", "pa%00ss"])
def test_a_password_that_cannot_be_parsed_is_not_printed(monkeypatch, password):
    pytest.importorskip("adbc_driver_postgresql.dbapi")
    monkeypatch.setenv("SHOP_PASSWORD", password)
    connection = "postgresql://me:${SHOP_PASSWORD}@127.0.0.1:1/shop"
    with pytest.raises(UsageError, match="percent-encode") as raised:
        fingerprint(source("x", path=None, connection=connection, query="SELECT 1"))
    assert "ss@" not in str(raised.value)
    assert password not in str(raised.value)


@pytest.mark.parametrize(
    "connection",
    [
        "postgresql://me:pa#s?s:!&%40@127.0.0.1:1/shop",
        "postgresql://me@127.0.0.1:1/shop",
        "postgresql://127.0.0.1:1,[::1]:1/shop?user=a@b",
        "postgresql:///shop?host=127.0.0.1&port=1",
    ],
)
def test_connections_that_the_driver_can_parse_reach_it(connection):
    pytest.importorskip("adbc_driver_postgresql.dbapi")
    with pytest.raises(Unavailable, match="connection to server") as raised:
        fingerprint(source("x", path=None, connection=connection, query="SELECT 1"))
    assert "pa#" not in str(raised.value)


def test_database_mistakes_are_one_line_without_the_password(tmp_path):
    def read(connection):
        return source("x", path=None, connection=connection, query="SELECT 1")

    with pytest.raises(BadInput, match="no SQLite database"):
        fingerprint(read("sqlite:///nowhere.db"))
    with pytest.raises(UsageError, match="not one of"):
        fingerprint(read("oracle://x"))
    with pytest.raises(UsageError, match=r"a \$ that begins no"):
        fingerprint(read("sqlite:///a$-b.db"))
    with pytest.raises(UsageError, match="SHOP_PASSWORD"):
        fingerprint(read("sqlite:///${SHOP_PASSWORD}"))


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "logs.csv").touch()
    with pytest.raises(BadInput, match=r"logs\.csv is empty"):
        prepared(tmp_path, tmp_path / "logs.csv")
