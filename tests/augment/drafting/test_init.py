"""The first recipe: what is guessed of files, what is asked for instead, and that it can be read."""

import json

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.base.errors import BadInput, UsageError
from augment.contracts.registry import consumer_class
from augment.drafting.draft import write_recipe
from augment.drafting.guess import Choices
from augment.recipes import loading
from augment.sources.prepare import prepare

ROWS = 240


def written(tmp_path, name, table, **choices):
    path = tmp_path / name
    if isinstance(table, bytes):
        path.write_bytes(table)
    else:
        pc.write_csv(table, path) if name.endswith("csv") else pq.write_table(table, path)
    text = write_recipe([path], Choices(**choices))
    return loading.parse(text, "written"), text


def read(made, folder):
    """Every source of a recipe, as a run reads it: rows by source."""
    counts = {}
    for name, task in made.tasks.items():
        splits = prepare(
            task.source, made.sources[task.source], consumer_class(task.consumer).modality, folder / name, 0
        )
        counts[name] = splits.counts
    return counts


def clicks(rows=ROWS, **extra):
    columns = {"user_id": [f"u{i % 9}" for i in range(rows)], "click": [i % 2 for i in range(rows)]}
    return pa.table({**columns, **extra})


def lines(*rows, head):
    return "\n".join([head, *rows]).encode()


# -- what is guessed -----------------------------------------------------------------------------------


def test_demo_files_get_the_task_they_are_for(demo_folder):
    paths = [demo_folder / f"{name}.parquet" for name in ("behaviour", "impressions", "reviews")]
    made = loading.parse(write_recipe(paths), "written")
    assert {name: task.consumer for name, task in made.tasks.items()} == {
        "behaviour": "recommender",
        "impressions": "ctr",
        "reviews": "sentiment",
    }
    impressions = made.sources["impressions"]
    assert impressions.columns.user == "user_id"
    assert {"gender", "occupation", "genre"} <= set(impressions.columns.fields)
    assert impressions.columns.mutable == ["hour", "weekday"]
    assert impressions.split.by == "time"
    assert made.sources["behaviour"].split.by == "user_time"


def test_star_ratings_become_a_threshold_and_odd_names_are_found(tmp_path):
    table = pa.table(
        {"Review Text": [f"good {i}" for i in range(80)], "Stars": [5, 1] * 40, "Category": ["a", "b"] * 40}
    )
    made, text = written(tmp_path, "My Reviews.csv", table)
    source = made.sources["my-reviews"]
    assert source.columns.text == "Review Text"
    assert source.positive == 5
    assert source.columns.segment == "Category"
    assert "# Looks like sentiment data" in text
    stars = pa.table({"body": [f"text {i}" for i in range(80)], "stars": [1, 2, 4, 5] * 20})
    assert written(tmp_path, "more.parquet", stars)[0].sources["more"].positive == 4


def test_two_files_of_one_name_get_two_tasks(tmp_path):
    table = pa.table({"user_id": [f"u{i % 4}" for i in range(60)], "item_id": [f"i{i // 4}" for i in range(60)]})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        pq.write_table(table, tmp_path / folder / "logs.parquet")
    made = loading.parse(write_recipe([tmp_path / f / "logs.parquet" for f in ("one", "two")]), "written")
    assert set(made.tasks) == {"logs", "logs-2"}


def test_numbers_of_a_csv_file_are_told_from_codes_and_ids(tmp_path):
    extra = {
        "price": [i / 7 for i in range(ROWS)],
        "postcode": [f"{i % 60:05d}" for i in range(ROWS)],
        "shop_id": [i % 60 for i in range(ROWS)],
        "url_hash": [i % 60 * 977 for i in range(ROWS)],
        "device": [f"d{i % 3}" for i in range(ROWS)],
        "constant": ["same"] * ROWS,
    }
    columns = written(tmp_path, "shop.csv", clicks(**extra))[0].sources["shop"].columns
    assert columns.numbers == ["price"]
    assert columns.fields == ["postcode", "shop_id", "url_hash", "device"]
    assert columns.mutable == ["device", "price"]


def test_names_like_ours_or_like_toml_are_fields_as_any_other(tmp_path):
    odd = 'odd"\n[tasks.x]'
    extra = {
        name: ["a", "b", "c"] * (ROWS // 3) for name in ("weight", "row_id", "embedding", "__row", "user_id2", odd)
    }
    made, _ = written(tmp_path, "_clicks.parquet", clicks(**extra))
    assert made.sources["clicks"].columns.fields == list(extra)
    assert set(made.tasks) == {"clicks"}
    read(made, tmp_path)


@pytest.mark.parametrize("name", ["clicks [2024]*.csv", "a?b.csv", 'it\'s "50%" #1.csv', "клики.csv"])
def test_files_of_any_name_are_read_again(tmp_path, name):
    made, _ = written(tmp_path, name, clicks(device=["a", "b", "c"] * (ROWS // 3)))
    (source,) = made.sources.values()
    assert source.path == str(tmp_path / name)
    (counts,) = read(made, tmp_path / "work").values()
    assert sum(counts.values()) == ROWS


def test_chinese_reviews_get_their_encoder_and_homophones(tmp_path, monkeypatch):
    table = pa.table(
        {"评论": [f"这件衣服质量{'很好' if i % 2 else '太差'}，第{i}次买" for i in range(80)], "评分": [5, 1] * 40}
    )
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    made, text = written(tmp_path, "zh.csv", table)
    (task,) = made.tasks.values()
    assert (task.encoder, list(task.strategies)) == ("usem3+ngrams", ["gan", "noise"])
    assert "sparring data homophones" in text  # not fetched here: what is written runs
    (tmp_path / "homophones.parquet").touch()
    (task,) = written(tmp_path, "zh.csv", table)[0].tasks.values()
    assert list(task.strategies) == ["gan", "homophones"]


# -- what files are like -------------------------------------------------------------------------------

DATES = {"de": "%d.%m.%Y %H:%M", "us": "%m/%d/%Y", "uk": "%d/%m/%Y, %H:%M"}


def dated(form, rows=ROWS):
    from datetime import datetime, timedelta

    start = datetime(2025, 3, 1, 9)
    return [f"u{i % 9};{i % 7};{(start + timedelta(hours=5 * i)).strftime(form)};{i % 2}" for i in range(rows)]


@pytest.mark.parametrize("form", DATES.values(), ids=DATES)
def test_dates_of_any_order(tmp_path, form):
    made, _ = written(tmp_path, "a.csv", lines(*dated(form), head="user_id;slot;date;click"))
    source = made.sources["a"]
    assert (source.timestamp_format, source.split.by) == (form, "time")
    read(made, tmp_path / "work")


def test_dates_that_fit_two_orders_are_said_to(tmp_path):
    days = [f"u{i % 9},{i % 7},{1 + i % 12:02d}/{1 + i // 12 % 12:02d}/2025,{i % 2}" for i in range(ROWS)]
    _, text = written(tmp_path, "a.csv", lines(*days, head="user,slot,date,click"))
    assert 'timestamp_format = "%d/%m/%Y"  # or %m/%d/%Y: these rows do not tell' in text


NEEDED = {
    "decimal comma": ("user;price;click", lambda i: f"u{i % 9};{i % 7},{i % 90};{i % 2}", "utf-8", {"decimal": ","}),
    "N/A": ("user,price,click", lambda i: f"u{i % 9},{i / 7 if i % 5 else 'N/A'},{i % 2}", "utf-8", {"null": ["N/A"]}),
    "N": ("user|slot|click", lambda i: f"u{i % 9}|{i % 7}|{i % 2}" if i % 5 else f"u1|\\N|{i % 2}", "utf-8",
          {"null": ["\\N"]}),
    "colons": ("user::slot::click", lambda i: f"u{i % 9}::{i % 7}::{i % 2}", "utf-8", {"delimiter": "::"}),
    "cyrillic": ("user,товар,click", lambda i: f"u{i % 9},{'ёлка' if i % 3 else 'шар'},{i % 2}", "windows-1251",
                 {"encoding": "windows-1251"}),
    "utf-16": ("user,slot,click", lambda i: f"u{i % 9},{i % 7},{i % 2}", "utf-16", {"encoding": "utf-16"}),
    "signs": ("user,slot,click", lambda i: f"u{i % 9},{i % 7},{i % 2 * 2 - 1}", "utf-8", {"positive": 1}),
    "inches": ("user,size,click", lambda i: f'u{i % 9},5" {i % 7},{i % 2}', "utf-8", {}),
    "open quotes": ("user,size,click", lambda i: f'u{i % 9},"{i % 7},{i % 2}', "utf-8", {"quote": ""}),
    "anonymous": ("user,slot,click", lambda i: f"{'u' * (i % 4)},{i % 7},{i % 2}", "utf-8", {}),
    "unlabelled": ("user,slot,click", lambda i: f"u{i % 9},{i % 7},{i % 2 if i % 6 else ''}", "utf-8",
                   {"unlabelled": 0}),
    "days": ("user,slot,date,click", lambda i: f"u1,{i % 200},2025-03-{1 + i // 200:02d},{i % 2}", "utf-8",
             {"max_per_minute": 1_000_000}),
}  # fmt: skip


@pytest.mark.parametrize("case", NEEDED)
def test_options_that_the_rows_need_are_written_and_enough(tmp_path, case):
    head, row, encoding, wanted = NEEDED[case]
    made, text = written(tmp_path, "a.csv", lines(*map(row, range(1200)), head=head).decode().encode(encoding))
    (source,) = made.sources.values()
    assert {option: getattr(source, option) for option in wanted} == wanted, text
    (counts,) = read(made, tmp_path / "work").values()
    assert sum(counts.values()) >= 950


@pytest.mark.parametrize(
    ("words", "positive"),
    [
        (["positive", "negative"], ["positive"]),
        (["Good", "bad", "neutral"], ["Good"]),
        (["好评", "差评"], ["好评"]),
        (["yes", "no"], None),
        ([-0.8, 0.4, 0.9, -0.1], 0),
        ([1, 0, -1], 1),
    ],
)
def test_labels_in_words_and_polarities(tmp_path, words, positive):
    table = pa.table({"text": [f"review number {i}" for i in range(120)], "sentiment": (words * 120)[:120]})
    made, _ = written(tmp_path, "r.parquet", table)
    source = made.sources["r"]
    assert source.positive == positive
    splits = prepare("r", source, "text", tmp_path / "work", 0)
    rows = pa.concat_tables(map(pq.read_table, (splits.train, splits.valid, splits.test)))
    good = {"positive", "good", "好评", "yes"} if isinstance(words[0], str) else {w for w in words if w >= positive}
    told = dict(zip(table["text"].to_pylist(), table["sentiment"].to_pylist(), strict=True))
    for text, label in zip(rows["text"].to_pylist(), rows["label"].to_pylist(), strict=True):
        word = told[text]
        assert label == ((word.lower() if isinstance(word, str) else word) in good)


@pytest.mark.parametrize(
    ("values", "positive", "odd"),
    [([0, 1], None, "pending"), ([0, 0, 0, 1], None, "7.5"), ([1, 0], None, "-1"), ([1, 5, 4], 4, "pending")],
)
def test_a_few_odd_labels_are_bad_rows_and_no_other_kind_of_label(tmp_path, values, positive, odd):
    label = [str(value) for value in (values * ROWS)[:ROWS]]
    label[-2:] = [odd, odd]
    table = pa.table({"label": label, "text": [f"review number {i}" for i in range(ROWS)]})
    made, _ = written(tmp_path, "a.csv", table)
    assert made.sources["a"].positive == positive
    splits = prepare("a", made.sources["a"], "text", tmp_path / "work", 0)
    assert sum(splits.quarantined.values()) == 2
    assert sum(splits.counts.values()) == ROWS - 2


def test_of_a_large_file_the_rows_that_were_looked_at_are_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("augment.drafting.trial.WHOLE", 100)
    content = lines(*(f"u{i % 9};{i % 7},{i % 90};01.{1 + i // 30:02d}.2025;{i % 2}" for i in range(ROWS)),
                    head="user;price;date;click")  # fmt: skip
    made, _ = written(tmp_path, "a.csv", content.decode().encode("utf-16"))
    source = made.sources["a"]
    assert (source.encoding, source.decimal, source.timestamp_format) == ("utf-16", ",", "%d.%m.%Y")
    read(made, tmp_path / "work")


def test_a_late_change_of_a_column_is_seen(tmp_path):
    """After row 20,480, which readers that look at the first rows do not see."""
    price = [f"{i / 7:.2f}" if i < 40_000 else "on request" for i in range(45_000)]
    table = pa.table(
        {"user": [f"u{i % 900}" for i in range(45_000)], "price": price, "click": [i % 2 for i in range(45_000)]}
    )
    made, _ = written(tmp_path, "a.csv", table)
    assert made.sources["a"].columns.numbers == []
    read(made, tmp_path / "work")


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_columns_without_a_name_are_left_out(tmp_path, end):
    """The index that pandas writes, and what is behind a delimiter at the end of each line."""
    content = end.join([",user,slot,click,", *(f"{i},u{i % 9},{i % 7},{i % 2}," for i in range(ROWS))]).encode()
    made, _ = written(tmp_path, "a.csv", content)
    assert made.sources["a"].columns.fields == ["slot"]
    (counts,) = read(made, tmp_path / "work").values()
    assert sum(counts.values()) == ROWS


def test_numbers_of_which_a_few_are_none_are_numbers(tmp_path):
    price = [f"{i / 7:.2f}" for i in range(ROWS)]
    price[-1] = "price"  # as where files with headers were joined
    made, text = written(tmp_path, "a.csv", clicks(price=price))
    assert made.sources["a"].columns.numbers == ["price"]
    assert "rows whose 'price' is no number are bad" in text
    (counts,) = read(made, tmp_path / "work").values()
    assert sum(counts.values()) == ROWS - 1


# -- what is asked for ---------------------------------------------------------------------------------


def test_without_a_label_the_columns_of_0_and_1_are_named_and_can_be_chosen(tmp_path):
    visit, conversion = [i % 2 for i in range(ROWS)], [int(i % 5 == 0) for i in range(ROWS)]
    columns = {"recency": [i % 12 for i in range(ROWS)], "zip": ["a", "b", "c"] * (ROWS // 3)}
    table = pa.table({**columns, "visit": visit, "conversion": conversion})
    with pytest.raises(UsageError, match=r"of 0 and 1 are visit, conversion: say .* --label visit"):
        written(tmp_path, "mail.csv", table)
    made, _ = written(tmp_path, "mail.csv", table, label="conversion")
    source = made.sources["mail"]
    assert source.columns.label == "conversion"
    assert source.columns.fields == ["recency", "zip", "visit"]
    read(made, tmp_path / "work")


def test_every_role_and_the_task_can_be_chosen(tmp_path):
    table = pa.table({"Wer": [f"k{i % 8}" for i in range(ROWS)], "Ware": [f"a{i // 8}" for i in range(ROWS)],
                      "Wann": [1_700_000_000 + 900 * i for i in range(ROWS)], "Getan": [i % 2 for i in range(ROWS)],
                      "Notiz": [f"Notiz {i}" for i in range(ROWS)]})  # fmt: skip

    def columns(**choices):
        made, _ = written(tmp_path, "x.csv", table, **choices)
        read(made, tmp_path / "work" / str(choices))
        ((task,), (source,)) = made.tasks.values(), made.sources.values()
        return task.consumer, {k: v for k, v in source.columns.model_dump().items() if v and k != "mutable"}

    who = {"user": "Wer", "item": "ware"}
    both = {"user": "Wer", "item": "Ware"}
    assert columns(**who) == ("recommender", both)
    assert columns(**who, timestamp="Wann")[1] == {**both, "timestamp": "Wann"}
    assert columns(label="Getan", task="ctr", user="Wer")[0] == "ctr"
    assert columns(text="Notiz", label="Getan") == ("sentiment", {"text": "Notiz", "label": "Getan"})
    assert columns(text="Notiz", label="Getan", task="ctr", **who)[0] == "ctr"
    with pytest.raises(UsageError, match="--label getam: no such column; did you mean 'Getan'"):
        columns(label="getam")
    with pytest.raises(UsageError, match="--time Notiz: 'Notiz 0' is no time"):
        columns(**who, timestamp="Notiz")
    with pytest.raises(UsageError, match="--text and --label for sentiment"):
        columns(task="sentiment", user="Wer")


def test_one_malformed_line_is_not_why_a_file_is_refused(tmp_path):
    texts = [f'"{i % 2}","{"" if i % 5 else f"a shirt, number {i}"}"' for i in range(ROWS)]
    with pytest.raises(BadInput, match="text missing"):
        written(tmp_path, "a.csv", lines(*texts, '"1"', head='"label","text"'))


def test_files_without_a_header_are_asked_about(tmp_path):
    content = "\n".join(f"{i % 9}::{i // 9}::{i % 5 + 1}::{978_300_000 + i}" for i in range(ROWS)).encode()
    with pytest.raises(UsageError, match=r"no header; columns column1 \(0\), column2 \(0\), column3 \(1\)"):
        written(tmp_path, "ratings.dat", content)
    made, _ = written(tmp_path, "ratings.dat", content, user="column1", item="column2", timestamp="column4")
    (counts,) = read(made, tmp_path / "work").values()
    assert sum(counts.values()) == ROWS  # the first line is a row


def test_columns_named_by_place_say_that_there_is_no_header(tmp_path):
    """Where the first row is of words, nothing else does."""
    content = "\n".join(f"{'good' if i % 2 else 'bad'};it is the shirt number {i};tops" for i in range(ROWS)).encode()
    with pytest.raises(UsageError, match=r"columns bad, .* by place, as column2, if the first line is a row"):
        written(tmp_path, "reviews.csv", content)
    made, _ = written(tmp_path, "reviews.csv", content, label="column1", text="column2")
    (counts,) = read(made, tmp_path / "work").values()
    assert sum(counts.values()) == ROWS
    with pytest.raises(UsageError, match="--label column4: no such column"):
        written(tmp_path, "reviews.csv", content, label="column4", text="column2")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("fruit.csv", b"apples,pears\n1,2\n3,5\n", UsageError, "columns apples, pears fit no task"),
        ("x.parquet", b"nothing", BadInput, "x.parquet: cannot be read"),
        ("x.xlsx", b"nothing", BadInput, r"format '\.xlsx'"),
        ("x.csv", b"", BadInput, "x.csv is empty"),
        ("x.csv", b"user,click\n", BadInput, "x.csv has no rows"),
        ("x.csv", lines(*["1,u,0"] * 50, head="user,click"), BadInput, r"as many values .* \(user, click\)"),
        ("x.jsonl", b"user,click\nu,1\n", BadInput, "holds no columns; it should be JSON lines"),
        ("x.csv", lines(*["u,0"] * 50, head="user,click"), BadInput, "nothing to learn from label 'click'"),
        ("x.csv", lines(*["1", "0"] * 50, head="click"), BadInput, "nothing to learn from beside the label"),
        ("x.csv", lines("u,a,1", "v,b,0", head="user,slot,click"), BadInput, r"x\.csv: .*(no rows left|one side)"),
        ("x.csv", lines(*(f"t{i},{'meh' if i % 2 else 'fine'}" for i in range(50)), head="text,label"), BadInput,
         "words such as positive"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_line_and_no_recipe(tmp_path, name, content, error, message):
    with pytest.raises(error, match=message) as told:
        written(tmp_path, name, content)
    assert "\n" not in str(told.value)


# -- whatever init writes is read ----------------------------------------------------------------------

CELLS = {
    "number": st.integers(-3, 300),
    "price": st.floats(0, 99, allow_nan=False).map(lambda x: f"{x:.2f}"),
    "comma": st.floats(0, 99, allow_nan=False).map(lambda x: f"{x:.2f}".replace(".", ",")),
    "word": st.sampled_from(["red", "Blue", "", "N/A", "\\N", "-", 'a "b"', "a,b", "x;y", "naïve", "红色", "null"]),
    "click": st.sampled_from([0, 1]),
    "sign": st.sampled_from([-1, 1]),
    "stars": st.integers(1, 5),
    "yes": st.sampled_from(["yes", "no", "Yes"]),
    "mood": st.sampled_from(["positive", "negative", "neutral"]),
    "date": st.dates().map(str),
    "german": st.dates().map(lambda d: d.strftime("%d.%m.%Y")),
    "epoch": st.integers(1_600_000_000, 1_700_000_000),
    "prose": st.text(max_size=30),
}
HEADS = [
    "user_id",
    "item_id",
    "click",
    "label",
    "text",
    "date",
    "timestamp",
    "rating",
    "segment",
    "price",
    "weight",
    "x",
]


@st.composite
def tables(draw):
    names = draw(st.lists(st.sampled_from(HEADS), min_size=1, max_size=6, unique=True))
    kinds = [draw(st.sampled_from(sorted(CELLS))) for _ in names]
    rows = draw(st.integers(0, 60))
    distinct = draw(st.integers(1, 40))
    pools = [draw(st.lists(CELLS[kind], min_size=distinct, max_size=distinct)) for kind in kinds]
    step = draw(st.integers(1, 7))
    return {
        name: [pool[(i * step + i // 5) % distinct] for i in range(rows)]
        for name, pool in zip(names, pools, strict=True)
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), kind=st.sampled_from(["csv", "parquet", "jsonl"]))
def test_whatever_is_written_is_read(tmp_path_factory, table, kind):
    folder = tmp_path_factory.mktemp("case")
    path = folder / f"t.{kind}"
    texts = {name: [None if value == "" else str(value) for value in values] for name, values in table.items()}
    if kind == "parquet":
        pq.write_table(pa.table({name: pa.array(v, pa.string()) for name, v in texts.items()}), path)
    elif kind == "csv":
        pc.write_csv(pa.table({name: pa.array(v, pa.string()) for name, v in texts.items()}), path)
    else:
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    try:
        text = write_recipe([path])
    except (UsageError, BadInput):
        return
    read(loading.parse(text, "written"), folder / "work")
