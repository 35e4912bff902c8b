"""Other people's files: names of files and columns, values that are bad or missing, times of another order."""

import json
import os
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import START, prepared, read_twice
from nights import day, nightly_recipe, write
from ran import night

from augment.base.errors import BadInput
from augment.recipes.schema import Source
from augment.recipes.source import field_column, published
from augment.sources.ledger import Ledger
from augment.sources.prepare import prepare
from consumers import open_mix

NAMES = (
    "a [2024].csv", "a*b?.csv", "100% #1.csv", "it's \"it\".csv",
    "评论 ñ.csv", "~a.csv", "{a,b}.csv", "a\\b.csv", "-a.csv",
    "a\nb.csv", "$HOME.csv",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [".csv", ".csv.gz", ".parquet", ".jsonl"])
def test_a_file_of_any_name_is_that_file(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    path = name.removesuffix(".csv") + kind
    rows = pa.table({"u": ["u1", "u2"], "i": ["i1", "i2"]})
    if kind == ".parquet":
        pq.write_table(rows, path)
    elif kind == ".jsonl":
        (tmp_path / path).write_text("\n".join(map(json.dumps, rows.to_pylist())))
    else:
        with pa.output_stream(path) as file:
            file.write(b"u,i\nu1,i1\nu2,i2\n")
    (tmp_path / "a 2.csv").write_text("u,i\nu9,i9\n")  # what a pattern would find
    source = Source.model_validate({"path": path, "columns": {"user": "u", "item": "i"}})
    assert read_twice(source, tmp_path / "w", "user_id", "behaviour") == ([("u1",), ("u2",)], [])


def test_a_folder_of_key_and_value_is_a_column(tmp_path):
    for shop in ("east", "w%20est"):
        (tmp_path / f"shop={shop}").mkdir()
        (tmp_path / f"shop={shop}" / "a.csv").write_text(f"u,i\n{shop},i1\n")
        pq.write_table(pa.table({"u": [shop], "i": ["i2"]}), tmp_path / f"shop={shop}" / "a.parquet")
    for kind in ("csv", "parquet"):
        columns = {"user": "u", "item": "i", "segment": "shop"}
        source = Source.model_validate({"path": str(tmp_path / "*" / f"*.{kind}"), "columns": columns})
        found, _ = read_twice(source, tmp_path / kind, "user_id, segment", "behaviour")
        assert found == [("east", "east"), ("w%20est", "w est")]


OURS = ["segment", "weight", "text", "label", "timestamp", "row_id", "embedding", "user_id", "item_id", "id", "__row",
        "__reason", "__malformed", "__line", "Label", "field:label", "field:field:label", "=x", "plain"]  # fmt: skip


def test_fields_may_have_any_name(tmp_path):
    fields = [name for name in OURS if name != "Label"]
    rows = [{"u": f"u{i % 9}", "i": f"i{i % 7}", "y": i % 2} | {f: f"{f} {i % 3}" for f in fields} for i in range(300)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = {"user": "u", "item": "i", "label": "y", "fields": fields}
    source = Source.model_validate({"path": str(tmp_path / "a.parquet"), "columns": columns})
    Ledger(tmp_path / "ledger", "x", source).take_in(date(2024, 1, 6), 2, False)
    night = Ledger(tmp_path / "ledger", "x", source).source(date.min, date.max)
    tables = []
    for name, each in (("run", source), ("night", night)):
        tables.append(pq.read_table(prepare("x", each, "fields", tmp_path / name, 1).train).sort_by("row_id"))
    assert tables[0].equals(tables[1])
    for name in fields:
        assert set(tables[0][field_column(name)].to_pylist()) == {f"{name} {i}" for i in range(3)}


def test_columns_of_fields_are_told_apart_and_published_under_their_own_names():
    columns = [field_column(name) for name in OURS]
    assert len(set(columns)) == len(OURS)
    assert not {"segment", "label", "user_id", "__row"} & set(columns)
    assert published(["user_id", "field:user_id", "field:label", "price"]) == [
        "user_id",
        "field:user_id",
        "label",
        "price",
    ]
    assert published(["field:field:label", "field:label"]) == ["field:field:label", "label"]


def test_columns_that_differ_in_case_alone_are_what_they_are_called(tmp_path):
    for kind in ("csv", "parquet", "jsonl"):
        path = tmp_path / f"a.{kind}"
        table = pa.table([["x1"], ["u1"], ["i1"]], names=["U", "u", "i"])
        if kind == "parquet":
            pq.write_table(table, path)
        else:
            path.write_text({"csv": "U,u,i\nx1,u1,i1\n", "jsonl": '{"U": "x1", "u": "u1", "i": "i1"}\n'}[kind])
        source = Source.model_validate({"path": str(path), "columns": {"user": "u", "item": "i"}})
        assert read_twice(source, tmp_path / kind, "user_id", "behaviour") == ([("u1",)], [])


def clicks(path, values, column="n", **options):
    """Values of a number, one a row, and what was read of them, with each row's reason."""
    path.write_text(
        "u;t;y;n\n" + "".join(f"u{i};{1704450000 + i};1;{value}\n" for i, value in enumerate(values)), "utf-8"
    )
    columns = {"user": "u", "timestamp": "t", "label": "y", "numbers": ["n"]}
    source = Source.model_validate({"path": str(path), "columns": columns, "max_bad_share": 1, **options})
    return read_twice(source, path.parent, f"timestamp, {column}, __reason", "fields")[0]


def test_numbers_that_are_missing_or_none(tmp_path):
    values = ["1.5", "", "NaN", "nan", "-", "\\N", "NA", "many", "6,25", "true", "1e3", "inf"]
    found = clicks(tmp_path / "a.csv", values, null=["-", "\\N", "NA"])
    bad = "n not a number"
    assert [row[2] for row in found] == [None] * 7 + [bad, bad, None, None, bad]
    assert [row[1] for row in found][:11] == [1.5, *[None] * 8, 1, 1000]


def test_a_decimal_comma(tmp_path):
    values = ["6,25", "1.234,5", "1.234", "1234", "-0,5", "1.5", "12.34,5"]
    found = clicks(tmp_path / "a.csv", values, decimal=",")
    assert [row[1] for row in found] == [6.25, 1234.5, 1234, 1234, -0.5, None, None]
    assert [row[2] for row in found[-2:]] == ["n not a number"] * 2


def test_a_text_that_comes_late_in_a_column_of_numbers_is_a_bad_row(tmp_path):
    values = [*map(str, range(21_000)), "soon", "7"]
    found = clicks(tmp_path / "a.csv", values)
    assert [row[2] for row in found if row[2]] == ["n not a number"]
    assert len(found) == 21_002


@pytest.mark.parametrize(
    ("times", "formats"),
    [
        ("{:02}.01.2024", ["%d.%m.%Y"]),
        ("{:02}.01.2024 10:20", ["%d.%m.%Y %H:%M"]),
        ("01/{:02}/2024", ["%m/%d/%Y"]),
        ("{:02}/01/2024 10:20:30", ["%d/%m/%Y %H:%M:%S"]),
        ("0{}/02/2024", ["%d/%m/%Y", "%m/%d/%Y"]),
    ],
)
def test_times_of_another_order_are_refused_with_the_format_that_reads_them(tmp_path, times, formats):
    count = 9 if len(formats) > 1 else 28
    table = pa.table({"u": [f"u{i % 5}" for i in range(280)], "i": [f"i{i % 7}" for i in range(280)],
                      "t": [times.format(i % count + 1) for i in range(280)]})  # fmt: skip
    expected = " or ".join(f'timestamp_format = "{form}"' for form in formats)
    with pytest.raises(BadInput, match=f"timestamp unreadable.*are read with {expected}$"):
        prepared(tmp_path, table)
    options = {"timestamp_format": formats[0], "split": {}, "max_bad_share": 0.9}
    splits, read = prepared(tmp_path, table, **options)
    assert "timestamp unreadable" not in splits.quarantined
    assert 1_704_067_200_000_000 <= min(read["train"]["timestamp"].to_pylist()) < 1_730_000_000_000_000


@pytest.mark.parametrize("form", [None, "%d.%m.%Y %H:%M"])
def test_a_format_of_times_is_for_text_and_leaves_moments_alone(tmp_path, form):
    moments = pa.array([START + i for i in range(100)], pa.timestamp("s"))
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32()):
        table = pa.table({"u": [f"u{i % 5}" for i in range(100)], "i": ["i"] * 100, "t": moments.cast(kind)})
        splits, read = prepared(tmp_path, table, timestamp_format=form, split={})
        assert "timestamp unreadable" not in splits.quarantined
        assert min(read["train"]["timestamp"].to_pylist()) >= (START - 86_400) * 1_000_000


def test_compact_times_that_json_has_as_floats(tmp_path):
    lines = [{"u": f"u{i % 5}", "i": "i", "t": 19971113182100.0 + i % 60} for i in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    splits, read = prepared(tmp_path, tmp_path / "a.jsonl", split={})
    assert not splits.quarantined.keys() & {"timestamp unreadable", "timestamp impossible"}
    assert 879_445_260_000_000 <= min(read["train"]["timestamp"].to_pylist()) < 879_445_320_000_000


def test_a_decimals_scale_is_not_in_its_name(tmp_path):
    values = [Decimal("102.25"), Decimal("100"), Decimal("0.50"), None] * 25
    rows = {"c": pa.array(values, pa.decimal128(18, 9)), "y": [i % 2 for i in range(100)]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    read = Source.model_validate({"path": str(tmp_path / "a.parquet"), "columns": {"label": "y", "fields": ["c"]}})
    column = field_column("c")
    assert {row[0] for row in read_twice(read, tmp_path, column, "fields")[0]} == {"102.25", "100", "0.5", None}


def test_binary_that_is_no_text_is_refused(tmp_path):
    table = pa.table({"u": pa.array([b"\xff\xfe", b"a"], pa.binary()), "i": ["i", "i"], "t": [1704450000] * 2})
    with pytest.raises(BadInput, match="bytes of column 'u' are not text"):
        prepared(tmp_path, table)


def test_another_option_reads_everything_anew(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("u,i\nNA,1\n")
    source = Source.model_validate({"path": str(path), "columns": {"user": "u", "item": "i"}})
    assert Ledger(tmp_path / "ledger", "x", source).take_in(date(2024, 1, 6), 2, False).rows == 1
    for change in ({"null": ["NA"]}, {"quote": ""}, {"encoding": "latin-1"}, {"timestamp_format": "%d.%m.%Y"}):
        other = Ledger(tmp_path / "ledger", "x", source.model_copy(update=change))
        assert other.take_in(date(2024, 1, 6), 2, False).rows == 1
    assert other.take_in(date(2024, 1, 6), 2, False).rows == 0
    assert os.listdir(tmp_path / "ledger")


def test_nights_publish_fields_under_their_own_names(tmp_path, impressions, accepted):
    names = {"gender": "label", "genre": "user_id", "label": "clicked", "user_id": "who"}
    renamed = impressions.select(["gender", "genre", "label", "user_id", "item_id", "timestamp"])
    renamed = renamed.rename_columns([names.get(name, name) for name in renamed.column_names])
    for number in range(3):
        write(tmp_path / "raw", renamed, number)
    changes = {
        '"gender", "genre"': '"label", "user_id"',
        'user = "user_id"': 'user = "who"',
        'label = "label"': 'label = "clicked"',
    }
    recipe = nightly_recipe(tmp_path / "raw", tmp_path / "out", **changes)
    assert night(recipe, as_of=day(1), device="cpu")["status"] == "published"
    found = night(recipe, as_of=day(2), device="cpu")["tasks"]["ctr"]
    assert found["night"]["hardness_of_yesterdays_samples"] is not None  # tonight's model reads what was published
    decoded = open_mix(recipe.output, "ctr").to_table()["decoded"].combine_chunks()
    assert set(pa.Table.from_struct_array(decoded).column_names) == {"user_id", "item_id", "label", "field:user_id"}
