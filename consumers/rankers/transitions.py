"""First-order transitions, a Markov chain over items: what follows an item in time, smoothed by what is popular."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.sparse import csr_matrix, diags

from augment.numeric.histories import by_time
from consumers.rankers.base import Arrays, ByItems, Recency, Rows


class Transitions(ByItems):
    name = "transitions"
    grid = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

    class Options(Recency):
        """Of transitions."""

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        """Dirichlet smoothing: l2 counts of what is popular beside an item's own (MacKay & Peto, 1995)."""
        follows = _follows(rows)
        np.fill_diagonal(follows, 0)
        left = follows.sum(axis=1, keepdims=True)
        popular = np.asarray(rows.targets.T @ rows.weights, np.float32)
        popular /= max(popular.sum(), 1e-12)
        for l2 in l2s:
            chance = (follows + np.float32(l2) * popular) / np.maximum(left + l2, 1e-6)
            yield {"items": (chance * rows.worth).astype(np.float32)}


def _follows(rows: Rows) -> np.ndarray:
    """float32[I, I]: how often the second item comes next after the first.

    In a user's own order; where there is none, as a synthetic user's items have none, in the mean over all orders of
    its n targets: any item follows any other in one of n.
    """
    items = rows.order.shape[1]
    owner, item = by_time(rows.order)
    pair = owner[1:] == owner[:-1]
    place = item[:-1][pair], item[1:][pair]
    counted = csr_matrix((rows.weights[owner[1:][pair]], place), shape=(items, items)).toarray()
    length = rows.targets.getnnz(axis=1)
    share = rows.weights / np.maximum(length, 1) * (rows.order.getnnz(axis=1) == 0)
    return (counted + (rows.inputs.T @ diags(share) @ rows.targets).toarray(order="C")).astype(np.float32)
