"""Matrix factorisation of implicit feedback by alternating least squares (iALS; Hu et al., 2008).

Squared error of all scores: 1 for what a user has, 0, at the weight `unobserved`, for every item. A factor's ridge
grows with how much it explains (Rendle et al., 2022). Users are folded in from what they show, so they may be new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from pydantic import Field
from scipy.linalg.lapack import sposv
from scipy.sparse import csr_matrix, diags

from consumers.rankers.base import Arrays, Ranker, Recency, Rows

SWEEPS = 8


class ALS(Ranker):
    name = "als"
    grid = (0.001, 0.003, 0.01, 0.03, 0.1)
    chance = True

    class Options(Recency):
        """Of alternating least squares."""

        dim: int = Field(64, ge=1, description="Factors of a user, and of an item.")
        unobserved: float = Field(0.1, ge=0, description="What an item that a user does not have weighs.")

    options: Options

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        aims, dim, unobserved = rows.aims, self.options.dim, self.options.unobserved
        by_item = (diags(rows.weights.astype(np.float32)) @ aims).T.tocsr()
        everyone, everything = rows.weights.astype(np.float32), np.ones(aims.shape[1], np.float32)
        for l2 in l2s:
            random = np.random.default_rng(self.seed)
            item = (random.standard_normal((aims.shape[1], dim)) * 0.1 / dim**0.5).astype(np.float32)
            for _ in range(SWEEPS):
                user = _solved(aims, item, everything, l2, unobserved)
                item = _solved(by_item, user, everyone, l2, unobserved)
            yield {"item": item, "fold_in": np.array([l2, unobserved])}

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        item = arrays["item"]
        l2, unobserved = arrays["fold_in"].tolist()
        return _solved(shown, item, np.ones(len(item), np.float32), l2, unobserved) @ item.T


def _solved(counted: csr_matrix, others: np.ndarray, weights: np.ndarray, l2: float, unobserved: float) -> np.ndarray:
    """float32[n, D]: the factors that fit each row of `counted` float32[n, m] best.

    others: float32[m, D], the factors of the other side; weights: float32[m], how much each of them counts unobserved.
    """
    every = unobserved * (others.T * weights) @ others
    ridge = l2 * (np.asarray(counted.sum(axis=1)).ravel() + unobserved * weights.sum())
    diagonal = slice(None, None, others.shape[1] + 1)
    right = np.asarray(counted @ others, np.float32)
    for row, (start, stop) in enumerate(pairwise(counted.indptr)):
        own = others[counted.indices[start:stop]]
        left = (own.T * counted.data[start:stop]) @ own
        left += every
        left.ravel()[diagonal] += max(ridge[row], 1e-6)
        right[row] = sposv(left.T, right[row], overwrite_a=1)[1]
    return right
