"""The best of a ranking, found by torch: the very lists that NumPy gives, equal scores included."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse import random as some

from consumers.scoring import ranking


def by_numpy(scores, seen, k):
    scores, k = scores.copy(), min(k, scores.shape[1])
    scores[seen.nonzero()] = -np.inf
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


@pytest.mark.parametrize("items", [1, 20, 21, 300, 2000])
@pytest.mark.parametrize("steps", [0.5, 40, 1e6], ids=["most scores equal", "some equal", "none equal"])
def test_lists_are_those_that_numpy_gives(items, steps):
    rng = np.random.default_rng(items)
    scores = (np.round(rng.standard_normal((60, items)) * steps) / steps).astype(np.float32)
    seen = some(60, items, density=0.1, format="csr", random_state=1)
    np.testing.assert_array_equal(ranking.top(scores.copy(), seen, 20), by_numpy(scores, seen, 20))


def test_a_user_who_has_nearly_everything_and_no_user_at_all():
    scores = np.arange(30, dtype=np.float32)[None] * np.ones((2, 1), np.float32)
    seen = csr_matrix(np.array([[1.0] * 25 + [0.0] * 5, [0.0] * 30]))
    np.testing.assert_array_equal(ranking.top(scores.copy(), seen, 20), by_numpy(scores, seen, 20))
    assert ranking.top(scores[:0], seen[:0], 20).shape == (0, 20)
