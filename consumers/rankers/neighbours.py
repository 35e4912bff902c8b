"""Item neighbours (Sarwar et al., 2001; Deshpande & Karypis, 2004): shrunk cosines, the nearest alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from pydantic import Field
from scipy.sparse import csc_matrix, diags

from consumers.rankers.base import Arrays, ByItems, Recency, Rows


class Neighbours(ByItems):
    name = "neighbours"
    grid = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

    class Options(Recency):
        """Of item neighbours."""

        neighbours: int = Field(100, ge=1, description="So many of each item.")

    options: Options

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        """l2 is added to the norms' product, so that items that few users tell about are near to none."""
        weighted = diags(rows.weights.astype(np.float32)) @ rows.inputs
        together = (weighted.T @ rows.targets).tocsc().astype(np.float32)
        together.setdiag(0)
        together.eliminate_zeros()
        shown, wanted = (np.sqrt(x.power(2).T @ rows.weights) for x in (rows.inputs, rows.targets))
        column = np.repeat(np.arange(together.shape[1]), np.diff(together.indptr))
        norms = (shown[together.indices] * wanted[column]).astype(np.float32)
        for l2 in l2s:
            near = together.copy()
            near.data /= np.maximum(norms + np.float32(l2), np.float32(1e-6))
            _keep(near, self.options.neighbours)
            near.data *= rows.worth[column]
            yield {"items": near.toarray(order="C")}


def _keep(near: csc_matrix, count: int) -> None:
    """Of each column the `count` highest entries stay, and those equal to the least of them."""
    for start, stop in pairwise(near.indptr):
        if stop - start > count:
            own = near.data[start:stop]
            own[own < np.partition(own, -count)[-count]] = 0
