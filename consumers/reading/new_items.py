"""New items under any model that scores the items it knows: as scores beside its own, or as pairs to train it on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from augment.base.errors import UsageError
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


def new_item_pairs(
    mix: pa.Table, items: Sequence[str], users: Sequence[str], scores: np.ndarray, history: csr_matrix, *,
    most: int = 400, noise: float = 1.0, seed: int = 0,
) -> pa.Table:  # fmt: skip
    """Pseudo-interactions, for those who can only train: columns `user_id`, `item_id`, `weight` float32 in (0, 1].

    For each new item of the mix `most` of the users, drawn by what its row says of them: with chances as
    exp(z / noise), z its score in standard deviations over users, without replacement (Gumbel's trick; Kool et al.,
    2019). Weights go as the same, and add up to about the interactions of the known items that it is like.

    They are what users *want*, not what they have: a target beside the log. Shown to the model as history too, they
    move what it says of known items, and a list that leaves out what a user has would leave out the new item.

    mix, items: see `new_item_scores`; users: n ids; scores: float32[n, I], what a model says of all I items to them;
    history: [n, I], what each has. The same seed draws the same pairs. Raises UsageError for noise of 0 and below.
    """
    if noise <= 0 or most < 1:
        raise UsageError(f"pairs of new items: noise {noise:g} and most {most}: noise must be above 0, most at least 1")
    rows = rows_of(mix)
    weights = weights_of(rows, pa.array(items, pa.string()))
    of_new = new_scores(scores, history, weights).T
    likely = (of_new - of_new.mean(axis=1, keepdims=True)) / np.maximum(of_new.std(axis=1, keepdims=True), 1e-9) / noise
    drawn = likely + np.random.default_rng(seed).gumbel(size=likely.shape)
    count = min(most, len(users))
    best = np.sort(np.argpartition(-drawn, count - 1, axis=1)[:, :count], axis=1)
    chance = np.exp(np.take_along_axis(likely, best, axis=1))
    size = abs(weights)
    popularity = (size @ history.getnnz(axis=0)) / np.maximum(np.asarray(size.sum(axis=1)).ravel(), 1e-9)
    weight = np.minimum(1, chance / chance.sum(axis=1, keepdims=True) * popularity[:, None])
    said = (weights.getnnz(axis=1) > 0).repeat(count)  # a row whose neighbours the model does not know says nothing
    return pa.table({
        "user_id": pa.array(users, pa.string()).take(pa.array(best.ravel()[said])),
        "item_id": rows["anchor_id"].combine_chunks().take(pa.array(np.arange(len(rows)).repeat(count)[said])),
        "weight": pa.array(weight.ravel()[said], pa.float32()),
    })  # fmt: skip
