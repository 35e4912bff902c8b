"""EASE as a teacher: what it names, of whom it knows nothing, when it is left out, and a whole run."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import run
from scipy.sparse import csr_matrix

from augment.base.errors import Refused, UsageError
from augment.contracts.registry import modality_class
from augment.contracts.teacher import Room, build, check
from augment.contracts.values import Candidates
from augment.gates.rankings import RankingValidity
from augment.numeric.ease import ease
from augment.numeric.histories import ordered, recent
from augment.recipes import loading
from augment.teachers import ease as teaching
from consumers import ClickModel, NextItem, Recommender

GROUPS, EACH = 4, 10  # items that go together
OF, BESIDE = "EASE, recency, inverse propensity", "EASE beside MF, inverse propensity"


def log(users, seed=0, length=9):
    """Each user's items, in order of time, come from two of the groups: one of old, another of late."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        old, late = rng.choice(GROUPS, 2, replace=False)
        items = [*(old * EACH + rng.choice(EACH, 4, replace=False)), *(late * EACH + rng.permutation(EACH)[:length])]
        rows += [(f"u{user:03}", f"i{item:02}", place) for place, item in enumerate(items)]
    return pa.table(dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def room():
    rows = log(60)
    place = rows["timestamp"].to_numpy()
    train, valid = rows.filter(pa.array(place < 10)), rows.filter(pa.array(place >= 10))
    trained = lambda wanted: [model.fit(rows, valid) for model, rows in wanted.values()]  # noqa: E731

    def plain(seed):
        ages = {"l2": 3.0, "recency": 4.0, "recency_floor": 0.2, "seed": seed}
        return {OF: Recommender(propensity=0.3, **ages), BESIDE: Recommender(model="blend", propensity=0.3, **ages)}

    make = partial(Recommender, model="mf")
    return Room(train, valid, modality_class("behaviour"), Recommender, make, trained, plain, 0, "cpu")


def copies(room, users, negatives=()):
    """Synthetic users: their first three items shown."""
    items = [room.train.filter(pa.compute.equal(room.train["user_id"], user))["item_id"].to_pylist() for user in users]
    lists = {"items": [one[:3] for one in items], "targets": items, "negatives": [list(negatives)] * len(users)}
    kind = pa.list_(pa.string())
    rows = pa.table({"row_id": pa.array(users, pa.string()), **{k: pa.array(v, kind) for k, v in lists.items()}})
    return Candidates(np.arange(len(users)), rows, np.zeros((len(users), 2), np.float32))


def refitted(room, user, members=None, count=5, beside=None):
    """What EASE without that user, really fitted again, gives the user: the best of what is not in the history.

    beside: a fitted blend, whose factor model's scores are added.
    """
    users, items = (pa.array(sorted(set(room.train[name].to_pylist()))) for name in ("user_id", "item_id"))
    history, me = ordered(room.train, users, items), users.to_pylist().index(user)
    members = np.ones(len(users), bool) if members is None else members
    others = members & (np.arange(len(users)) != me)
    model = ease(csr_matrix(history[others] > 0, dtype=np.float32), None, 3.0 * members.mean())
    shown = recent(history[[me]], 4.0, 0.2)
    scores = np.asarray(shown @ model).ravel() * history.getnnz(axis=0) ** -0.3
    if beside is not None:
        factors = beside.ranker_.of_factors(beside.state_, shown, np.array([me]))[0]
        scores = (scores - scores.mean()) / scores.std() + factors
    scores[history[me].indices] = -np.inf
    return [items[int(i)].as_py() for i in np.argsort(-scores)[:count]]


def test_targets_are_the_best_items_of_a_model_that_never_saw_the_user(room):
    users = ["u007", "u031", "u007"]
    candidates = copies(room, users)
    taught = build("ease", {"items": 5}).fit(room).label(candidates)
    assert taught.rows["targets"].to_pylist() == [refitted(room, user) for user in users]
    assert taught.rows["items"].equals(candidates.rows["items"])  # as the strategy made them
    assert taught.rows.schema.equals(candidates.rows.schema)
    assert taught.label is None


def test_beside_a_factor_model_its_scores_count_as_much(room):
    users = ["u007", "u031"]
    teacher = build("ease", {"items": 5, "of": BESIDE}).fit(room)
    found = teacher.label(copies(room, users)).rows["targets"].to_pylist()
    model = room.plain(0)[BESIDE].fit(room.train, room.valid)
    assert found == [refitted(room, user, beside=model) for user in users]
    assert found != [refitted(room, user) for user in users]
    ndcg = model.evaluate(room.valid, {})["ndcg@20"].value()
    assert teacher.measures(room.valid)["ndcg@20"].value() == ndcg > 0


def test_spread_is_how_far_the_halves_differ_of_which_neither_saw_the_user(room):
    users = [f"u{i:03}" for i in range(0, 60, 7)]
    taught = build("ease", {"items": 5}).fit(room).label(copies(room, users))
    half = np.random.default_rng(room.seed).permutation(60) % 2 == 0
    shared = [set(refitted(room, u, half)) & set(refitted(room, u, ~half)) for u in users]
    np.testing.assert_allclose(taught.spread, [1 - len(one) / 5 for one in shared], atol=1e-6)
    assert taught.spread.std() > 0


def test_own_targets_stay_where_asked_for_and_else_nothing_that_the_user_has_is_a_target(room):
    users = ["u001", "u002"]
    before = copies(room, users).rows["targets"].to_pylist()
    alone = build("ease", {}).fit(room).label(copies(room, users)).rows["targets"].to_pylist()
    beside = build("ease", {"own": True}).fit(room).label(copies(room, users)).rows["targets"].to_pylist()
    for own, named, both in zip(before, alone, beside, strict=True):
        assert len(named) == 15
        assert not set(own) & set(named)
        assert both == [*named, *own]


def test_a_user_who_has_nearly_everything_is_given_what_is_left(room):
    every = sorted(set(room.train["item_id"].to_pylist()))
    most = {"user_id": ["most"] * (len(every) - 2), "item_id": every[2:], "timestamp": list(range(len(every) - 2))}
    train = pa.concat_tables([room.train, pa.table(most)])
    here = Room(train, *(getattr(room, name) for name in list(Room.__dataclass_fields__)[1:]))
    taught = build("ease", {"items": 5}).fit(here).label(copies(here, ["most"]))
    assert set(taught.rows["targets"].to_pylist()[0]) == set(every[:2])
    assert taught.spread.tolist() == [0.0]  # neither half has another choice


def test_it_is_measured_as_the_plain_model_that_it_is_tuned_as(room):
    found = build("ease", {}).fit(room).measures(room.valid)["ndcg@20"].value()
    model = room.plain(0)[OF].fit(room.train, room.valid)
    assert found == model.evaluate(room.valid, {})["ndcg@20"].value() > 0


def test_what_the_teacher_names_is_no_negative_of_the_sample(room):
    teacher = build("ease", {"items": 5}).fit(room)
    named = teacher.label(copies(room, ["u003"])).rows["targets"].to_pylist()[0]
    others = [i for i in sorted(set(room.train["item_id"].to_pylist())) if i not in named][:4]
    validity = RankingValidity(copies(room, ["u003", "u004"]).rows, 0.0, 0, teacher)
    taught = validity.taught(copies(room, ["u003"], [named[0], *others, named[3], "unheard of"]))
    kept, dropped = validity.filter(taught.anchor, taught.rows)
    assert kept["negatives"].to_pylist() == [[*others, "unheard of"]]
    assert dropped == 2
    assert validity.source == "ease"


@pytest.mark.parametrize(
    ("consumer", "options", "said"),
    [
        (ClickModel, {}, "teacher 'ease' does not serve fields"),
        (Recommender, {"of": "EASE, recencx"}, "of = 'EASE, recencx' is no plain model; did you mean 'EASE, recency'"),
        (Recommender, {"of": "popularity"}, "of = 'popularity' is no EASE"),
        (NextItem, {"of": "EASE, recency"}, "of = 'EASE, recency' is no EASE of a recommender"),
        (Recommender, {"items": 0}, "items"),
    ],
)
def test_where_it_cannot_teach_is_said_in_one_line(consumer, options, said):
    with pytest.raises(UsageError, match=said) as raised:
        check("ease", consumer, options, "tasks.any")
    assert "\n" not in str(raised.value)


def test_more_items_than_it_serves_are_refused(room, monkeypatch):
    monkeypatch.setattr(teaching, "MAX_ITEMS", 30)
    with pytest.raises(Refused, match="40 items: EASE serves up to 30"):
        build("ease", {}).fit(room)


# -- a run: vectors too short for what there is to know, and EASE that knows it

RECIPE = """
name = "taught"
seed = 1
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ user = "user_id", item = "item_id", timestamp = "timestamp" }}
split = {{ by = "user_time", valid = 0.2, test = 0.2, core = 2 }}
max_per_minute = 100000
[tasks.shop]
consumer = "recommender"
source = "rows"
options = {{ {options} }}
samples = 60
teachers = ["ease"]
teacher_options.ease = {{ items = 6 }}
strategies = {{ gan = 0.5, item-drop = 0.5 }}
gates = {{ min_plausibility = 0.0 }}
generator = {{ bank = 40, steps = 20, draws = 2 }}
verdict = {{ seeds = 2, draws = 200, clean = ["ndcg@20"], improve = ["tail_recall@20"], tolerance = 1.0 }}
"""


def published(folder, options):
    rows = log(150, length=10)
    moment = pa.compute.add(rows["timestamp"], 1_700_000_000)
    pq.write_table(rows.set_column(2, "timestamp", moment), folder / "log.parquet")
    recipe = RECIPE.format(output=folder / "out", path=folder / "log.parquet", options=options)
    task = run(loading.parse(recipe, "taught.toml"), device="cpu")["tasks"]["shop"]
    files = [f for f in Path(folder).glob("out/shop/**/*.parquet") if "quarantine" not in str(f)]
    return task, pa.concat_tables(pq.ParquetFile(f).read() for f in files)


def test_a_run_of_a_retrieval_model_publishes_what_the_teacher_names(tmp_path):
    task, samples = published(tmp_path, 'model = "mf", dim = 2, epochs = 2, l2 = 1.0')
    assert task["labels"].startswith("'ease' labels: ndcg@20 +0.")
    assert task["teachers"]["ease"]["rows"] == task["real_rows"]["valid"]
    assert set(samples["label_source"].to_pylist()) == {"ease"}
    assert samples["teacher_spread"].null_count == 0
    for one in samples["decoded"].to_pylist():
        assert len(one["targets"]) == 6
        assert not set(one["targets"]) & {*one["items"], *one["negatives"]}


def test_beside_a_model_that_is_as_good_it_is_left_out(tmp_path):
    task, samples = published(tmp_path, "propensity = 0.3")
    assert task["labels"] == "samples keep their anchors' labels: no teacher beats the consumer"
    assert task["teachers"]["ease"]["reason"] == "ndcg@20 is no better"
    assert set(samples["label_source"].to_pylist()) == {"anchor"}
    assert samples["teacher_spread"].null_count == len(samples)
