"""What is popular, for everybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.sparse import csr_matrix

from augment.contracts.options import BaseOptions
from consumers.rankers.base import Arrays, Ranker, Rows


class Popular(Ranker):
    name = "popular"
    grid = (0.0,)

    class Options(BaseOptions):
        """None: what is popular is counted."""

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        for _ in l2s:
            yield {"popularity": np.asarray(rows.targets.T @ rows.weights, np.float32) * rows.worth}

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        return np.tile(arrays["popularity"], (len(users), 1))
