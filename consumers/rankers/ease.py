"""EASE (Steck, 2019), and EDLAE (Steck, 2020) where training hides part of each history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix

from augment.numeric.ease import Grown, ease_path
from consumers.rankers.base import Arrays, ByItems, Recency, Rows

FEW = 0.25  # fake users for an item: more of them cost more than another inverse


class EASE(ByItems):
    name = "ease"
    grid = (50.0, 100.0, 200.0, 400.0, 800.0)

    class Options(Recency):
        """Of EASE."""

        dropout: float = Field(
            0.0, ge=0, lt=1, description="Share of a history that training hides, in closed form (EDLAE)."
        )

    options: Options

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        ridges: Iterable[Any] = l2s
        if hidden := self.options.dropout:  # in closed form: p / (1 − p) of an item's interactions more
            more = hidden / (1 - hidden) * (rows.inputs.T @ rows.weights)
            ridges = (l2 + more for l2 in l2s)
        # The columns are least squares of their own: each scales with its target. `map` keeps no matrix alive.
        yield from map(partial(_worth, rows.worth), ease_path(rows.inputs, _aims(rows), ridges, rows.weights))

    def grown(self, rows: Rows, others: Iterable[Rows], l2: float) -> Iterator[Arrays]:
        """One inverse serves all, but for those whose fake users change what others count, or are many."""
        known = None
        for other in others:
            fakes = np.arange(rows.users, rows.users + len(other.weights) - len(rows.weights))
            same = np.array_equal(np.delete(other.weights, fakes), rows.weights)
            if not same or self.options.dropout or len(fakes) > FEW * rows.inputs.shape[1]:
                yield next(self.fit(other, (l2,)))
                continue
            known = known or Grown(rows.inputs, _aims(rows), l2, rows.weights)
            yield _worth(other.worth, known.by(other.inputs[fakes], other.weights[fakes]))


def _aims(rows: Rows) -> csr_matrix | None:
    return None if rows.targets is rows.inputs else rows.targets


def _worth(worth: np.ndarray, solved: np.ndarray) -> Arrays:
    solved *= worth
    return {"items": solved}
