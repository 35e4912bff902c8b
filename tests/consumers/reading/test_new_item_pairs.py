"""Pseudo-interactions of new items, and a model that is trained on them."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.base.errors import UsageError
from augment.numeric import measures
from consumers import new_item_pairs
from consumers.scoring import ranking

EXAMPLE = Path(__file__).parents[3] / "scripts" / "examples" / "new_items" / "retrain.py"


def loaded():
    spec = spec_from_file_location("retrain", EXAMPLE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published(near):
    """New item → its known neighbours and their weights, as rows of a mix."""
    return pa.table({
        "sample_id": list(near),
        "day": ["all"] * len(near),
        "strategy": pa.array(["new-items"] * len(near), pa.string()),
        "anchor_id": pa.array(list(near), pa.string()),
        "neighbour_ids": pa.array([list(said) for said in near.values()], pa.list_(pa.string())),
        "neighbour_weights": pa.array([list(said.values()) for said in near.values()], pa.list_(pa.float32())),
    })  # fmt: skip


ITEMS = [f"{kind}{n}" for kind in "ab" for n in range(10)]
USERS = [f"u{n}" for n in range(60)]


def tastes(seed=0):
    """Of users the even ones have a's, the odd ones b's; a model says so too."""
    rng = np.random.default_rng(seed)
    liked = (np.arange(60)[:, None] % 2) == (np.arange(20) // 10)
    history = csr_matrix((liked & (rng.random((60, 20)) < 0.4)).astype(np.float32))
    return (liked + 0.3 * rng.standard_normal((60, 20))).astype(np.float32), history


def test_those_who_like_its_neighbours_are_drawn_and_weigh_as_much_as_these_are_popular():
    scores, history = tastes()
    mix = published({"new": {f"a{n}": 1.0 for n in range(10)}, "other": {"b0": 2.0}})
    pairs = new_item_pairs(mix, ITEMS, USERS, scores, history, most=25, noise=0.3).to_pandas()
    assert pairs.groupby("item_id").size().to_dict() == {"new": 25, "other": 25}
    assert not pairs.duplicated(["user_id", "item_id"]).any()
    even = pairs["user_id"].str[1:].astype(int) % 2 == 0
    assert even[pairs["item_id"] == "new"].mean() > 0.95
    other = pairs[pairs["item_id"] == "other"]
    assert other["weight"][even[other.index]].sum() < 0.1 * other["weight"].sum()
    weight = pairs.groupby("item_id")["weight"].sum()
    popularity = history.getnnz(axis=0)
    assert weight["new"] == pytest.approx(popularity[:10].mean(), rel=0.25)  # none counts more than an interaction
    assert weight["other"] <= popularity[10] + 1e-3
    assert pairs["weight"].between(0, 1, inclusive="right").all()


def test_noise_is_a_seeds():
    scores, history = tastes()
    mix = published({"new": {"a0": 1.0}})
    once, again, other = (new_item_pairs(mix, ITEMS, USERS, scores, history, most=9, seed=s) for s in (1, 1, 2))
    assert once.equals(again)
    assert set(once["user_id"].to_pylist()) != set(other["user_id"].to_pylist())
    wild = new_item_pairs(mix, ITEMS, USERS, scores, history, most=30, noise=100.0).to_pandas()
    assert 0.25 < (wild["user_id"].str[1:].astype(int) % 2).mean() < 0.75  # whoever


def test_a_row_of_neighbours_that_the_model_does_not_know_has_no_pairs():
    scores, history = tastes()
    pairs = new_item_pairs(published({"new": {"gone": 1.0}, "b": {"a1": 1.0}}), ITEMS, USERS, scores, history)
    assert set(pairs["item_id"].to_pylist()) == {"b"}
    assert len(pairs) == len(USERS)  # fewer than were asked for
    assert not len(new_item_pairs(published({}), ITEMS, USERS, scores, history))


@pytest.mark.parametrize("wrong", [{"noise": 0.0}, {"noise": -1.0}, {"most": 0}])
def test_without_noise_or_users_there_is_nothing_to_draw(wrong):
    with pytest.raises(UsageError, match="noise must be above 0, most at least 1"):
        new_item_pairs(published({"new": {"a0": 1.0}}), ITEMS, USERS, *tastes(), **wrong)


@pytest.fixture(scope="module")
def films(demo_folder):
    """Real ratings without 150 films, what users rated of these, and rows of these by their genres and decade."""
    with duckdb.connect() as db:
        db.execute("SET threads = 1")
        rows = (
            db.execute(
                "SELECT user_id, item_id FROM read_parquet(?) WHERE rating >= 4 QUALIFY count(*) OVER (PARTITION BY "
                "item_id) >= 20 ORDER BY user_id, item_id",
                [str(demo_folder / "behaviour.parquet")],
            )
            .df()
            .astype(str)
        )
        known = db.execute("SELECT item_id, genres, year // 10 AS decade FROM read_parquet(?)",
                           [str(demo_folder / "movies.parquet")]).df()  # fmt: skip
    known = known.set_index(known["item_id"].astype(str)).loc[sorted(set(rows["item_id"]))]
    rng = np.random.default_rng(0)
    new = set(rng.choice(known.index, 150, replace=False))
    about = known["genres"].str.get_dummies("|").join(pd.get_dummies(known["decade"])).to_numpy(np.float32)
    about -= about.mean(axis=0)
    about /= np.linalg.norm(about, axis=1, keepdims=True)
    old = np.array([name not in new for name in known.index])
    likeness = np.maximum(about[~old] @ about[old].T, 0) ** 4
    names = known.index[old].to_numpy()
    best = np.argsort(-likeness, axis=1)[:, :50]
    said = zip(known.index[~old], names[best], np.take_along_axis(likeness, best, axis=1).tolist(), strict=True)
    near = {name: dict(zip(neighbours, weights, strict=True)) for name, neighbours, weights in said}
    held = rows["item_id"].isin(new)
    late = ~held & (rng.random(len(rows)) < 0.1)
    return published(near), rows[~held & ~late], rows[held], rows[late]


def test_an_ease_trained_on_pairs_finds_new_films_and_says_of_known_ones_what_it_said(films):
    mix, log, asked, late = films
    retrain = loaded()
    pairs, users, scores, items = retrain.retrained(mix, log)
    assert pairs["weight"].sum() < 0.5 * len(log)
    place = pd.Index(users), pd.Index(items)
    shown, wanted, newly = (_matrix(rows, place) for rows in (log, late, asked))
    new = np.isin(items, pairs["item_id"])
    few = newly.getnnz(axis=1) > 0

    # Known films: the same lists as without the pairs.
    plain = shown[:, ~new] @ retrain.ease(shown[:, ~new], shown[:, ~new])
    np.testing.assert_allclose(scores[:, ~new], plain, atol=1e-4)
    both = [_ndcg(s, shown[:, ~new], wanted[:, ~new]) for s in (scores[:, ~new], plain)]
    assert both[0] >= 0.995 * both[1] > 0.1

    # New ones: better than if they came as they are liked by everybody alike, and in lists of all films.
    among = [_recall(s[few], newly[few][:, new]) for s in (scores[:, new], np.tile(plain.mean(), scores[:, new].shape))]
    assert among[0] > 1.5 * among[1]
    masked = scores.copy()
    masked[:, new] = -np.inf
    assert _ndcg(scores, shown, wanted + newly) > 1.1 * _ndcg(masked, shown, wanted + newly)


def _matrix(rows, place):
    users, items = (axis.get_indexer(rows[name]) for axis, name in zip(place, ("user_id", "item_id"), strict=True))
    there = (users >= 0) & (items >= 0)
    return csr_matrix((np.ones(there.sum(), np.float32), (users[there], items[there])), shape=tuple(map(len, place)))


def _ndcg(scores, shown, wanted):
    some = np.flatnonzero(wanted.getnnz(axis=1))
    lists = ranking.top(scores[some].copy(), shown[some], ranking.K)
    return measures.ndcg(ranking.hits(lists, wanted[some]), wanted[some].getnnz(axis=1)).mean()


def _recall(scores, wanted):
    lists = ranking.top(scores.copy(), csr_matrix(wanted.shape), ranking.K)
    return (ranking.hits(lists, wanted).sum(axis=1) / np.minimum(wanted.getnnz(axis=1), ranking.K)).mean()
