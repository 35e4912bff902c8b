"""The whole path where labels are of many classes: from words in a file to soft labels that a stream reads."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import run

from augment.base.errors import BadInput, UsageError
from augment.modalities.text import Text
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.runs import task, version
from augment.sources.prepare import prepare
from augment.testing.data import rows, trigrams
from consumers import open_mix

NAMES = ["Shirts", "Dresses", "Shoes"]
RECIPE = """
name = "many"
seed = 3
output = "{folder}/out"
[sources.reviews]
path = "{folder}/reviews.jsonl"
columns = {{ id = "row_id", text = "text", label = "kind" }}
classes = ["Shirts", "Dresses", "Shoes"]
split = {{ valid = 0.15, test = 0.2 }}
labelled = 200
max_bad_share = 0.1
[tasks.kind]
source = "reviews"
consumer = "{consumer}"
samples = 60
strategies = {{ gan = 0.4, mixup = 0.2, self-training = 0.4 }}
teachers = {teachers}
gates = {{ band = [-20, 20], min_plausibility = 0, min_label_agreement = 0 }}
generator = {{ bank = 40, variants = 2, steps = 5, batch = 16, neighbours = 4 }}
options = {{ variants = 1, held_out = 1, attacked_rows = 20, C = 10.0 }}
verdict = {{ clean = ["accuracy"], improve = ["accuracy_pool"], seeds = 2, draws = 100 }}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Reviews of three kinds, in words of any case, some of none that is known; an encoder of no weight."""
    monkeypatch.setattr(task, "text_encoder", lambda name, cache, device, ngrams: trigrams([]))
    table = rows()
    kinds = [segment.upper() if n % 2 else segment for n, segment in enumerate(table["segment"].to_pylist())]
    texts = [f"{kind.lower()[:-2]} {text}" for kind, text in zip(kinds, table["text"].to_pylist(), strict=True)]
    kinds[5:8] = ["hats"] * 3
    lines = zip(table["row_id"].to_pylist(), texts, kinds, strict=True)
    content = [json.dumps({"row_id": name, "text": text, "kind": kind}) for name, text, kind in lines]
    (tmp_path / "reviews.jsonl").write_text("\n".join(content), "utf-8")
    return tmp_path


def recipe(folder, consumer="category", teachers="[]", **replaced):
    text = RECIPE.format(folder=folder, consumer=consumer, teachers=teachers)
    for old, new in replaced.items():
        text = text.replace(old, new)
    return loading.parse(text, "many.toml")


def test_classes_in_words_become_shares_in_the_order_of_the_recipe(folder):
    source = recipe(folder).sources["reviews"]
    splits = prepare("reviews", source, Text.name, folder / "splits", 3)
    assert splits.quarantined["label of no class"] == 3
    known = {name: kind.lower() for name, kind in _kinds(folder)}
    for row in pq.read_table(splits.train).to_pylist():
        assert row["label"] == [float(name.lower() == known[row["row_id"]]) for name in NAMES]
    assert pq.read_table(splits.unlabelled)["label"].null_count == splits.counts["unlabelled"]


def test_whole_numbers_are_classes_however_they_are_written(folder):
    lines = [{"row_id": f"r{n}", "text": f"text {n}", "kind": (n % 3) + (1.0 if n % 2 else 1)} for n in range(40)]
    (folder / "reviews.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    source = recipe(folder, **{'["Shirts", "Dresses", "Shoes"]': '["1", "2", "3"]'}).sources["reviews"]
    splits = prepare("reviews", source, Text.name, folder / "splits", 3)
    for row in pq.read_table(splits.train).to_pylist():
        assert np.argmax(row["label"]) == int(row["row_id"][1:]) % 3


def _kinds(folder):
    lines = map(json.loads, (folder / "reviews.jsonl").read_text("utf-8").splitlines())
    return [(line["row_id"], line["kind"]) for line in lines]


@pytest.mark.parametrize("teachers", ["[]", '["cross-fitted"]'])
def test_samples_have_a_share_for_each_class_and_a_stream_reads_them(folder, teachers, monkeypatch):
    judge = version.judge
    monkeypatch.setattr(version, "judge", lambda *given: _accepted(judge(*given)))
    found = run(recipe(folder, teachers=teachers), device="cpu")["tasks"]["kind"]
    assert found["status"] == "published", found["reason"]
    table = Dataset(folder / "out" / "kind")
    assert table.verify() == []
    mix = open_mix(folder / "out", "kind")
    samples = mix.to_table()
    shares = np.array(samples["label"].to_pylist())
    assert shares.shape == (len(samples), 3)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    strategies = np.array(samples["strategy"].to_pylist())
    assert set(strategies) == {"gan", "mixup", "self-training"}
    assert (shares[strategies == "mixup"].max(axis=1) < 1).any()
    for own in samples["anchor_label"].to_pylist():
        assert own is None or sorted(own) == [0, 0, 1]
    for batch in mix.to_torch(batch_size=16):
        assert batch["label"].shape == (len(batch["weight"]), 3)
    assert found["verdict"]["accuracy"]["real"] > 0.5  # of three


def _accepted(verdict):
    return replace(verdict, accepted=True)


def test_real_rows_and_samples_need_labels_of_one_kind(folder, monkeypatch):
    judge = version.judge
    monkeypatch.setattr(version, "judge", lambda *given: _accepted(judge(*given)))
    run(recipe(folder), device="cpu")
    mix = open_mix(folder / "out", "kind")
    real = pa.table({"embedding": [[0.0] * 16] * 4, "label": [0.0, 1.0, 0.0, 1.0]})
    with pytest.raises(UsageError, match="labels of another kind"):
        mix.to_torch(real)


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({'classes = ["Shirts", "Dresses", "Shoes"]': ""}, "name the classes of the labels"),
        ({"category": "sentiment", "accuracy_pool": "auc_pool", '"accuracy"': '"auc"'}, "tells two classes"),
        ({'"Shoes"]': '"shoes ", "Shoes"]'}, "'shoes' is there twice"),
        ({'["Shirts", "Dresses", "Shoes"]': '["Shirts"]'}, "name two at least"),
        ({"labelled = 200": 'positive = ["Shoes"]'}, "goes with neither"),
    ],
)
def test_classes_that_do_not_fit_are_a_usage_error(folder, replaced, said):
    with pytest.raises(UsageError, match=said):
        run(recipe(folder, **replaced), device="cpu")


def test_rows_of_one_class_teach_nothing(folder):
    lines = [{"row_id": f"r{n}", "text": f"text {n}", "kind": "shoes"} for n in range(40)]
    (folder / "reviews.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    with pytest.raises(BadInput, match="of one class"):
        prepare("reviews", recipe(folder).sources["reviews"], Text.name, folder / "splits", 3)
