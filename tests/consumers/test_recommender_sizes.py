"""Little data: a recommender works, or says in one sentence what is too little. Whatever happens, nothing breaks."""

import numpy as np
import pyarrow as pa
import pytest

from augment.base.errors import BadInput
from consumers import Recommender
from consumers.rankers import RANKERS

SHAPES = {  # rows → users, items
    "one user": lambda n: (["u"] * n, [f"i{k}" for k in range(n)]),
    "one user, few items": lambda n: (["u"] * n, [f"i{k % 7}" for k in range(n)]),
    "one item": lambda n: ([f"u{k}" for k in range(n)], ["i"] * n),
    "one row per user": lambda n: ([f"u{k}" for k in range(n)], [f"i{k % 5}" for k in range(n)]),
    "one row per user and item": lambda n: ([f"u{k}" for k in range(n)], [f"i{k}" for k in range(n)]),
    "two users": lambda n: ([f"u{k % 2}" for k in range(n)], [f"i{k // 2}" for k in range(n)]),
    "two items": lambda n: ([f"u{k // 2}" for k in range(n)], [f"i{k % 2}" for k in range(n)]),
    "a few of each": lambda n: ([f"u{k % 6}" for k in range(n)], [f"i{k * k % 11}" for k in range(n)]),
}


def splits(shape, rows):
    users, items = SHAPES[shape](rows)
    table = pa.table({"user_id": pa.array(users, pa.string()), "item_id": pa.array(items, pa.string())})
    first, second = round(0.7 * rows), round(0.8 * rows)
    return table.slice(0, first), table.slice(first, second - first), table.slice(second)


def walked(settings, tables):
    """Everything that a run asks of a recommender; its measures, none where it says that there is too little."""
    train, valid, test = tables
    try:
        model = Recommender(**settings).fit(train, valid)
    except BadInput as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "\n" not in said
        assert said.startswith("recommender: ")
        assert "give more data" in said
        return {}
    names, vectors = model.tables()["item_id"]
    assert len(names) == len(vectors) > 1
    assert np.isfinite(vectors).all()
    assert np.isfinite(model.predict(test)).all()
    model.as_victim()
    return {name: measure.value() for name, measure in model.evaluate(test, model.attacks(test, 0)).items()}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("settings", [{}, {"l2": 100.0, "recency": 0.0}], ids=["tuned", "set"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_works_or_is_refused_in_a_sentence(shape, settings):
    for rows in range(51):
        found = walked(settings, splits(shape, rows))
        # A value that nothing tells is NaN, none is infinite.
        assert not any(np.isinf(value) for value in found.values()), (rows, found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "settings", [{"suspects": 0.2, "propensity": 0.3}, {"dropout": 0.3}, {"model": "mf", "loss": "bpr", "distill": 1.0}]
    + [{"model": model} for model in RANKERS if model != "ease"],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("shape", SHAPES)
def test_so_does_every_model(shape, settings):
    short = {"epochs": 1} if settings.get("model") in ("mf", "lightgcn") else {}
    for rows in (1, 2, 3, 5, 9, 20, 50):
        walked({"l2": 1.0, **settings, **short}, splits(shape, rows))


@pytest.mark.parametrize(
    ("shape", "rows", "said"),
    [
        ("one user", 50, "takes at least 2 users and 2 items; the training rows have 1 and 35"),
        ("one item", 20, "have 14 and 1"),
        ("a few of each", 0, "have 0 and 0"),
        ("one row per user", 20, "no validation row has an item of training that is new to its user"),
    ],
)
def test_what_is_too_little_is_said(shape, rows, said):
    with pytest.raises(BadInput, match=said):
        Recommender().fit(*splits(shape, rows)[:2])


def test_where_nothing_is_tuned_no_validation_row_is_needed():
    train, _, test = splits("a few of each", 50)
    model = Recommender(l2=10.0, recency=3.0, recency_floor=0.0).fit(train, train.slice(0, 0))
    assert np.isfinite(model.evaluate(test, {})["ndcg@20"].value())
