"""New items of a mix, for a consumer that scores items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.columns import whole
from augment.numeric.new_items import MET, new_scores, rows_of, standardised, weights_of
from consumers.data import storage


def unknown(rows: pa.Table, items: pa.Array) -> pa.Array:
    """Items of rows that `items` does not hold, sorted."""
    names = pc.unique(whole(rows["item_id"]))
    return names.filter(pc.invert(pc.is_in(names, items))).sort()


@dataclass(frozen=True)
class NewItems:
    """names: their ids; weights: float32[N, I] of the items that the consumer knows.

    place: int64[N], where those are among the consumer's items that it has met, though too seldom; −1 for the others.
    """

    names: pa.Array
    weights: csr_matrix
    place: np.ndarray

    @classmethod
    def of(cls, mix: pa.Table | None, items: pa.Array, met: np.ndarray) -> NewItems:
        """Those of published samples that `items` does not hold, or that have fewer than `MET` of met int64[I]."""
        if mix is None:
            return cls.none(len(items))
        rows = rows_of(mix)
        place = place_of(rows["anchor_id"], items)
        some = np.flatnonzero((place < 0) | (met[place] < MET))
        rows = rows.take(pa.array(some))
        return cls(rows["anchor_id"].combine_chunks(), weights_of(rows, items), place[some])

    @classmethod
    def none(cls, items: int) -> NewItems:
        return cls(pa.array([], pa.string()), csr_matrix((0, items), dtype=np.float32), np.empty(0, np.int64))

    def listed(self, test: pa.Table, was_new: pa.Array, items: pa.Array) -> pa.Array:
        """Ids of the new items among which a test's are to be found, first those that it asks about, sorted.

        New are those that `items`, a consumer's own, do not hold: of test rows, and all others that have rows here, but
        for those that had their day in validation rows (`was_new`). Empty where no test row asks about any.
        """
        asked = unknown(test, items)
        if not len(asked):
            return asked
        fresh = self.names.filter(pa.array(self.place < 0))
        idle = pc.invert(pc.is_in(fresh, pa.concat_arrays([asked, was_new])))
        return pa.concat_arrays([asked, fresh.filter(idle)])

    def beside(self, scores: np.ndarray, history: csr_matrix, names: pa.Array) -> np.ndarray:
        """float32[n, I + len(names)]: standardised scores of the known items, and of these new ones; −∞ without a row.

        scores: float32[n, I] of users who have `history` [n, I]. For known items that few have met stand their rows.
        """
        known, young = standardised(scores), np.flatnonzero(self.place >= 0)
        if len(young):
            known[:, self.place[young]] = new_scores(scores, history, self.weights[young])
        out = np.full((len(scores), len(names)), -np.inf, np.float32)
        place = pc.index_in(names, self.names)
        some = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
        if len(some):
            out[:, some] = new_scores(scores, history, self.weights[place.drop_null().to_numpy()])
        return np.concatenate([known, out], axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        return storage.sparse("new", self.weights)

    @classmethod
    def stored(cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], items: pa.Array) -> NewItems:
        """Those of a saved model, taken out of its arrays; none of one of before there were any."""
        if "new.data" not in arrays:
            return cls.none(len(items))
        names = pa.array(settings["new"], pa.string())
        return cls(names, storage.take_sparse(arrays, "new", len(items)), place_of(names, items))


def place_of(names: pa.Array | pa.ChunkedArray, items: pa.Array) -> np.ndarray:
    """int64[n]: of each name among `items`, −1 where that has it not."""
    return pc.fill_null(pc.index_in(whole(names), items), -1).to_numpy(zero_copy_only=False).astype(np.int64)
