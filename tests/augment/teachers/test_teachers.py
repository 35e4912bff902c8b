"""Who labels samples: each kind of teacher by itself, the choice among them, and a whole run."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from ran import run

from augment.base.errors import BadInput, Refused, UsageError
from augment.cli import cli
from augment.contracts import registry
from augment.contracts.registry import modality_class
from augment.contracts.teacher import Room, Teacher, build, check, listing
from augment.contracts.values import Candidates
from augment.gates.labels import Certainty
from augment.modalities.fields import Fields
from augment.numeric.measures import Auc
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.runs.weighing import part_of
from consumers import ClickModel


class Recalls:
    """Says 1 of the rows that it was trained on, else its seed over 100: whether a label is one of memory shows."""

    modality, metrics, deterministic = "fields", {"clean": ("auc",)}, False

    def __init__(self, *, seed=0, device="cpu"):
        self.seed = seed

    def fit(self, train, valid, mix=None):
        self.seen = set(train["row_id"].to_pylist())
        return self

    def predict(self, rows):
        said = [1.0 if row in self.seen else self.seed / 100 for row in rows["row_id"].to_pylist()]
        return np.array(said, np.float32)

    def evaluate(self, rows, attacked):
        return {"auc": Auc(rows["label"].to_numpy(), self.predict(rows))}

    @classmethod
    def baselines(cls, seed, device):
        return {"plain": cls(seed=seed + 50)}


def room(consumer=Recalls, rows=40):
    train = pa.table({"row_id": [f"t{i}" for i in range(rows)], "label": [float(i % 2) for i in range(rows)]})
    valid = pa.table({"row_id": [f"v{i}" for i in range(10)], "label": [float(i % 2) for i in range(10)]})
    make = lambda seed: consumer(seed=seed)  # noqa: E731
    trained = lambda wanted: [model.fit(rows, valid) for model, rows in wanted.values()]  # noqa: E731
    plain = lambda seed: consumer.baselines(seed, "cpu")  # noqa: E731
    return Room(train, valid, modality_class("fields"), consumer, make, trained, plain, 0, "cpu")


def made_of(rows, places):
    return Candidates(np.array(places), rows.take(places), np.zeros((len(places), 2), np.float32))


def test_an_ensemble_is_the_mean_of_seeds_and_its_spread_how_far_they_differ():
    here = room()
    taught = build("ensemble", {"members": 3}).fit(here).label(made_of(here.valid, [0, 1]))
    np.testing.assert_allclose(taught.label, 0.01)  # seeds 0, 1, 2
    np.testing.assert_allclose(taught.spread, 0.02, atol=1e-7)


def test_a_consumer_without_chance_is_no_ensemble():
    class Same(Recalls):
        deterministic = True

    with pytest.raises(Refused, match="same model with every seed"):
        build("ensemble", {}).fit(room(Same))


@pytest.mark.parametrize("name", ["cross-fitted", "plain"])
def test_what_is_made_of_a_row_is_labelled_by_models_that_never_saw_it(name):
    here = room()
    teacher = build(name, {}).fit(here)
    assert teacher.called == name
    taught = teacher.label(made_of(here.train, np.arange(40)))
    assert (taught.label < 1).all()  # none recalls it
    assert len(np.unique(taught.label)) > 2  # by its fold
    every = np.stack([member.predict(here.train) for member in teacher.members])
    assert (every == 1).sum(axis=0).tolist() == [8] * 40  # the others do: four fifths of ten


def test_a_row_has_the_same_fold_wherever_it_turns_up():
    here = room()
    teacher = build("cross-fitted", {}).fit(here)
    whole = teacher.predict(here.train)
    np.testing.assert_array_equal(teacher.predict(here.train.slice(7, 5)), whole[7:12])


def test_the_mean_of_teachers_differs_by_their_means():
    here = room()
    taught = build("mean", {"of": "ensemble+plain"}).fit(here).label(made_of(here.train, [3]))
    own, plain = (build(name, {}).fit(here).predict(here.train)[3] for name in ("ensemble", "plain"))
    assert own == 1  # an ensemble has seen the row
    np.testing.assert_allclose(taught.label, [(own + plain) / 2])
    np.testing.assert_allclose(taught.spread, [own - plain])


@pytest.mark.parametrize(("name", "unseen"), [("cross-fitted+plain", True), ("ensemble+plain", False)])
def test_a_mean_has_not_seen_a_row_if_none_of_its_parts_has(name, unseen):
    assert build("mean", {"of": name}).fit(room()).unseen is unseen


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("boosted tree", {}, "unknown teacher 'boosted tree'; did you mean 'boosted trees'"),
        ("cross-fitted", {"of": "DCNv3"}, "of = 'DCNv3' is no plain model; did you mean 'DCNv2'"),
        ("cross-fitted", {"folds": 1}, "folds = 1 must be at least 2"),
        ("mean", {}, "'of' must be given"),
        ("mean", {"of": "ensemble"}, "must name two other teachers or more"),
        ("mean", {"of": "ensemble+tree"}, "unknown teacher 'tree'"),
        ("saved", {}, "'folder' must be given"),
        ("boosted trees", {"members": 3}, "unknown option 'members'"),
    ],
)
def test_a_teacher_that_cannot_be_is_said_in_one_line(name, options, said):
    with pytest.raises(UsageError, match=said) as raised:
        check(name, ClickModel, options, "tasks.ctr")
    assert str(raised.value).startswith("tasks.ctr")


def test_a_mean_of_what_is_no_panel_is_said_in_one_line(monkeypatch):
    class Oracle(Teacher):
        name, what = "oracle", "knows"

        def fit(self, room):
            return self

        def measures(self, rows):
            return {}

        def label(self, candidates):
            return candidates

    monkeypatch.setitem(registry._ours("teachers"), "oracle", Oracle)
    check("oracle", ClickModel, {}, "tasks.ctr")
    with pytest.raises(UsageError, match=r"^tasks.ctr.teacher_options.mean: of: 'oracle' is no panel of models"):
        check("mean", ClickModel, {"of": "cross-fitted+oracle"}, "tasks.ctr")
    check("mean", ClickModel, {"of": "cross-fitted+boosted trees"}, "tasks.ctr")


def test_a_saved_model_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no model that can be read"):
        build("saved", {"folder": str(tmp_path)}).fit(room(ClickModel))


def test_unlabelled_anchors_take_the_teachers_label_and_certainty_is_agreement():
    here = room()
    teacher = build("ensemble", {"members": 3}).fit(here)
    label = np.array([1.0, np.nan], np.float32)
    shows = Fields({"label": ([""], np.zeros((1, 2), np.float32))}, here.train)
    validity = Certainty(teacher, shows, here.valid.slice(0, 2), np.zeros((2, 2), np.float32), label)
    np.testing.assert_allclose(validity.label, [1.0, 0.01])
    taught = validity.taught(made_of(here.valid, [0]))
    np.testing.assert_allclose(validity.agreement(taught), 0.98)
    assert validity.source == "ensemble"


def test_plugins_and_plain_models_are_listed():
    names = [teacher["name"] for teacher in listing()]
    assert {"ensemble", "cross-fitted", "mean", "saved", "boosted trees", "logistic on n-grams, tuned"} <= set(names)
    assert "popularity" not in names  # ranks, and gives no class a probability
    assert "boosted trees" in CliRunner().invoke(cli, ["teachers"]).stdout


# -- a run: a consumer that has hardly learnt, and trees that have

RECIPE = """
name = "taught"
seed = 1
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ label = "click", fields = ["a", "b", "c"] }}
split = {{ by = "random", valid = 0.2, test = 0.3 }}
[tasks.ctr]
consumer = "ctr"
source = "rows"
options = {{ model = "logistic", lr = 0.0001, weight_decay = 0.001, epochs = 1, attacked_rows = 200 }}
samples = 200
teachers = {teachers}
strategies = {{ masking = 0.5, swaps = 0.5 }}
gates = {{ min_plausibility = 0.0 }}
generator = {{ anchors = 1000, bank = 60, draws = 4 }}
verdict = {{ seeds = 2, draws = 200, clean = ["auc"], improve = ["auc_renamed"], tolerance = 1.0 }}
"""


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(8, size=(3, 3000))
    chance = np.choose((a < 4).astype(int) + (b < 4), [0.1, 0.5, 0.9])
    path = tmp_path_factory.mktemp("clicks") / "clicks.parquet"
    fields = {name: [f"{name}{v}" for v in values] for name, values in (("a", a), ("b", b), ("c", c))}
    pq.write_table(pa.table({**fields, "click": (rng.random(3000) < chance).astype(int)}), path)
    return path


@pytest.fixture(scope="module")
def taught(clicks, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    teachers = '["ensemble", "boosted trees"]'
    text = RECIPE.format(output=output, path=clicks, teachers=teachers)
    task = run(loading.parse(text, "taught.toml"), device="cpu")["tasks"]["ctr"]
    files = list(Path(output).glob("ctr/**/*.parquet"))
    return task, pa.concat_tables(pq.ParquetFile(f).read() for f in files if "quarantine" not in str(f)), output


def test_the_teacher_that_knows_more_labels_and_the_other_does_not(taught):
    task, samples, _ = taught
    assert task["labels"].startswith("'boosted trees' labels: auc +0.")
    assert task["teachers"]["boosted trees"]["taken"]
    read = task["real_rows"]
    assert task["teachers"]["boosted trees"]["rows"] == read["train"] + read["valid"]
    assert task["teachers"]["ensemble"]["rows"] == read["valid"]  # it has seen the others
    assert not task["teachers"]["ensemble"]["taken"]
    assert "auc" in task["teachers"]["ensemble"]["reason"]
    assert set(samples["label_source"].to_pylist()) == {"boosted trees"}


def test_a_sample_has_its_teachers_label_beside_its_anchors(taught):
    _, samples, _ = taught
    label, anchor, spread = (samples[n].to_numpy() for n in ("label", "anchor_label", "teacher_spread"))
    assert set(anchor) == {0.0, 1.0}
    assert ((label > 0) & (label < 1)).all()
    np.testing.assert_allclose(samples["label_agreement"].to_numpy(), 1 - spread, atol=1e-6)
    decoded = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
    low = [[v is not None and int(v[1]) < 4 for v in decoded[n].to_pylist()] for n in "ab"]
    whole = decoded["a"].is_valid().to_numpy() & decoded["b"].is_valid().to_numpy()
    truth = np.sum(low, axis=0)
    # The label is what the copy's own fields say, whatever the anchor's click was.
    for at, chance in enumerate((0.1, 0.5, 0.9)):
        assert abs(label[whole & (truth == at)].mean() - chance) < 0.1


def test_what_a_copy_hides_the_teacher_was_told(taught):
    _, samples, _ = taught
    decoded = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
    label, hidden = samples["label"].to_numpy(), decoded["a"].is_null().to_numpy()
    low = np.array([v is not None and int(v[1]) < 4 for v in decoded["b"].to_pylist()])
    assert hidden.sum() > 15
    # Without a, a click is likely at .7 where b is low, else at .3; with it, at .9 or .5, and .5 or .1.
    assert np.abs(label - np.where(low, 0.7, 0.3))[hidden].min() > 0.08


def test_the_kept_copies_are_those_on_which_consumer_and_teacher_differ_most(taught):
    _, samples, _ = taught
    fields = samples["decoded"].combine_chunks().flatten()
    whole = np.all([field.is_valid().to_numpy(zero_copy_only=False) for field in fields], axis=0)
    assert np.median(samples["hardness"].to_numpy()[whole]) > 0.2  # nats: one half where the truth is .1 or .9


def test_what_a_teacher_labelled_passes_the_audit(taught):
    task, _, output = taught
    if task["status"] == "published":
        assert Dataset(output / "ctr").verify() == []


def test_without_a_better_teacher_samples_keep_their_anchors_labels(clicks, tmp_path):
    text = RECIPE.format(output=tmp_path, path=clicks, teachers='["cross-fitted"]')
    text = text.replace("samples = 200", "samples = 40\nweights = [0.5, 2.0]")
    task = run(loading.parse(text, "plain.toml"), device="cpu")["tasks"]["ctr"]
    assert task["labels"] == "samples keep their anchors' labels: no teacher beats the consumer"
    files = [f for f in tmp_path.glob("ctr/**/*.parquet") if "quarantine" not in str(f)]
    samples = pa.concat_tables(pq.ParquetFile(f).read() for f in files)
    assert samples["label"].equals(samples["anchor_label"])
    assert set(samples["label_source"].to_pylist()) == {"anchor"}
    assert samples["teacher_spread"].null_count == len(samples) == 40
    assert len(set(samples["weight"].to_pylist()) & {0.5, 2.0}) == 1  # one of those, for all


def test_how_many_samples_and_how_heavy_is_chosen_on_validation_rows(clicks, tmp_path, capsys):
    text = RECIPE.format(output=tmp_path, path=clicks, teachers="[]")
    text = text.replace("samples = 200", "samples = 40\nweights = [0.5, 2.0]\nsizes = [0.3, 1.0]")
    task = run(loading.parse(text, "plain.toml"), device="cpu")["tasks"]["ctr"]
    said = capsys.readouterr().err
    for size, weight in ((0.3, 0.5), (0.3, 2.0), (1.0, 0.5), (1.0, 2.0)):
        assert f"{size:g} at {weight:g}: " in said
    files = [f for f in tmp_path.glob("ctr/**/*.parquet") if "quarantine" not in str(f)]
    samples = pa.concat_tables(pq.ParquetFile(f).read() for f in files)
    size = next(size for size in (0.3, 1.0) if f"ctr: {size:g} of the samples at weight" in said)
    assert task["rows"] == len(samples) == 40 * size
    assert {*samples["strategy"].to_pylist()} == {"masking", "swaps"}
    assert len({*samples["weight"].to_pylist()}) == 1


def test_a_part_of_the_samples_has_some_of_each_strategy_and_every_item():
    names = ["a"] * 10 + ["b"] * 3 + ["new-items"] * 2
    weights = pa.array([None] * 13 + [[1.0]] * 2, pa.list_(pa.float32()))
    table = pa.table({"strategy": names, "neighbour_weights": weights, "n": range(15)})
    assert part_of(table, 0.25)["n"].to_pylist() == [0, 1, 2, 10, 13, 14]
    assert part_of(table, 1.0).equals(table)
