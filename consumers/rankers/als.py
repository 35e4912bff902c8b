"""Matrix factorisation of implicit feedback by alternating least squares (iALS; Hu et al., 2008).

Squared error of all scores: 1 for what a user has, 0, at the weight `unobserved`, for every item. A factor's ridge
grows with how much it explains (Rendle et al., 2022). Users are folded in from what they show, so they may be new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from pydantic import Field
from scipy.linalg.lapack import sposv
from scipy.sparse import csr_matrix, diags

from consumers.rankers.base import Arrays, Ranker, Recency, Rows

SWEEPS = 8
PADDED = 1 << 14  # entries of short rows at a time


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
    ridge = np.maximum(ridge, 1e-6).astype(np.float32)
    lengths = np.diff(counted.indptr)
    order = np.argsort(lengths, kind="stable")
    short = int(np.searchsorted(lengths[order], others.shape[1]))
    found = np.empty((len(ridge), others.shape[1]), np.float32)
    found[order[:short]] = _of_short(counted, order[:short], others, every, ridge)
    for row in order[short:].tolist():
        found[row] = _of_long(counted, row, others, every, ridge[row])
    return found


def _of_long(counted: csr_matrix, row: int, others: np.ndarray, every: np.ndarray, ridge: np.float32) -> np.ndarray:
    """float32[D]: D equations."""
    entries = slice(counted.indptr[row], counted.indptr[row + 1])
    own, weight = others[counted.indices[entries]], counted.data[entries]
    left = (own.T * weight) @ own
    left += every
    left.ravel()[:: len(left) + 1] += ridge
    solved: np.ndarray = sposv(left.T, weight @ own, overwrite_a=1)[1]
    return solved


def _of_short(
    counted: csr_matrix, rows: np.ndarray, others: np.ndarray, every: np.ndarray, ridge: np.ndarray
) -> np.ndarray:
    """float32[n, D] of the rows at int64[n], sorted by length: as many equations as a row has entries, many at a time.

    Where `every` is diagonal, A with the ridge, and H are a row's own factors, each times the root s of its weight and
    A^−½, what is asked for is A^−½ Hᵀ (1 + H Hᵀ)⁻¹ s, by the push-through identity (Henderson & Searle, 1981).
    """
    known, axes = np.linalg.eigh(every.astype(np.float64))
    turned, known = torch.from_numpy(others @ axes.astype(np.float32)), np.maximum(known, 0).astype(np.float32)
    lengths = np.diff(counted.indptr)[rows]
    found = np.empty((len(rows), len(known)), np.float32)
    for at in _parts(lengths):
        here = np.arange(lengths[at][-1]) < lengths[at, None]
        place = np.where(here, counted.indptr[rows[at], None] + np.arange(here.shape[1]), 0)
        root = torch.from_numpy(np.where(here, np.sqrt(counted.data[place]), 0).astype(np.float32))
        shrunk = torch.from_numpy(1 / np.sqrt(known + ridge[rows[at], None]))
        own = turned[torch.from_numpy(counted.indices[place].astype(np.int64))]
        own *= root[:, :, None]
        own *= shrunk[:, None]
        inner = own @ own.mT
        inner.diagonal(dim1=1, dim2=2).add_(1)
        solved = torch.cholesky_solve(root[:, :, None], torch.linalg.cholesky_ex(inner)[0])
        found[at] = ((solved.mT @ own)[:, 0] * shrunk).numpy()
    return found @ axes.T.astype(np.float32)


def _parts(lengths: np.ndarray) -> Iterator[slice]:
    """Runs of rows, sorted by length, that have at most `PADDED` entries when each is as long as the last."""
    start = int(np.searchsorted(lengths, 1))
    yield from [slice(0, start)] if start else []
    while start < len(lengths):
        padded = lengths[start:] * np.arange(1, len(lengths) - start + 1)
        stop = start + max(1, int(np.searchsorted(padded, PADDED, side="right")))
        yield slice(start, stop)
        start = stop
