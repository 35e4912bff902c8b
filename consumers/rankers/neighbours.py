"""Item neighbours (Sarwar et al., 2001; Deshpande & Karypis, 2004): shrunk cosines, the nearest alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field
from scipy.sparse import diags

from consumers.rankers.base import Arrays, ByItems, Recency, Rows


class Neighbours(ByItems):
    name = "neighbours"
    grid = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

    class Options(Recency):
        """Of item neighbours."""

        neighbours: int = Field(100, ge=1, description="So many of each item.")

    options: Options

    def fit(self, rows: Rows, l2s: Sequence[float]) -> Iterator[Arrays]:
        """l2 is added to the norms' product, so that items that few users tell about are near to none."""
        weighted = diags(rows.weights.astype(np.float32)) @ rows.inputs
        together = (weighted.T @ rows.targets).toarray().astype(np.float32)
        shown, wanted = (np.sqrt(x.power(2).T @ rows.weights) for x in (rows.inputs, rows.targets))
        np.fill_diagonal(together, 0)
        norms = np.outer(shown, wanted).astype(np.float32)
        count = min(self.options.neighbours, len(together))
        for l2 in l2s:
            near = together / np.maximum(norms + np.float32(l2), np.float32(1e-6))
            bar = -np.partition(-near, count - 1, axis=0)[count - 1]
            yield {"items": np.where(near >= bar, near, 0) * rows.worth}
