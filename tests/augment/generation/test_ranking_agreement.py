"""How far a user's hidden items outrank what the user has not: counted, as sorting tells it."""

import numpy as np
import pyarrow as pa
import pytest

from augment.contracts.values import Candidates
from augment.gates.rankings import RankingValidity

ITEMS = [f"i{place:02}" for place in range(40)]


@pytest.fixture
def wanted():
    rng = np.random.default_rng(0)
    return [[*ITEMS], *(rng.choice(ITEMS, rng.integers(4, 20), replace=False).tolist() for _ in range(40))]


def test_agreement_is_the_share_of_other_items_that_hidden_ones_outrank(wanted):
    anchors = pa.table({"targets": wanted})
    validity = RankingValidity(anchors, 0.1, seed=0)
    shown = [[*items[: len(items) // 2], "new"] for items in wanted]
    rows = pa.table({"items": shown, "targets": wanted})
    every = np.arange(len(wanted))
    found = validity.agreement(Candidates(every, rows, np.zeros((len(every), 1), np.float32)))
    names = validity._items.to_pylist()
    scores = validity._fitted.scores(every, validity._matrix(rows["items"]))
    assert found[0] == 1  # has every item: nothing to outrank
    for row in every[1:]:
        others = np.sort([s for s, name in zip(scores[row], names, strict=True) if name not in wanted[row]])
        hidden = [scores[row][names.index(name)] for name in wanted[row] if name not in shown[row]]
        assert found[row] == np.float32(np.searchsorted(others, hidden).mean() / len(others))


def test_a_user_who_hides_nothing_is_not_in_doubt(wanted):
    anchors = pa.table({"targets": wanted})
    rows = pa.table({"items": wanted[3:5], "targets": wanted[3:5]})
    candidates = Candidates(np.array([3, 4]), rows, np.zeros((2, 1), np.float32))
    assert RankingValidity(anchors, 0.1, seed=0).agreement(candidates).tolist() == [1, 1]
