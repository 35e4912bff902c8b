"""How often new items are shown: as often as validation rows ask for those that they ask for."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.generation.new_items import Known, Mapped, scale

ITEMS, USERS, NEW = pa.array([f"i{n:02}" for n in range(40)]), pa.array([f"u{n:02}" for n in range(50)]), 60


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    history = csr_matrix((rng.random((len(USERS), len(ITEMS))) < 0.2).astype(np.float32))
    said = rng.standard_normal((len(USERS), len(ITEMS))).astype(np.float32)
    known = Known(ITEMS, USERS, history, np.arange(len(ITEMS)), np.zeros(len(ITEMS), bool))
    weights = csr_matrix(rng.random((NEW, len(ITEMS))) * (rng.random((NEW, len(ITEMS))) < 0.2), dtype=np.float32)
    mapped = Mapped(pa.array([f"new{n:02}" for n in range(NEW)]), np.eye(NEW, dtype=np.float32), weights)
    fresh = [(user, f"new{rng.integers(NEW // 3):02}") for user in USERS.to_pylist()]
    users, items = zip(
        *fresh, *((user, ITEMS[int(rng.integers(40))].as_py()) for user in USERS.to_pylist()), strict=True
    )
    valid = pa.table({"user_id": list(users), "item_id": list(items), "timestamp": np.arange(len(users))})
    return mapped, known, SimpleNamespace(predict=lambda rows: said[: len(rows)]), valid


def some(mapped, place):
    return Mapped(mapped.names.take(pa.array(place)), mapped.content[place], mapped.weights[place])


def test_items_that_nobody_could_ask_for_yet_take_no_places_from_those_that_are_asked_for(shop):
    mapped, known, victim, valid = shop
    asked = np.flatnonzero(np.isin(mapped.names.to_pylist(), valid["item_id"].to_pylist()))
    assert 10 < len(asked) <= NEW // 3
    every, alone = (scale(each, known, victim, valid, None, 0) for each in (mapped, some(mapped, asked)))
    assert every == pytest.approx(alone)


def test_what_a_victim_was_shown_by_validation_rows_takes_no_places(shop):
    mapped, known, victim, valid = shop
    bought = ITEMS.slice(0, 5).to_pylist()
    leads = 2 * np.isin(ITEMS.to_pylist(), bought).astype(np.float32)
    loved = SimpleNamespace(predict=lambda rows: victim.predict(rows) + leads)
    more = [(user, item) for user in USERS.to_pylist() for item in bought]
    users, items = zip(*more, strict=True)
    with_them = pa.table({"user_id": list(users), "item_id": list(items), "timestamp": np.arange(len(more))})
    with_them = pa.concat_tables([valid, with_them])
    assert scale(mapped, known, loved, with_them, 0.5, 0) < 0.9 * scale(mapped, known, loved, valid, 0.5, 0)


def test_where_validation_rows_ask_for_none_all_new_items_count(shop):
    mapped, known, victim, valid = shop
    none = valid.slice(len(USERS))
    few = scale(some(mapped, np.arange(20)), known, victim, none, 0.5, 0)
    assert scale(mapped, known, victim, none, 0.5, 0) < few  # more of them fill as many places sooner
