"""EASE beside a factor model: each user's scores of both, standardised, are added.

EASE knows which items go together, also rare pairs of popular ones; a factor model generalises to the tail. They err on
different users, so their sum ranks better than either. It serves no vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.sparse import csr_matrix

from augment.numeric.ease import product
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

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        factors = next(self._factors.fit(rows, self._factors.grid))
        for arrays in EASE(EASE.Options(), self.seed, self.device).fit(rows, l2s):
            yield {"items": arrays["items"], **factors}

    @property
    def _factors(self) -> MF:
        return MF(MF.Options(fold_in=1.0), self.seed, self.device)

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        return standardised(product(shown, arrays["items"])) + self.of_factors(arrays, shown, users)

    def of_factors(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        """float32[n, I]: the factor model's part of `scores`."""
        return standardised(self._factors.scores(arrays, shown, users))
