"""Is a synthetic user's history still right? Judged by EASE models that never saw its anchor."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.base.errors import BadInput
from augment.contracts.values import Candidates, Labeller, Validity
from augment.numeric.ease import MAX_ITEMS, CrossFitted, binary_matrix


class RankingValidity(Validity):
    """Recommendation: EASE models, one per fold of users.

    agreement = share of unseen items that the anchor's hidden targets outrank (AUC) when the model of another fold
    is shown the sample's items. Of the items that an anchor has not, the `false_negative_share` that this model scores
    highest are too likely real interests to be negatives, and so is what a teacher names as a target.
    """

    def __init__(
        self, anchors: pa.Table, false_negative_share: float, seed: int, teacher: Labeller | None = None
    ) -> None:
        self._items = pc.unique(pc.list_flatten(anchors["targets"]))
        if len(self._items) > MAX_ITEMS:
            raise BadInput(
                f"{len(self._items)} items: the cross-fitted false-negative filter serves up to {MAX_ITEMS}; "
                "raise `core` in the source's split to keep the items with enough interactions"
            )
        self._fitted, self._share = CrossFitted(self._matrix(anchors["targets"]), seed), false_negative_share
        self.label = np.ones(len(anchors), np.float32)
        self.teacher = teacher

    def agreement(self, candidates: Candidates) -> np.ndarray:
        anchor, rows = candidates.anchor, candidates.rows
        shown, targets = self._matrix(rows["items"]), self._matrix(rows["targets"])
        scores = self._fitted.scores(anchor, shown)
        own = np.repeat(np.arange(len(rows)), np.diff(targets.indptr)), targets.indices
        hidden = np.asarray(shown[own] == 0).ravel()
        others = len(self._items) - np.diff(targets.indptr)
        below = np.zeros(len(rows))
        for row, item in zip(*(place[hidden].tolist() for place in own), strict=True):
            score, target = scores[row], _row(targets, row)
            below[row] += np.count_nonzero(score < score[item]) - np.count_nonzero(score[target] < score[item])
        count = np.bincount(own[0][hidden], minlength=len(rows))
        # A user who has every item, or hides none, is not in doubt.
        return np.where(count * others > 0, below / np.maximum(count, 1) / np.maximum(others, 1), 1).astype(np.float32)

    def filter(self, anchor: np.ndarray, rows: pa.Table) -> tuple[pa.Table, int]:
        """Only judged against the anchor's whole history: what a copy hides is no reason to trust a negative.

        A target is none whoever named it.
        """
        lists = rows["negatives"].combine_chunks()
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        owner = np.repeat(np.arange(len(rows)), lengths)
        item = pc.fill_null(pc.index_in(lists.flatten(), self._items), -1).to_numpy(zero_copy_only=False)
        if not len(item):
            return rows, 0
        likely = self._fitted.likeliest(anchor, self._share)
        kept = (item < 0) | ~np.asarray(likely[owner, item]).ravel()  # no anchor has it: nothing is known of it
        names = pc.unique(lists.flatten())
        wanted = binary_matrix(rows["targets"].combine_chunks(), names) > 0
        kept &= ~np.asarray(wanted[owner, pc.index_in(lists.flatten(), names).to_numpy()]).ravel()
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(rows)))])
        filtered = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), lists.flatten().filter(pa.array(kept)))
        position = rows.column_names.index("negatives")
        return rows.set_column(position, "negatives", filtered.cast(lists.type)), int((~kept).sum())

    def _matrix(self, lists: pa.ChunkedArray) -> csr_matrix:
        return binary_matrix(lists.combine_chunks(), self._items)


def _row(matrix: csr_matrix, i: int) -> np.ndarray:
    return matrix.indices[matrix.indptr[i] : matrix.indptr[i + 1]]
