"""Fits that later nights use again: of recommenders whose shop changes, of reviews, and of nights that were killed."""

from datetime import datetime, timezone
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nights import day
from ran import night
from sklearn.feature_extraction.text import HashingVectorizer

from augment.base import files
from augment.gates.rankings import RankingValidity
from augment.language.encoders import TextEncoder
from augment.modalities.behaviour import Behaviour
from augment.modalities.text import Text
from augment.nights import fits
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.runs.steps import Steps
from augment.strategies.gan import GENERATOR
from consumers import open_mix
from gan import trainer

RECIPE = """
name = "fits"
seed = 3
output = "{folder}/out"
[sources.rows]
path = "{folder}/raw/*.parquet"
{source}
[tasks.task]
{task}
source = "rows"
strategies = {{ gan = 1.0 }}
gates = {{ band = [-9, 9], min_plausibility = 0.0, min_label_agreement = 0.0 }}
generator = {{ anchors = 120, bank = 40, steps = 10, batch = 16, draws = 2 }}
[nightly]
window_days = 6
min_free_gb = 0.0
refit_drift = 9.0
{nightly}
checks = {{ drift = {{ limit = 9, severity = "off" }}, alarms = {{ limit = 9, severity = "off" }} }}
"""
BEHAVIOUR = """
columns = { user = "user_id", item = "item_id", timestamp = "timestamp", label = "rating" }
keep = 4
split = { by = "user_time", core = 3 }
"""
RECOMMENDER = """
consumer = "recommender"
samples = 80
verdict = { seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["coverage"], tolerance = 1.0 }
"""
REVIEWS = """
columns = { id = "review_id", text = "text", label = "label", timestamp = "at" }
split = { by = "random", valid = 0.2, test = 0.2 }
"""
SENTIMENT = """
consumer = "sentiment"
samples = 60
verdict = { seeds = 1, draws = 100, clean = ["auc"], improve = ["auc"], tolerance = 1.0 }
"""


pytestmark = pytest.mark.usefixtures("accepted")


def written(folder, number, rows, column):
    """A day's file; the times are moved into the day."""
    (folder / "raw").mkdir(exist_ok=True)
    start = datetime(*day(number).timetuple()[:3], tzinfo=timezone.utc).timestamp()
    times = pa.array((start + np.linspace(0, 86_000, len(rows))).astype(np.int64))
    dated = rows.drop_columns([column]) if column in rows.column_names else rows
    pq.write_table(dated.append_column(column, times), folder / "raw" / f"{day(number)}.parquet")


def parsed(folder, source, task, nightly=""):
    return loading.parse(RECIPE.format(folder=folder, source=source, task=task, nightly=nightly), "fits.toml")


def test_a_fit_serves_nights_with_new_users_and_items(demo_folder, tmp_path):
    rows = pq.read_table(demo_folder / "behaviour.parquet").sort_by("timestamp").slice(0, 12_000)
    for number in range(3):
        written(tmp_path, number, rows.slice(number * 3000, 3000), "timestamp")
    shop = parsed(tmp_path, BEHAVIOUR, RECOMMENDER)
    night(shop, as_of=day(2), device="cpu")
    written(tmp_path, 3, rows.slice(9000, 3000), "timestamp")
    about = night(shop, as_of=day(3), device="cpu")["tasks"]["task"]["night"]
    assert (about["refit"], about["why"]) == (False, f"that of {day(2)}")
    samples = open_mix(shop.output, "task").to_table()
    assert {str(day(2)), str(day(3))} == set(samples["day"].to_pylist())
    assert Dataset(tmp_path / "out" / "task").verify() == []


def test_items_that_a_victim_never_saw_are_no_anchors():
    train = pa.table({"user_id": ["u"] * 5 + ["v"] * 4, "item_id": [*"abcdz", *"abcz"]})
    anchors = Behaviour({"item_id": (list("abcd"), np.eye(4, dtype=np.float32))}, train).anchors(train)
    assert anchors["row_id"].to_pylist() == ["u"]
    assert sorted(anchors["items"][0].as_py()) == list("abcd")


def test_items_of_no_anchor_are_kept_by_the_false_negative_filter():
    lists = pa.list_(pa.string())
    histories = pa.array([["a", "b", "c", "d"], ["a", "b", "c", "e"], ["b", "c", "d", "e"]], lists)
    judge = RankingValidity(pa.table({"targets": histories}), 0.2, 0)
    rows = pa.table({
        "items": pa.array([["a", "b", "unknown"]], lists),
        "targets": pa.array([["a", "b", "c", "d", "unknown"]], lists),
        "negatives": pa.array([["unseen", "unknown"]], lists),
    })  # fmt: skip
    kept, dropped = judge.filter(np.array([0]), rows)
    assert (kept["negatives"].to_pylist(), dropped) == ([["unseen"]], 1)  # but for a target
    assert judge.agreement(SimpleNamespace(anchor=np.array([0]), rows=rows)).shape == (1,)


@pytest.fixture
def hashed(monkeypatch):
    """An encoder of character n-grams in the sentence encoder's place: some hundred times as fast."""
    grams = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=48)

    def encode(texts):
        return grams.transform(texts).toarray().astype(np.float32)

    monkeypatch.setattr("augment.contracts.modality.text_encoder", lambda *_: TextEncoder("hashed@1", 48, encode, None))


@pytest.mark.usefixtures("hashed")
def test_reviews_use_their_fit_again_and_start_the_next_one_warm(demo_folder, tmp_path, monkeypatch):
    rows = pq.read_table(demo_folder / "reviews.parquet").select(["review_id", "text", "label"])
    for number in range(3):
        written(tmp_path, number, rows.slice(number * 150, 150), "at")
    shop = parsed(tmp_path, REVIEWS, SENTIMENT, "refit_days = 2")
    warm, load = [], trainer._Run._load_nets
    monkeypatch.setattr(trainer._Run, "_load_nets", lambda *given: warm.append(load(*given)) or warm[-1])
    about = []
    for number in (2, 3, 4):
        written(tmp_path, number, rows.slice(number * 150, 150), "at")
        about.append(night(shop, as_of=day(number), device="cpu")["tasks"]["task"]["night"])
    assert [a["why"] for a in about] == ["the first", f"that of {day(2)}", "2 days old"]
    assert [a["refit"] for a in about] == [True, False, True]
    assert warm == [True, True]  # the second night's whole generator; the third's start
    assert Dataset(tmp_path / "out" / "task").verify() == []


@pytest.mark.parametrize(("fit", "name"), [(True, "generator.safetensors"), (False, trainer.WARM)])
def test_a_generator_is_lent_whole_or_not_at_all(tmp_path, monkeypatch, fit, name):
    kept, steps = tmp_path / "_nightly" / "reviews" / "then", Steps(tmp_path / "steps")
    kept.mkdir(parents=True)
    (kept / GENERATOR).write_bytes(b"x" * 5000)
    of = SimpleNamespace(name="reviews", recipe=SimpleNamespace(output=str(tmp_path)),
                         modality=Text, task=SimpleNamespace(strategies={"noise": 0.5, "gan": 0.5}))  # fmt: skip
    last = fits.Fit(kept, "2026-03-01", {}, [], "") if fit else None

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            fits.lend(of, last, steps)
    assert not (steps.folder / "round0" / name).exists()
    fits.lend(of, last, steps)
    assert (steps.folder / "round0" / name).read_bytes() == b"x" * 5000


def test_a_damaged_fit_is_made_anew(demo_folder, tmp_path):
    rows = pq.read_table(demo_folder / "behaviour.parquet").sort_by("timestamp").slice(0, 12_000)
    shop = parsed(tmp_path, BEHAVIOUR, RECOMMENDER)
    written(tmp_path, 0, rows.slice(0, 9000), "timestamp")
    night(shop, as_of=day(0), device="cpu")
    (model,) = (tmp_path / "out" / "_nightly" / "task").glob("*/victim/model.safetensors")
    model.write_bytes(model.read_bytes()[:50])
    written(tmp_path, 1, rows.slice(9000, 3000), "timestamp")
    about = night(shop, as_of=day(1), device="cpu")["tasks"]["task"]["night"]
    assert (about["refit"], about["why"]) == (True, "the last one is damaged")
