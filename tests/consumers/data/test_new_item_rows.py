"""Rows of new items beside the scores of known ones, and in their place where few have met an item."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.numeric.new_items import MET, standardised
from consumers import Recommender
from consumers.data.new_items import NewItems

ITEMS = pa.array([f"i{n}" for n in range(6)])


def mix(**neighbours):
    """Item → its neighbours and their weights."""
    names, said = list(neighbours), list(neighbours.values())
    none = pa.array([[]] * len(names), pa.list_(pa.string()))
    wanted = pa.array([[name] for name in names], pa.list_(pa.string()))
    return pa.table({
        "sample_id": names,
        "day": ["all"] * len(names),
        "strategy": ["new-items"] * len(names),
        "anchor_id": names,
        "decoded": pa.StructArray.from_arrays([none, wanted, none], names=["items", "targets", "negatives"]),
        "weight": pa.array([1.0] * len(names), pa.float32()),
        "neighbour_ids": [list(near) for near in said],
        "neighbour_weights": pa.array([list(near.values()) for near in said], pa.list_(pa.float32())),
    })  # fmt: skip


def met(**seldom):
    counts = np.full(len(ITEMS), 50)
    for name, count in seldom.items():
        counts[ITEMS.index(name).as_py()] = count
    return counts


def test_a_row_stands_for_an_item_until_enough_users_have_met_it():
    rows = mix(new={"i0": 1.0}, i4={"i1": 2.0}, i5={"i2": 3.0})
    scores = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    found = NewItems.of(rows, ITEMS, met(i4=MET - 1, i5=MET))
    assert found.names.to_pylist() == ["i4", "new"]
    beside = found.beside(scores, csr_matrix((3, 6), dtype=np.float32), pa.array(["new"]))
    own = standardised(scores)
    assert np.allclose(beside[:, 4], 2 * own[:, 1])
    assert np.allclose(beside[:, 6], own[:, 0])
    assert np.array_equal(beside[:, [0, 1, 2, 3, 5]], own[:, [0, 1, 2, 3, 5]])


def test_what_a_user_has_counts_for_it_as_for_a_new_one():
    history = csr_matrix(([1.0], ([0], [1])), shape=(1, 6), dtype=np.float32)
    scores = np.arange(6, dtype=np.float32)[None]
    found = NewItems.of(mix(i4={"i1": 1.0}, new={"i1": 1.0}), ITEMS, met(i4=1))
    beside = found.beside(scores, history, pa.array(["new"]))
    assert beside[0, 4] == pytest.approx(beside[0, 6])
    assert beside[0, 4] > standardised(scores)[0, 1]


def test_an_item_that_few_have_met_is_listed_among_known_ones_alone():
    found = NewItems.of(mix(new={"i0": 1.0}, other={"i0": 1.0}, i4={"i1": 2.0}), ITEMS, met(i4=1))
    asked = pa.table({"item_id": ["new", "i1"]})
    assert found.listed(asked, pa.array([], pa.string()), ITEMS).to_pylist() == ["new", "other"]
    assert found.listed(asked, pa.array(["other"]), ITEMS).to_pylist() == ["new"]
    assert not len(found.listed(pa.table({"item_id": ["i4"]}), pa.array([], pa.string()), ITEMS))


def log(*pairs):
    users, items = zip(*pairs, strict=True)
    return pa.table({"user_id": list(users), "item_id": list(items), "timestamp": np.arange(len(pairs))})


def test_one_fake_user_does_not_undo_a_row(tmp_path):
    rng = np.random.default_rng(0)
    liked = [(f"u{u}", f"k{u % 4}-{n}") for u in range(80) for n in rng.choice(20, 10, replace=False)]
    fake = [("fake", f"k{k}-{n}") for k in range(4) for n in range(4)] + [("fake", "pushed")]
    valid = log(*((f"u{u}", f"k{u % 4}-{n}") for u in range(80) for n in range(2)))
    test = log(*((f"u{u}", name) for u in range(0, 80, 4) for name in ("pushed", "new")))
    like = {f"k0-{n}": 0.3 for n in range(20)}
    found = {
        name: Recommender(l2=20.0, recency=0.0).fit(log(*liked, *fake), valid, rows)
        for name, rows in {"row": mix(pushed=like, new=like), "none": mix(new=like)}.items()
    }
    assert "pushed" in found["row"].items_.to_pylist()
    worth = {name: model.evaluate(test, {})["ndcg_all@20"].value() for name, model in found.items()}
    assert worth["row"] > worth["none"] + 0.05
    found["row"].save(tmp_path)
    assert Recommender.load(tmp_path).evaluate(test, {})["ndcg_all@20"].value() == pytest.approx(worth["row"])
