"""Bad input never hurts: each of these once did, or came close."""

import gzip
import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import START, behaviour, prepared, source

from augment.base.errors import BadInput, UsageError
from augment.recipes.loading import load, parse
from augment.sources.prepare import fingerprint, prepare


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
    with pytest.raises(BadInput, match=f'is not UTF-8 .* reads as {encoding}: set `encoding = "{encoding}"`'):
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
    odd_keys = {"": 1, 'quo"te': 1, "U": 1, "__row": 1, "nul\0": 1}
    rows = [
        *({**row, **odd_keys} for row in behaviour().to_pylist()),
        "null",
        "5",
        "[1]",
        '"x"',
        '{"u": "u1", "i":',
        '{"u": "u1"}{"u": "u2"}',
    ]
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
        fingerprint(source(path))


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
        ({"columns": {"label": "x", "fields": ["a", "a"]}}, "'a' is twice"),
        ({"columns": {"label": "x", "fields": ["a", "A"]}}, "'a' and 'A' differ in case alone"),
        ({"columns": {"label": "x", "fields": ["X"]}}, "'x' and 'X' differ in case alone"),
    ],
)
def test_names_that_sql_or_the_system_cannot_hold_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        source("x", **changes)


@pytest.mark.parametrize("seed", ["[" * 5000 + "]" * 5000, "9" * 6000, "9" * 40])
def test_toml_that_python_cannot_hold_is_a_usage_error(seed):
    with pytest.raises(UsageError, match=r"^shop\.toml: "):
        parse(f"seed = {seed}", "shop.toml")


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".toml"])
def test_a_recipe_of_an_absurd_name_is_a_usage_error(name):
    with pytest.raises(UsageError):
        load(name)


@pytest.mark.parametrize(
    ("line", "message"), [('name = "' + "x" * 101, "at most 100"), ('output = "' + "x" * 256, "255")]
)
def test_names_of_folders_that_cannot_be_are_refused(line, message):
    with pytest.raises(UsageError, match=message):
        parse(line + '"', "shop.toml")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_whose_names_differ_in_case_alone_are_told_apart_by_a_number(tmp_path, kind):
    """As DuckDB tells them apart, whose names recipes have had so far."""
    rows = [(f"u{i % 9}", f"A{i % 4}", f"b{i % 5}", i % 2) for i in range(200)]
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text("\n".join(["user,Colour,colour,click", *(",".join(map(str, row)) for row in rows)]), "utf-8")
    else:
        columns = list(map(pa.array, zip(*rows, strict=True)))
        pq.write_table(pa.Table.from_arrays(columns, ["user", "Colour", "colour", "click"]), path)
    columns = {"user": "user", "label": "click", "fields": ["Colour", "colour_1"]}
    splits = prepare("t", source(path, columns=columns, split={}), "fields", tmp_path / "work", 0)
    train = pq.read_table(splits.train)
    assert set(train["Colour"].to_pylist()) == {"A0", "A1", "A2", "A3"}
    assert set(train["colour_1"].to_pylist()) == {"b0", "b1", "b2", "b3", "b4"}
