"""Nights that find poison or malformed lines: they are told of and kept apart, and the night goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nights import FIRST, day, nightly_recipe, rows_of
from ran import night
from sklearn.feature_extraction.text import HashingVectorizer

from augment.base.errors import BadInput
from augment.contracts.registry import modality_class
from augment.language.encoders import TextEncoder
from augment.recipes import loading
from augment.runs import version
from consumers import open_mix
from consumers.scoring import shilling

NIGHTLY = """
name = "nights"
seed = 3
output = "{folder}/out"
[sources.logs]
path = "{folder}/raw/*.parquet"
{source}
[tasks.{consumer}]
consumer = "{consumer}"
source = "logs"
{task}
generator = {{ anchors = 200, bank = 60, steps = 10, batch = 32, draws = 2 }}
[nightly]
window_days = 6
min_free_gb = 0.0
checks = {{ poison = {{ limit = 0.5, severity = "error" }}, alarms = {{ limit = 9 }} }}
"""
BEHAVIOUR = (
    """columns = { user = "user_id", item = "item_id", timestamp = "timestamp", label = "rating" }
keep = 4
split = { by = "user_time", core = 3 }""",
    """samples = 200
strategies = { gan = 1.0 }
gates = { band = [-9, 9], min_plausibility = 0.0, min_label_agreement = 0.0 }
verdict = { seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["coverage"], tolerance = 1.0 }""",
)
REVIEWS = (
    """columns = { id = "review_id", text = "text", timestamp = "timestamp", label = "label" }
split = { valid = 0.2, test = 0.3 }""",
    """options = { C = 1.0, variants = 2, held_out = 1, attacked_rows = 20 }
samples = 60
strategies = { noise = 1.0 }
gates = { band = [-9, 9], min_plausibility = 0.0, min_label_agreement = 0.0 }
verdict = { seeds = 1, draws = 100, clean = ["auc"], improve = ["auc_pool"], tolerance = 1.0 }""",
)


@pytest.fixture(autouse=True)
def _accepted(monkeypatch):
    judge = version.judge
    monkeypatch.setattr(version, "judge", lambda *given: replace(judge(*given), accepted=True))


@pytest.fixture
def hashed(monkeypatch):
    """An encoder that needs no model."""
    hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 3), n_features=64)
    encoder = TextEncoder("hashed@1", 64, lambda texts: hashing.transform(texts).toarray(), None)
    monkeypatch.setattr("augment.contracts.modality.text_encoder", lambda *_: encoder)


def shop(folder: Path, consumer, settings, rows):
    """The rows as a file of the second day, and the recipe of its night."""
    (folder / "raw").mkdir(parents=True)
    pq.write_table(rows, folder / "raw" / "logs.parquet")
    source, task = settings
    return loading.parse(NIGHTLY.format(folder=folder, consumer=consumer, source=source, task=task), "nights.toml")


def timed(rows):
    """The rows, through the first and second day."""
    start = np.datetime64(FIRST).astype("datetime64[s]").astype(np.int64)
    times = pa.array(start + np.linspace(0, 2 * 86_400 - 1, len(rows)).astype(np.int64))
    others = [name for name in rows.column_names if name != "timestamp"]
    return rows.select(others).append_column("timestamp", times)


def check(found, name, kind, folder, least):
    """The night went on, and tells of the poison in its result, its report and the quarantine."""
    task = found["tasks"][name]
    assert found["status"] == "published"
    poisoned = task["night"]["poisoned"]
    assert task["quarantine"][kind] == poisoned >= least
    figures = task["night"]["figures"]
    total = sum(task["real_rows"].values()) + task["quarantined"]
    assert figures["poison"] == pytest.approx(poisoned / total)
    assert figures["bad_rows"] == pytest.approx((task["quarantined"] - poisoned) / total)
    (kept,) = (folder / "out" / name / "_sparring" / "quarantine").glob("*.parquet")
    reasons = [reason for reason in pq.read_table(kept)["reason"].to_pylist() if reason.startswith(f"{kind}: ")]
    assert len(reasons) == poisoned
    assert f"{kind} {poisoned:,}" in Path(found["report"]).read_text()


def test_fake_users_in_behaviour_are_no_anchors(demo_folder, tmp_path, monkeypatch):
    rows = (
        pq.read_table(demo_folder / "behaviour.parquet").sort_by("timestamp").select(["user_id", "item_id", "rating"])
    )
    rows = rows.filter(pc.greater_equal(rows["rating"], 4))
    rows = rows.filter(pc.is_in(rows["user_id"], pc.unique(rows["user_id"])[:150]))
    rows = rows.cast(pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("rating", pa.int64())]))
    frame = rows.to_pandas()
    latest = (frame.groupby("user_id").cumcount() + 0.5) / frame.groupby("user_id")["item_id"].transform("size") >= 0.8
    monkeypatch.setattr(shilling, "FAKE_SHARE", 0.1)
    fakes = shilling.fake_users(pa.Table.from_pandas(frame[latest], preserve_index=False), 7)
    fakes = fakes.append_column("rating", pa.array([5] * len(fakes))).select(rows.column_names)
    order = np.random.default_rng(0).permutation(len(rows) + len(fakes))
    rows = timed(pa.concat_tables([rows, fakes]).take(order))
    found = night(shop(tmp_path, "recommender", BEHAVIOUR, rows), as_of=day(1), device="cpu")
    check(found, "recommender", "fake user", tmp_path, 0.5 * len(fakes))


def test_a_flood_of_reviews_is_kept_apart(demo_folder, tmp_path, hashed):
    honest = pq.read_table(demo_folder / "reviews.parquet").slice(0, 500)
    copies = [
        f"Total scam, the dress fell apart after one wash and they never paid me back {'!' * i}" for i in range(40)
    ]
    spam = pa.table({"review_id": [f"spam{i}" for i in range(40)], "text": copies, "label": [0] * 40})
    rows = timed(pa.concat_tables([honest.select(spam.column_names).cast(spam.schema), spam]))
    found = night(shop(tmp_path, "sentiment", REVIEWS, rows), as_of=day(1), device="cpu")
    check(found, "sentiment", "review flood", tmp_path, 40)
    texts = open_mix(tmp_path / "out", "sentiment").to_pandas()["decoded"].map(lambda row: row["text"])
    assert not texts.str.contains("Total scam").any()


def test_one_user_who_clicks_one_item_over_and_over_is_kept_apart(demo_folder, tmp_path):
    rows = rows_of(pq.read_table(demo_folder / "impressions.parquet"), 1, 900)
    clicks = rows.filter(pc.equal(rows["label"], 1)).take([0] * 30)
    place = clicks.column_names.index("timestamp")
    seconds = pc.add(clicks["timestamp"], pa.array(range(0, 300, 10)))
    clicks = clicks.set_column(place, "timestamp", seconds.cast(rows.schema.field(place).type))
    (tmp_path / "raw").mkdir()
    pq.write_table(pa.concat_tables([rows, clicks]), tmp_path / "raw" / "rows.parquet")
    loose = 'min_free_gb = 0.0\nchecks = { poison = { limit = 0.5, severity = "error" } }'
    settings = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{"min_free_gb = 0.0": loose})
    found = night(settings, as_of=day(1), device="cpu")
    check(found, "ctr", "click flood", tmp_path, 30)


def test_a_night_of_nothing_but_poison_says_where_it_is_kept(demo_folder, tmp_path, hashed, monkeypatch):
    reviews = pq.read_table(demo_folder / "reviews.parquet").slice(0, 60).select(["review_id", "text", "label"])
    text = modality_class("text")
    monkeypatch.setattr(text, "bought", lambda rows, _: dict.fromkeys(range(len(rows)), "review flood: all"))
    found = night(shop(tmp_path, "sentiment", REVIEWS, timed(reviews)), as_of=day(1), device="cpu")
    assert found["status"] == "rejected"
    said = found["tasks"]["sentiment"]["reason"]
    (kept,) = (tmp_path / "out" / "sentiment" / "_sparring" / "quarantine").glob("*.parquet")
    assert f"every row of the train split looks bought; see {kept}" in said
    assert len(pq.read_table(kept)) == 60


def test_malformed_lines_are_bad_rows_of_a_night(demo_folder, tmp_path):
    rows = rows_of(pq.read_table(demo_folder / "impressions.parquet"), 1, 900)
    rows = rows.select(["user_id", "item_id", "timestamp", "label", "gender", "genre"])
    lines = [",".join(f'"{value}"' for value in row.values()) for row in rows.to_pylist()]
    settings = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{"*.parquet": "*.csv"})
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "rows.csv"

    path.write_text("\n".join([",".join(rows.column_names), *lines, *["x,y"] * 30]))
    found = night(settings, as_of=day(1), device="cpu")
    task = found["tasks"]["ctr"]
    assert (found["status"], found["sources"]["impressions"]["malformed"]) == ("published", 30)
    assert task["quarantine"] == {"malformed line": 30}
    assert task["night"]["figures"]["bad_rows"] == pytest.approx(30 / 930)
    assert [check["name"] for check in task["night"]["checks"]] == ["bad_rows"]

    path.write_text("\n".join([",".join(rows.column_names), *lines, *["x,y"] * 100]))
    with pytest.raises(BadInput, match=r"100 of 1,000 rows are bad.*malformed line \(100\).*; see ") as raised:
        night(settings, as_of=day(1), device="cpu")
    kept = str(raised.value).rpartition("; see ")[2]
    assert Path(kept).is_relative_to(tmp_path / "out" / "ctr" / "_sparring" / "quarantine")
    assert set(pq.read_table(kept)["row"].to_pylist()) == {"x,y"}
