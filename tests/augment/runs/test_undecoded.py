"""Vectors alone: samples as they were moved, without a text or a picture, and readers who are told so."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import run

from augment.base.errors import UsageError
from augment.contracts.registry import modality_class
from augment.modalities.images import Images
from augment.modalities.text import Text
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.recipes.schema import Generator
from augment.runs.task import Job
from augment.testing.data import glimpses, rows_of, trigrams
from consumers import open_mix
from consumers.sentiment import Sentiment

RECIPE = """
name = "alone"
seed = 3
output = "{folder}/out"
[sources.rows]
path = "{folder}/rows.parquet"
columns = {{ id = "row_id", {content} = "{content}", label = "label" }}
{classes}
split = {{ valid = 0.15, test = 0.2 }}
labelled = 200
[tasks.task]
source = "rows"
consumer = "{consumer}"
samples = 40
strategies = {{ gan = 0.4, gaussian = 0.2, self-training = 0.4 }}
gates = {{ band = [-20, 20], min_plausibility = 0, min_label_agreement = 0 }}
generator = {{ bank = 40, variants = 2, steps = 5, batch = 16, neighbours = 4, decode = {decode} }}
options = {{ {options} }}
verdict = {{ clean = ["{clean}"], improve = ["{clean}_pool"], seeds = 2, draws = 100 }}
"""
TASKS = {
    "text": {"consumer": "sentiment", "content": "text", "classes": "", "clean": "auc",
             "options": "variants = 1, held_out = 1, C = 1.0"},
    "images": {"consumer": "image", "content": "image", "classes": 'classes = ["0", "1", "2"]', "clean": "accuracy",
                   "options": "variants = 1, held_out = 1, attacked_rows = 10, C = 1.0"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch):
    monkeypatch.setattr(Text, "encoder_of", classmethod(lambda cls, *given: trigrams([])))
    monkeypatch.setattr(Images, "encoder_of", classmethod(lambda cls, *given: glimpses()))


def recipe(kind, folder, decode="false"):
    many = kind == "images"
    table = rows_of(modality_class(kind), many)
    if many:
        label = np.array(table["label"].to_pylist()).argmax(axis=1).astype(str)
        table = table.set_column(table.column_names.index("label"), "label", pa.array(label))
    pq.write_table(table, folder / "rows.parquet")
    return loading.parse(RECIPE.format(folder=folder, decode=decode, **TASKS[kind]), "alone.toml")


@pytest.mark.parametrize("kind", TASKS)
def test_what_was_moved_is_published_as_a_vector_and_readers_are_told(kind, tmp_path, accepted):
    made = run(recipe(kind, tmp_path), device="cpu")
    found = made["tasks"]["task"]
    assert found["status"] == "published", found["reason"]
    assert Dataset(tmp_path / "out" / "task").verify() == []
    mix = open_mix(tmp_path / "out", "task")
    samples, content = mix.to_pandas(), TASKS[kind]["content"]
    moved = samples[samples["strategy"] != "self-training"]
    assert set(moved["strategy"]) == {"gan", "gaussian"}
    assert moved["decoded"].isna().all()
    rest = samples[samples["strategy"] == "self-training"]
    assert all(row[content] for row in rest["decoded"])
    vectors = np.stack(moved["embedding"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert len(np.unique(vectors.round(5), axis=0)) == len(moved)
    assert mix.manifest.result["undecoded"] == found["undecoded"] == len(moved)
    assert mix.manifest.settings["task"]["generator"]["decode"] is False
    (said,) = [line for line in found["warnings"] if "vectors alone" in line]
    assert said in (tmp_path / "out" / made["report"].split("/")[-1]).read_text("utf-8")
    for one in found.get("examples", ()):
        assert one["strategy"] == "self-training"


@pytest.mark.parametrize("kind", TASKS)
def test_by_default_every_sample_has_its_content(kind, tmp_path, accepted):
    found = run(recipe(kind, tmp_path, "true"), device="cpu")["tasks"]["task"]
    assert "undecoded" not in found
    assert not [line for line in found["warnings"] if "vectors alone" in line]
    assert open_mix(tmp_path / "out", "task").to_table()["decoded"].null_count == 0


def test_a_recipe_that_never_had_it_keeps_its_digest():
    assert "decode" not in Generator().model_dump(mode="json")
    assert Generator(decode=False).model_dump(mode="json")["decode"] is False
    assert Generator(**Generator(bank=7).model_dump()) == Generator(bank=7)


def test_rows_that_are_what_they_decode_to_cannot_be_vectors_alone(tmp_path):
    text = RECIPE.format(folder=tmp_path, decode="false", **TASKS["text"])
    (tmp_path / "rows.parquet").touch()
    for old, new in {'"sentiment"': '"ctr"', 'text = "text"': 'fields = ["colour"]', "options = {": "# ",
                     ", gaussian = 0.2, self-training = 0.4": ""}.items():  # fmt: skip
        text = text.replace(old, new)
    with pytest.raises(UsageError, match=r"^tasks.task.generator.decode: samples of fields are what they decode to; "):
        Job(loading.parse(text, "alone.toml"), "task", "cpu")


def test_a_model_of_texts_says_what_it_lacks():
    rows = rows_of(Text)
    model = Sentiment(model="ngrams", C=1.0).fit(rows, rows)
    nothing = rows.set_column(rows.column_names.index("text"), "text", pa.nulls(len(rows), pa.string()))
    with pytest.raises(UsageError, match=r"reads texts, and (\d+) of \1 samples are vectors alone"):
        model.predict(nothing)
