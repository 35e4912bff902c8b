"""Labels of many classes through every command that makes, reads or keeps a published table."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from augment.cli import cli
from augment.modalities.text import Text
from augment.publishing.dataset import Dataset
from augment.runs import version
from augment.testing.data import trigrams

CLASSES = ("red", "green", "blue")
RECIPE = """
name = "colours"
seed = 4
output = "{folder}/out"
[sources.words]
path = "{folder}/words.parquet"
columns = {{ id = "row", text = "text", label = "colour" }}
classes = ["red", "green", "blue"]
split = {{ valid = 0.2, test = 0.25 }}
labelled = 60
[tasks.colour]
source = "words"
consumer = "category"
encoder = "minilm"
samples = 40
options = {{ C = 3.0, variants = 1, held_out = 1, attacked_rows = 15 }}
strategies = {{ {strategies} }}
gates = {{ band = [-20, 20], min_plausibility = 0, min_label_agreement = 0 }}
generator = {{ bank = 30, variants = 2, steps = 4, batch = 16, neighbours = 4 }}
verdict = {{ clean = ["accuracy"], improve = ["accuracy_unseen"], seeds = 1, draws = 100, tolerance = 1.0 }}
{task}
"""
WORDS = {"red": "rose ruby cherry", "green": "leaf grass moss", "blue": "sky sea ink"}


def table(rows=160, seed=0):
    rng = np.random.default_rng(seed)
    colours = [CLASSES[n % 3] for n in range(rows)]
    texts = [f"{rng.choice(WORDS[c].split())} {rng.choice(WORDS[c].split())} {n}" for n, c in enumerate(colours)]
    return pa.table({"row": [f"r{n}" for n in range(rows)], "text": texts, "colour": colours})


@pytest.fixture
def sparring(tmp_path, monkeypatch):
    """Runs a command with an encoder of no weight; verdicts accept."""
    from dataclasses import replace

    judge = version.judge
    monkeypatch.setattr(version, "judge", lambda *given: replace(judge(*given), accepted=True))
    monkeypatch.setattr(Text, "encoder_of", classmethod(lambda cls, *given: trigrams([])))
    pq.write_table(table(), tmp_path / "words.parquet")

    def command(*args):
        found = CliRunner().invoke(cli, [*map(str, args)], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    return command


def recipe(folder, strategies="gan = 0.5, noise = 0.5", task=""):
    path = folder / "colours.toml"
    path.write_text(RECIPE.format(folder=folder, strategies=strategies, task=task), "utf-8")
    return path


def test_what_is_published_is_listed_shown_verified_and_goes_back(sparring, tmp_path):
    out, wanted = tmp_path / "out", recipe(tmp_path)
    first = json.loads(sparring("run", wanted, "--attribute", "--device", "cpu", "--json"))["tasks"]["colour"]
    assert set(first["attribution"]) == {"gan", "noise"}
    pq.write_table(table(seed=1), tmp_path / "words.parquet")
    sparring("run", wanted, "--device", "cpu", "--json")
    assert "colour" in sparring("ls", out)
    kept = Dataset(out / "colour")
    assert kept.version("current").run in sparring("show", out / "colour")
    sparring("verify", out)
    sparring("rollback", out / "colour", 0)
    assert kept.version("current").run == kept.version(0).run
    sparring("gc", out, "--keep-last", 1)
    sparring("verify", out)
    sparring("train", wanted, "colour", "--out", tmp_path / "model", "--device", "cpu")
    found = json.loads(sparring("evaluate", wanted, "colour", tmp_path / "model", "--device", "cpu", "--json"))
    assert found["metrics"]["accuracy"]["value"] > 0.5
    teacher = f'teachers = ["saved"]\nteacher_options = {{ saved = {{ folder = "{tmp_path}/model" }} }}\n'
    taught = json.loads(sparring("run", recipe(tmp_path, task=teacher), "--device", "cpu", "--json"))["tasks"]["colour"]
    assert "accuracy" in taught["teachers"]["saved"]["metrics"]


def test_samples_without_a_verdict(sparring, tmp_path):
    sparring("generate", recipe(tmp_path), "colour", "--out", tmp_path / "made", "--device", "cpu")
    made = pq.read_table(tmp_path / "made")
    shares = np.array(made["label"].to_pylist())
    assert shares.shape == (40, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)


def test_a_search_of_classes(sparring, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "best.toml"
    sparring("search", recipe(tmp_path), "--trials", 2, "--seeds", 1, "-o", out, "--device", "cpu")
    assert "category" in out.read_text("utf-8")


STRATEGIES = ["smote", "adasyn", "gaussian", "fgm", "pgd", "freelb", "vat", "self-training", "mixup", "typos", "noise"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_labels_three_classes(sparring, tmp_path, strategy):
    wanted = recipe(tmp_path, f"{strategy} = 1.0")
    told = json.loads(sparring("generate", wanted, "colour", "--out", tmp_path / "m", "--device", "cpu", "--json"))
    assert told["rows"] > 10, told
    shares = np.array(pq.read_table(tmp_path / "m")["label"].to_pylist())
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert shares.min() >= 0


@pytest.mark.parametrize(
    ("teachers", "options"),
    [
        ("ensemble", "members = 2"),
        ("mean", 'of = "ensemble+cross-fitted"'),
        ("cross-fitted", 'of = "MLP, tuned", folds = 2, deals = 2'),
    ],
)
@pytest.mark.parametrize("rest", ["weights", "rounds"])
def test_teachers_weights_and_rounds(sparring, tmp_path, teachers, options, rest):
    task = f'teachers = ["{teachers}"]\nteacher_options = {{ {teachers} = {{ {options} }} }}\n'
    text = recipe(tmp_path, task=task).read_text("utf-8").replace("C = 3.0", 'C = 3.0, model = "mlp", epochs = 2')
    if rest == "rounds":
        text = text.replace("bank = 30", "bank = 30, rounds = 2")
    else:
        text = text.replace("samples = 40", "samples = 40\nweights = [0.2, 1.0]\nsizes = [0.5, 1.0]")
    (tmp_path / "colours.toml").write_text(text, "utf-8")
    done = json.loads(sparring("run", tmp_path / "colours.toml", "--device", "cpu", "--json"))["tasks"]["colour"]
    assert done["status"] == "published", done["reason"]
    (taught,) = done["teachers"].values()
    assert "accuracy" in taught["metrics"]


@pytest.mark.parametrize(("kept", "named"), [
    (("red", "blue"), '["red", "blue"]'),
    (CLASSES, '["grey", "red", "green", "blue"]'),  # one that no row has
    ((*CLASSES, "violet"), '["violet", "red", "green", "blue"]'),  # and one that a single row has
])  # fmt: skip
def test_classes_of_two_and_classes_of_no_row(sparring, tmp_path, kept, named):
    rows = table()
    if "violet" in kept:
        rows = pa.concat_tables([rows, pa.table({"row": ["v"], "text": ["lilac"], "colour": ["violet"]})])
    pq.write_table(rows.filter(pc.is_in(rows["colour"], pa.array(kept))), tmp_path / "words.parquet")
    wanted = recipe(tmp_path, "gan = 0.4, smote = 0.3, self-training = 0.3")
    wanted.write_text(wanted.read_text("utf-8").replace('["red", "green", "blue"]', named), "utf-8")
    done = json.loads(sparring("run", wanted, "--device", "cpu", "--json"))["tasks"]["colour"]
    assert done["status"] == "published", done["reason"]
    sparring("verify", tmp_path / "out")
    shares = np.array(Dataset(tmp_path / "out" / "colour").read().to_table()["label"].to_pylist())
    assert shares.shape[1] == len(json.loads(named))
    if "grey" in named:
        assert shares[:, 0].max() < 0.5
        assert done["verdict"]["accuracy_rare"]["real"] >= 0  # of a class that training rows have
