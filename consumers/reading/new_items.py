"""New items under any model that scores the items it knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from augment.numeric.new_items import new_scores, rows_of, standardised, weights_of


def new_item_scores(
    mix: pa.Table, items: Sequence[str], scores: np.ndarray, history: csr_matrix
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids of a mix's new items, their scores float32[n, N], and float32[n, I] of the known ones on the same scale.

    mix: `open_mix(...).to_table()`. items: the ids of the I items that a model knows; scores: float32[n, I], what it
    says of them to n users; history: [n, I], what each has. Nothing about the model changes. An id that is among
    `items` too is of one that few users had met when the mix was made: until then the row says more than the model.
    """
    rows = rows_of(mix)
    weights = weights_of(rows, pa.array(items, pa.string()))
    return rows["anchor_id"].to_pylist(), new_scores(scores, history, weights), standardised(scores)
