"""EASE (Steck, 2019), and EDLAE (Steck, 2020) where training hides part of each history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from augment.numeric.ease import ease_path
from consumers.rankers.base import Arrays, ByItems, Recency, Rows


class EASE(ByItems):
    name = "ease"
    grid = (50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0)

    class Options(Recency):
        """Of EASE."""

        dropout: float = Field(
            0.0, ge=0, lt=1, description="Share of a history that training hides, in closed form (EDLAE)."
        )

    options: Options

    def fit(self, rows: Rows, l2s: Sequence[float]) -> Iterator[Arrays]:
        ridges: Sequence[Any] = l2s
        if hidden := self.options.dropout:  # in closed form: p / (1 − p) of an item's interactions more
            more = hidden / (1 - hidden) * (rows.inputs.T @ rows.weights)
            ridges = [l2 + more for l2 in l2s]
        aims = None if rows.targets is rows.inputs else rows.targets
        # The columns are least squares of their own: each scales with its target. `map` keeps no matrix alive.
        yield from map(partial(_worth, rows.worth), ease_path(rows.inputs, aims, ridges, rows.weights))


def _worth(worth: np.ndarray, solved: np.ndarray) -> Arrays:
    solved *= worth
    return {"items": solved}
