"""Content stuffed with that of best sellers is told from honest content, and gets no row."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.contracts.tally import STUFFED, Tally
from augment.generation.new_items import Known, Mapped, honest
from augment.numeric.vectors import unit
from augment.recipes.schema import Gates
from augment.watch import stuffing
from augment.watch.stuffing import honesty

KINDS, EACH, DIM = 12, 40, 64


def likely(rng, kind, count):
    """Honest content: near the middle of its kind."""
    middle = np.random.default_rng(99).standard_normal((KINDS, DIM))[kind]
    return unit(middle + 0.7 * rng.standard_normal((count, DIM)))


@pytest.fixture(scope="module")
def shop():
    """Known items, their popularity, honest new ones; and of each the mean with three best sellers of other kinds."""
    rng = np.random.default_rng(0)
    known = np.concatenate([likely(rng, kind, EACH) for kind in range(KINDS)])
    popularity = rng.integers(1, 30, len(known))
    best = np.arange(1, 4) * EACH * 2
    popularity[best] = 500
    new = np.concatenate([likely(rng, kind, 5) for kind in (1, 9, 11)])
    return known, popularity, new, unit(new + known[best].sum(axis=0)), best


def test_sums_of_best_sellers_are_found_and_honest_items_are_not(shop):
    known, popularity, new, stuffed, _ = shop
    assert (honesty(stuffed, known, popularity) <= 0.01).all()
    assert (honesty(new, known, popularity) > 0.01).all()


def test_known_items_are_as_usual_as_their_share(shop):
    known, popularity, *_ = shop
    held = np.arange(0, len(known), 2)
    rest = np.setdiff1d(np.arange(len(known)), held)
    usual = honesty(known[held], known[rest], popularity[rest])
    assert 0.02 < (usual <= 0.1).mean() < 0.25


def test_what_hardly_anyone_wants_is_no_gain_to_be_taken_for(shop):
    known, popularity, _, stuffed, best = shop
    plain = popularity.copy()
    plain[best] = 1
    assert honesty(stuffed, known, plain).mean() > honesty(stuffed, known, popularity).mean()


def test_items_of_no_content_and_copies_are_not_called_stuffed(shop):
    known, popularity, _, _, best = shop
    odd = np.concatenate([np.zeros((1, DIM), np.float32), known[best]])
    assert (honesty(odd, known, popularity) > 0.5).all()
    assert (honesty(odd, np.concatenate([known, known]), np.tile(popularity, 2)) > 0.05).all()


def test_blocks_do_not_matter(shop, monkeypatch):
    known, popularity, new, stuffed, _ = shop
    every = np.concatenate([new, stuffed])
    whole = honesty(every, known, popularity)
    monkeypatch.setattr(stuffing, "ITEMS", 7)
    assert np.array_equal(whole, honesty(every, known, popularity))


def test_of_few_known_items_nothing_is_called_stuffed(shop):
    known, popularity, _, stuffed, _ = shop
    assert (honesty(stuffed, known[:2], popularity[:2]) > 0.3).all()


def test_stuffed_items_get_no_row_and_are_counted(shop, capsys):
    vectors, popularity, new, stuffed, _ = shop
    users = np.concatenate([np.arange(count) for count in popularity])
    items = np.repeat(np.arange(len(vectors)), popularity)
    history = csr_matrix((np.ones(len(items), np.float32), (users, items)))
    names = [f"i{n}" for n in range(len(vectors))]
    users = pa.array([f"u{n}" for n in range(500)])
    known = Known(pa.array(names), users, history, np.arange(len(vectors)), np.zeros(len(vectors), bool))
    content = np.concatenate([new, stuffed[:2]])
    weights = csr_matrix(np.eye(len(content), len(vectors), dtype=np.float32))
    mapped = Mapped(pa.array([f"n{n}" for n in range(len(content))]), content, weights)
    tally = Tally(proposed=len(content))
    left = honest(mapped, vectors, known, 0.02, tally)
    assert left.names.to_pylist() == [f"n{n}" for n in range(len(new))]
    assert (left.weights != weights[: len(new)]).nnz == 0
    assert tally.refused[STUFFED] == 2
    assert "2 stuffed" in tally.fate(Gates())
    assert "new_items.stuffed = 0" in tally.fate(Gates())
    assert f"n{len(new)}" in capsys.readouterr().err
    assert len(honest(mapped, vectors, known, 0.0, tally).names) == len(content)
