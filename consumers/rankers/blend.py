"""EASE beside a factor model: each user's scores of both, standardised, are added.

EASE knows which items go together, also rare pairs of popular ones; a factor model generalises to the tail. They err on
different users, so their sum ranks better than either. It serves no vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from augment.numeric.histories import recent
from augment.numeric.new_items import standardised
from consumers.rankers.base import Arrays, Ranker, Recency, Rows
from consumers.rankers.ease import EASE
from consumers.rankers.mf import MF


class Blend(Ranker):
    """l2: that of EASE; the factor model has its defaults, and the mean of what a user shows beside its own vector."""

    name = "blend"
    grid = EASE.grid
    chance = True

    class Options(Recency):
        """Of EASE beside a factor model."""

    options: Options

    def __init__(self, options: Any, seed: int = 0, device: str = "cpu") -> None:
        super().__init__(options, seed, device)
        self._ease, self._factors = EASE(EASE.Options(), seed, device), MF(MF.Options(fold_in=1.0), seed, device)

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        factors = next(self._factors.fit(rows, self._factors.grid))
        for arrays in self._ease.fit(rows, l2s):
            yield {**arrays, **factors}

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        return standardised(self._ease.scores(arrays, shown, users)) + self.of_factors(arrays, shown, users)

    def by_recency(
        self, arrays: Arrays, history: csr_matrix, recencies: Iterable[tuple[float, float]], users: np.ndarray
    ) -> Iterator[np.ndarray]:
        pairs = list(recencies)
        for one, scores in zip(pairs, self._ease.by_recency(arrays, history, pairs, users), strict=True):
            yield standardised(scores) + self.of_factors(arrays, recent(history, *one), users)

    def of_factors(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        """float32[n, I]: the factor model's part of `scores`."""
        return standardised(self._factors.scores(arrays, shown, users))
