"""Scores of real rows by a model that we do not have: what they know beyond a task's fields reaches its samples."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from ran import run

from augment.base.errors import BadInput, Refused
from augment.contracts.registry import modality_class
from augment.contracts.teacher import build
from augment.contracts.values import Candidates
from augment.recipes import loading
from augment.teachers.scores import Scores
from augment.testing.shop import shop_of, usual
from augment.testing.teachers import Case, TeacherPromises, made_in

SHOP = usual(modality_class("fields"))
TRAIN, VALID = SHOP.real.train, SHOP.held_out[0]


def written(folder, ids, scores, name="scores.parquet"):
    table = pa.table({"row": ids, "said": scores})
    (pc.write_csv if name.endswith(".csv") else pq.write_table)(table, folder / name)
    return {"path": str(folder / name), "id": "row", "column": "said"}


def rates(rows, seed=0):
    """Scores that are a function of no field."""
    return 0.1 + 0.8 * np.random.default_rng(seed).random(len(rows))


@pytest.mark.parametrize("name", ["scores.parquet", "scores.csv"])
def test_a_row_as_it_is_has_its_own_score(tmp_path, name):
    both = [*TRAIN["row_id"].to_pylist(), *VALID["row_id"].to_pylist()]
    said = rates(both)
    options = written(tmp_path, both, said, name)
    teacher = made_in(SHOP, build("scores", {**options, "folds": 2}))
    assert not teacher.unseen
    np.testing.assert_allclose(teacher.predict(TRAIN), said[: len(TRAIN)], atol=1e-5)
    label = VALID["label"].to_numpy() > 0.5
    ours, theirs = said[len(TRAIN) :][label], said[len(TRAIN) :][~label]
    auc = (ours[:, None] > theirs).mean()
    assert teacher.measures(VALID)["auc"].value() == pytest.approx(auc, abs=1e-6)


def test_a_swap_moves_the_score_as_what_learnt_from_the_scores_says(tmp_path):
    """Scores are .8 or .2 by one field, and .1 higher or lower by nothing that we see."""
    rng = np.random.default_rng(0)
    shape, liked = rng.integers(6, size=1200), rng.integers(6, size=1200) < 3
    rows = pa.table({
        "row_id": [f"r{i}" for i in range(1200)],
        "kind": [f"{'liked' if one else 'not'}{i % 3}" for i, one in enumerate(liked)],
        "shape": [f"s{i}" for i in shape],
        "label": (rng.random(1200) < np.where(liked, 0.8, 0.2)).astype(np.float32),
    })  # fmt: skip
    shop = shop_of(modality_class("fields"), rows)
    train = shop.real.train
    up = np.array([kind.startswith("not") for kind in train["kind"].to_pylist()])
    hidden = np.where(rng.random(len(train)) < 0.5, -0.1, 0.1)
    said = np.where(up, 0.2, 0.8) + hidden
    options = written(tmp_path, train["row_id"], said)
    teacher = made_in(shop, build("scores", {**options, "of": "boosted trees", "folds": 3}))
    swapped = train.set_column(1, "kind", pa.array(np.where(up, "liked0", "not0")))
    found = teacher.predict(swapped)
    assert np.median((found - said)[up]) > 0.4
    assert np.median((found - said)[~up]) < -0.4
    assert found[up & (hidden > 0)].mean() > found[up & (hidden < 0)].mean() + 0.1  # what nobody sees stays


def test_it_keeps_a_teachers_promises(tmp_path):
    options = {**written(tmp_path, TRAIN["row_id"], rates(TRAIN)), "folds": 2}
    case, promises = Case(Scores, SHOP, options), TeacherPromises()
    for name in (n for n in dir(promises) if n.startswith("test_")):
        getattr(promises, name)(case)


def test_rows_without_a_score_are_labelled_by_what_learnt_from_the_others(tmp_path):
    half = len(TRAIN) // 2
    options = written(tmp_path, TRAIN["row_id"].slice(0, half), np.full(half, 0.3))
    teacher = made_in(SHOP, build("scores", {**options, "folds": 2, "of": "boosted trees"}))
    asked = TRAIN.slice(half, 20)
    taught = teacher.label(Candidates(np.arange(20), asked, SHOP.studio.modality.encode(asked)))
    assert np.abs(taught.label - 0.3).max() < 0.1  # whatever their clicks are


@pytest.mark.parametrize(
    ("ids", "scores", "said", "error"),
    [
        (["a", "b"], [0.1, 1.2], "'said' has 0.1 to 1.2: scores are probabilities", BadInput),
        (["a", "a"], [0.1, 0.2], "'row' names rows twice", BadInput),
        (["a", "b"], ["high", "low"], "no file with a column 'row' of ids and a column 'said' of scores", BadInput),
        (["a", "b"], [0.1, 0.2], r"scores 0 of [\d,]+ training rows: the source needs the role `id`", Refused),
        (["a", None], [None, 0.2], r"scores 0 of", Refused),
    ],
)
def test_a_file_that_is_no_such_is_said_in_one_line(tmp_path, ids, scores, said, error):
    teacher = build("scores", written(tmp_path, ids, scores))
    with pytest.raises(error, match=said) as raised:
        made_in(SHOP, teacher)
    assert "\n" not in str(raised.value)


def test_no_file_or_another_column_is_said_in_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"gone.parquet: no file with a column 'id'"):
        made_in(SHOP, build("scores", {"path": str(tmp_path / "gone.parquet")}))
    options = written(tmp_path, ["a"], [0.5])
    with pytest.raises(BadInput, match="column 'points' of scores"):
        made_in(SHOP, build("scores", {**options, "column": "points"}))


RECIPE = """
name = "scored"
seed = 1
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ id = "visit", label = "click", fields = ["a", "b", "c"] }}
split = {{ by = "random", valid = 0.2, test = 0.3 }}
[tasks.ctr]
consumer = "ctr"
source = "rows"
options = {{ model = "logistic", attacked_rows = 200 }}
samples = 100
teachers = ["scores"]
teacher_options = {{ scores = {{ path = "{scores}", id = "visit", of = "logistic regression" }} }}
strategies = {{ masking = 1.0 }}
gates = {{ min_plausibility = 0.0 }}
generator = {{ anchors = 1000, bank = 60, draws = 2 }}
verdict = {{ seeds = 1, draws = 100, clean = ["auc"], improve = ["auc_renamed"], tolerance = 1.0 }}
"""


def test_samples_of_a_run_have_the_scores_of_their_anchors(tmp_path):
    """Clicks hang on what no field says; the scores know it, and half of the rows' ids are numbers in the file."""
    rng = np.random.default_rng(3)
    chance = np.where(rng.random(2500) < 0.5, 0.15, 0.85)
    fields = {name: [f"{name}{v}" for v in rng.integers(6, size=2500)] for name in "abc"}
    visit = np.arange(2500) + 10_000
    rows = pa.table({"visit": visit, **fields, "click": (rng.random(2500) < chance).astype(int)})
    pq.write_table(rows, tmp_path / "rows.parquet")
    pq.write_table(pa.table({"visit": visit, "score": chance}), tmp_path / "scores.parquet")
    text = RECIPE.format(output=tmp_path / "out", path=tmp_path / "rows.parquet", scores=tmp_path / "scores.parquet")
    task = run(loading.parse(text, "scored.toml"), device="cpu")["tasks"]["ctr"]
    assert task["labels"].startswith("'scores' labels: auc +0.3"), task["teachers"]
    files = [f for f in Path(tmp_path / "out").glob("ctr/**/*.parquet") if "quarantine" not in str(f)]
    samples = pa.concat_tables(pq.ParquetFile(f).read() for f in files)
    own = chance[samples["anchor_id"].cast(pa.int64()).to_numpy() - 10_000]
    np.testing.assert_allclose(samples["label"].to_numpy(), own, atol=1e-4)
    assert set(samples["label_source"].to_pylist()) == {"scores"}
