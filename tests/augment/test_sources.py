import gzip
import json
import os
import sqlite3
import time
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from augment import sources
from augment.errors import BadInput, UsageError
from augment.recipe import Source, parse

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
    assert json.loads(next(k["row"] for k in kept if k["reason"] == "timestamp impossible"))["t"] == 12


def test_too_many_bad_rows_stop_the_run_and_name_the_reason(tmp_path):
    rows = behaviour().to_pylist()
    for row in rows[:100]:
        row["u"] = None
    with pytest.raises(BadInput, match=r"100 of 400 rows are bad.*user missing \(100\)"):
        prepared(tmp_path, pa.Table.from_pylist(rows))


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
    assert splits.quarantined == {"label not a number": 1}
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
    assert sources.fingerprint(changes) == sources.fingerprint(changes)


def test_a_column_of_mixed_types_in_a_database_is_one_line_with_a_remedy(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE logs (u, i, t)")
        rows = [(f"u{n % 20}", f"i{n % 30}", START + 600 * n if n != 3000 else "bad") for n in range(4000)]
        db.executemany("INSERT INTO logs VALUES (?, ?, ?)", rows)
    mixed = source("x", path=None, connection=f"sqlite:///{path}", query="SELECT * FROM logs")
    for read in (sources.fingerprint, lambda s: sources.prepare("logs", s, "behaviour", tmp_path / "work", 1)):
        with pytest.raises(BadInput, match=r"mismatch.*CAST the column") as raised:
            read(mixed)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("password", ["pa/ss", "pa@ss", "pa%zss", "pa%00ss"])
def test_a_password_that_cannot_be_parsed_is_not_printed(monkeypatch, password):
    pytest.importorskip("adbc_driver_postgresql.dbapi")
    monkeypatch.setenv("SHOP_PASSWORD", password)
    connection = "postgresql://me:${SHOP_PASSWORD}@127.0.0.1:1/shop"
    with pytest.raises(UsageError, match="percent-encode") as raised:
        sources.fingerprint(source("x", path=None, connection=connection, query="SELECT 1"))
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
    with pytest.raises(BadInput, match="connection to server") as raised:
        sources.fingerprint(source("x", path=None, connection=connection, query="SELECT 1"))
    assert "pa#" not in str(raised.value)


def test_database_mistakes_are_one_line_without_the_password(tmp_path):
    def read(connection):
        return source("x", path=None, connection=connection, query="SELECT 1")

    with pytest.raises(BadInput, match="no SQLite database"):
        sources.fingerprint(read("sqlite:///nowhere.db"))
    with pytest.raises(UsageError, match="not one of"):
        sources.fingerprint(read("oracle://x"))
    with pytest.raises(UsageError, match=r"a \$ that begins no"):
        sources.fingerprint(read("sqlite:///a$-b.db"))
    with pytest.raises(UsageError, match="SHOP_PASSWORD"):
        sources.fingerprint(read("sqlite:///${SHOP_PASSWORD}"))


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "logs.csv").touch()
    with pytest.raises(BadInput, match=r"logs\.csv is empty"):
        prepared(tmp_path, tmp_path / "logs.csv")


# -- bad input: each of these once hurt ------------------------------------------------------------


def written(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def reviews(rows=300):
    return [{"text": f"text {i}", "label": i % 2} for i in range(rows)]


REVIEWS = {"columns": {"text": "text", "label": "label"}, "split": {}}


def test_a_missing_number_is_missing_and_in_no_bin(tmp_path):
    table = behaviour().append_column("price", pa.array([float(i) if i % 2 else None for i in range(400)]))
    table = table.append_column("click", pa.array([i // 2 % 2 for i in range(400)]))
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "click", "numbers": ["price"]}
    splits, read = prepared(tmp_path, table, "fields", columns=columns)
    assert splits.quarantined == {}
    assert read["train"]["price"].null_count == (len(read["train"]) + 1) // 2
    assert "q0" in set(read["train"]["price"].to_pylist())


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_half_of_a_compressed_file_is_refused(tmp_path, kind):
    lines = "u,i,t\n" + "".join(f"u{i % 20},i{i % 30},{START + 60 * i}\n" for i in range(20_000))
    whole = gzip.compress(lines.encode()) if kind == "gz" else pa.compress(lines.encode(), "zstd", asbytes=True)
    path = tmp_path / f"logs.csv.{kind}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="Truncated"):
        prepared(tmp_path, path)


def test_a_damaged_gzip_is_refused(tmp_path):
    path = tmp_path / "logs.csv.gz"
    damaged = bytearray(gzip.compress(("u,i,t\n" + "u1,i1,1600000000\n" * 5000).encode()))
    damaged[-6] ^= 1  # of its checksum
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match="incorrect"):
        prepared(tmp_path, path)


def test_files_compressed_in_several_parts_are_read_whole(tmp_path):
    rows = [f"u{i % 20},i{i % 30},{START + 60 * i}\n" for i in range(400)]
    path = tmp_path / "logs.csv.gz"
    path.write_bytes(
        gzip.compress(("u,i,t\n" + "".join(rows[:200])).encode()) + gzip.compress("".join(rows[200:]).encode())
    )
    splits, _ = prepared(tmp_path, path)
    assert sum(splits.counts.values()) == 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf_16_is_named(tmp_path, encoding):
    path = tmp_path / "logs.csv"
    path.write_bytes("u,i,t\nu1,i1,1600000000\n".encode(encoding))
    with pytest.raises(BadInput, match=r"is UTF-16; save it as UTF-8"):
        prepared(tmp_path, path)


def test_ids_of_several_types_in_json_lines_have_no_quotes(tmp_path):
    rows = behaviour().to_pylist()
    for place, row in enumerate(rows):
        row["u"] = place % 20 if place < 200 else f"u{place % 20}"
        row["t"] = str(datetime.fromtimestamp(row["t"], timezone.utc)) if place % 2 else row["t"]
    splits, read = prepared(tmp_path, written(tmp_path / "logs.jsonl", rows))
    assert splits.quarantined == {}
    users = set(pa.concat_tables(read.values())["user_id"].to_pylist())
    assert users == {str(n) for n in range(20)} | {f"u{n}" for n in range(20)}


def test_lines_that_are_no_json_objects_are_quarantined(tmp_path):
    rows = [*behaviour().to_pylist(), "null", "5", "[1]", '"x"', '{"u": "u1", "i":', '{"u": "u1"}{"u": "u2"}']
    splits, read = prepared(tmp_path, written(tmp_path / "logs.jsonl", rows))
    assert splits.quarantined == {"malformed line": 6}
    assert sum(map(len, read.values())) == 400


def test_a_csv_line_with_several_errors_is_quarantined_once(tmp_path):
    path = tmp_path / "logs.csv"
    lines = [",".join(map(str, row.values())).encode() for row in behaviour().to_pylist()]
    path.write_bytes(b"\n".join([b"u,i,t", *lines[:50], b"\xff,i,3,\xff,5,6", *lines[50:]]))
    splits, _ = prepared(tmp_path, path)
    assert splits.quarantined == {"malformed line": 1}
    assert pq.read_table(splits.quarantine)["reason"].to_pylist() == ["malformed line"]


def test_labels_beyond_a_float_are_bad_rows(tmp_path):
    table = behaviour().append_column("rating", pa.array([1e300 if i == 7 else 4.0 for i in range(400)]))
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "rating"}
    splits, _ = prepared(tmp_path, table, columns=columns)
    assert splits.quarantined == {"label not a number": 1}


def test_true_and_false_are_labels_in_every_format(tmp_path):
    rows = [{**row, "label": row["label"] == 1} for row in reviews()]
    for name, content in (("a.jsonl", rows), ("b.csv", ["text,label", *(f"{r['text']},{r['label']}" for r in rows)])):
        splits, read = prepared(tmp_path, written(tmp_path / name, content), "text", **REVIEWS)
        assert splits.quarantined == {}
        assert set(read["train"]["label"].to_pylist()) == {0.0, 1.0}


def test_ids_and_fields_of_absurd_length_are_bad_rows(tmp_path):
    rows = behaviour().to_pylist()
    rows[3]["i"] = "x" * 100
    splits, _ = prepared(tmp_path, pa.Table.from_pylist(rows), max_text=99)
    assert splits.quarantined == {"item_id too long": 1}


@pytest.mark.parametrize("by", ["time", "user_time", "random"])
def test_when_no_row_is_left_it_says_so(tmp_path, by):
    table = behaviour().append_column("rating", pa.array([1] * 400))
    columns = {"user": "u", "item": "i", "timestamp": "t", "label": "rating"}
    with pytest.raises(BadInput, match="no good rows left"):
        prepared(tmp_path, table, columns=columns, keep=4, split={"by": by})


def test_labels_of_one_class_are_refused_before_training(tmp_path):
    rows = [{**row, "label": 1} for row in reviews()]
    with pytest.raises(BadInput, match="nothing to learn"):
        prepared(tmp_path, pa.Table.from_pylist(rows), "text", **REVIEWS)


@pytest.mark.parametrize(
    ("name", "hint"), [("T", "did you mean 'T'"), ("tt", "did you mean 'tt'"), ("x", "known: i, u")]
)
def test_a_renamed_column_is_one_line_with_the_nearest_name(tmp_path, name, hint):
    table = behaviour().rename_columns(["u", "i", name])
    with pytest.raises(BadInput, match=f"no column 't'; {hint}"):
        prepared(tmp_path, table)


def test_added_and_moved_columns_change_nothing(tmp_path):
    drifted = behaviour().select(["t", "i", "u"])
    for name in ("extra", "__row", "U"):
        drifted = drifted.append_column(name, pa.array([None] * 400, pa.string()))
    (tmp_path / "a").mkdir()
    splits, read = prepared(tmp_path / "a", drifted)
    _, reference = prepared(tmp_path, behaviour())
    assert splits.quarantined == {}
    assert read["train"].equals(reference["train"])


def test_the_readers_own_row_number_is_no_column(tmp_path):
    with pytest.raises(BadInput, match="no column '__row'"):
        prepared(tmp_path, behaviour(), columns={"user": "u", "item": "__row", "timestamp": "t"})


def test_errors_stay_short_whatever_the_columns_are_called(tmp_path):
    table = behaviour().append_column("\x1b[31m" + "x" * 9000, pa.nulls(400)).drop_columns(["t"])
    with pytest.raises(BadInput, match="no column 't'") as raised:
        prepared(tmp_path, table)
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


def test_a_name_with_brackets_is_no_pattern(tmp_path):
    path = tmp_path / "logs[1].parquet"
    pq.write_table(behaviour(), path)
    pq.write_table(behaviour(10), tmp_path / "logs1.parquet")
    splits, _ = prepared(tmp_path, tmp_path / "logs[[]1].parquet")
    assert sum(splits.counts.values()) == 400


def test_an_empty_file_among_others_has_no_rows(tmp_path):
    pq.write_table(behaviour(), tmp_path / "day1.parquet")
    (tmp_path / "day2.parquet").touch()
    splits, _ = prepared(tmp_path, tmp_path / "day*.parquet")
    assert sum(splits.counts.values()) == 400


@pytest.mark.parametrize("how", ["pipe", "directory", "loop"])
def test_what_is_no_file_is_refused_at_once(tmp_path, how):
    path = tmp_path / "logs.csv"
    {"pipe": os.mkfifo, "directory": Path.mkdir, "loop": lambda path: path.symlink_to(path.name)}[how](path)
    with pytest.raises(BadInput, match="not a file"):
        sources.fingerprint(source(path))


@pytest.mark.parametrize(
    ("path", "message"),
    [("", "no file at an empty path"), ([], "names no file"), (["a.csv", "b.parquet"], "files of one source")],
)
def test_paths_that_name_nothing_to_read(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.parquet"):
        (tmp_path / name).write_text("u,i,t\n")
    with pytest.raises(BadInput, match=message):
        prepared(tmp_path, "x", path=path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "a\0b.csv"}, "NUL"),
        ({"columns": {"label": "x", "fields": ["Label"]}}, "'Label' is taken"),
        ({"columns": {"label": "x", "fields": ["a", "A"]}}, "twice"),
    ],
)
def test_names_that_sql_or_the_system_cannot_hold_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        source("x", **changes)


@pytest.mark.parametrize("seed", ["[" * 5000 + "]" * 5000, "9" * 6000, "9" * 40])
def test_toml_that_python_cannot_hold_is_a_usage_error(seed):
    with pytest.raises(UsageError, match=r"^shop\.toml: "):
        parse(f"seed = {seed}", "shop.toml")
