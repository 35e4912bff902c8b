"""Whatever few rows a test holds, every metric has a value or is not a number, and the verdict says which."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.cli.terminal import verdict_table
from augment.judging.verdict import compare, decide
from augment.runs.result import _plain
from consumers import ClickModel, Recommender, Sentiment

tiny = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(0, 2)), min_size=1, max_size=7
)


def table(drawn, prefix="t"):
    """Rows (user, item, label, hour) as a prepared split has them, whatever the task."""
    users, items, labels, hours = zip(*drawn, strict=True)
    rng = np.random.default_rng(len(drawn))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(4 * len(drawn)), pa.float32()), 4)
    return pa.table(
        {
            "row_id": [f"{prefix}{i}" for i in range(len(drawn))],
            "user_id": pa.array([f"u{u}" if u else None for u in users], pa.string()),
            "item_id": [f"i{i}" for i in items],
            "timestamp": pa.array(hours, pa.int64()),
            "label": pa.array(labels, pa.float32()),
            "text": [f"item {i} at {h}" for i, h in zip(items, hours, strict=True)],
            "segment": [f"s{i}" for i in items],
            "hour": [f"h{h}" for h in hours],
            "price": [f"q{i}" for i in items],
            "embedding": vectors,
        }
    )


@pytest.fixture(scope="module")
def history():
    rng = np.random.default_rng(1)
    drawn = [(int(u), int(i), bool(label), int(h)) for u, i, label, h in rng.integers([4, 4, 2, 3], size=(120, 4))]
    return table(drawn[:90], "a"), table(drawn[90:], "b")


@pytest.fixture(scope="module")
def clicks(history):
    return ClickModel(model="logistic", epochs=1, weight_decay=0.03).fit(
        *(t.drop_columns(["embedding"]) for t in history)
    )


@pytest.fixture(scope="module")
def reviews(history):
    return Sentiment(C=1.0, attacked_rows=5, variants=2, held_out=1).fit(*history)


@pytest.fixture(scope="module")
def shop():
    """Users 1 to 3 know an item each."""
    known, later = ([(u, i, True, 0) for u, i in pairs] for pairs in (((1, 0), (2, 1), (3, 2)), ((1, 1), (2, 2))))
    return Recommender(l2=10.0).fit(*(table(part).select(["user_id", "item_id"]) for part in (known, later)))


def check(model, test, attacked):
    """All metrics are there, and a comparison of the model with itself ends in words, whatever it is asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.evaluate(test, attacked)
    named = [metric for group in model.metrics.values() for metric in group]
    assert set(found) == set(named)
    compared = compare([found] * 2, [found] * 2, [found] * 2, "itself", draws=20, confidence=0.95, seed=0)
    for metric in named:
        verdict = decide(compared, [metric], named, tolerance=0.01, confidence=0.95)
        assert not verdict.accepted
        assert ("not measurable" in verdict.reason) == (not compared[metric].measured)
    plain = {name: _plain(c) for name, c in compared.items()}
    json.dumps(plain, allow_nan=False)
    unmeasured = sum(not c.measured for c in compared.values())
    assert verdict_table(plain).count("not measurable") == unmeasured


@tiny
@given(rows)
def test_clicks(clicks, drawn):
    test = table(drawn).drop_columns(["embedding"])
    check(clicks, test, clicks.attacks(test, 0))


@tiny
@given(rows)
def test_reviews(reviews, drawn):
    test = table(drawn)
    made = reviews.attacks(test, 0)
    vectors = {name: pool["row_id"].to_pylist() for name, pool in made.items()}
    place = {row: i for i, row in enumerate(test["row_id"].to_pylist())}
    made = {
        name: pool.append_column("embedding", test["embedding"].take(pa.array([place[row] for row in vectors[name]])))
        for name, pool in made.items()
    }
    check(reviews, test, made)


@tiny
@given(rows)
def test_recommender(shop, drawn):
    named = table([(max(1, user), *rest) for user, *rest in drawn])
    check(shop, named.select(["user_id", "item_id"]), shop.attacks(named, 0))
