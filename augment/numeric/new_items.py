"""Scores of items that nobody has met yet, out of the scores that any model gives to those it knows.

A published row says of a new item which known items it is like, and how much. Its score is the weighted sum of theirs,
each standardised within its user, so that the same rows serve models whose scores have other units: a matrix
factorisation's cosines, EASE's sums, a sequence model's logits.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

NEW_ITEMS = "new-items"  # the strategy of rows that are new items
# What a user has counts so many standard deviations more than the model's score of it: a model that was trained to
# rank what a user does not have yet, as EASE, says little of what the user has. Of 1.5, 3 and 6 the best on development
# splits of three sets, for EASE and for factors.
OWN = 6.0
# Interactions from which on a model's own score of an item counts; with fewer the published row still stands for it,
# or one fake user would undo a row. A row says more of an item just out until 20 have met it, but old items that few
# want have few interactions too: below 5, rows for these cost .002 of NDCG by time, below 3 nothing.
MET = 3


def standardised(scores: np.ndarray) -> np.ndarray:
    """float32[n, I] of zero mean and unit deviation within each row; a row of equal scores is all zeros."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    return (centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9)).astype(np.float32)


def new_scores(scores: np.ndarray, history: csr_matrix, weights: csr_matrix) -> np.ndarray:
    """float32[n, N] of new items, comparable with `standardised(scores)` of those that a model knows.

    scores: float32[n, I] of n users, for all I items that it knows; history: [n, I], what each user has (only which
    entries there are counts); weights: float32[N, I], a published row each.
    """
    of_new = (weights @ standardised(scores).T).T
    have = csr_matrix((np.full(history.nnz, OWN, np.float32), history.indices, history.indptr), shape=history.shape)
    return np.asarray(of_new + (have @ weights.T), np.float32)


def rows_of(mix: pa.Table, strategy: str = NEW_ITEMS) -> pa.Table:
    """Of published samples those that are new items, or of another strategy of weighted neighbours, the latest of each.

    Nights before said less of it.
    """
    if "neighbour_weights" not in mix.column_names:  # of before there were any
        return mix.slice(0, 0)
    found = mix.filter(pc.and_(pc.is_valid(mix["neighbour_weights"]), pc.equal(mix["strategy"], strategy)))
    if len(found) < 2:
        return found
    names = found["anchor_id"].to_numpy(zero_copy_only=False).astype(str)
    order = np.lexsort((found["sample_id"].to_numpy(zero_copy_only=False).astype(str),
                        found["day"].to_numpy(zero_copy_only=False).astype(str), names))  # fmt: skip
    last = np.append(names[order][1:] != names[order][:-1], True)
    return found.take(pa.array(order[last]))


def weights_of(rows: pa.Table, known: pa.Array) -> csr_matrix:
    """float32[N, K] of rows of weighted neighbours; those that `known` does not hold are left out."""
    names, said = (rows[name].combine_chunks() for name in ("neighbour_ids", "neighbour_weights"))
    column = pc.index_in(pc.list_flatten(names), known)
    row = np.repeat(np.arange(len(rows)), pc.list_value_length(names).to_numpy(zero_copy_only=False))
    there = column.is_valid().to_numpy(zero_copy_only=False)
    value = pc.list_flatten(said).to_numpy(zero_copy_only=False)[there].astype(np.float32)
    return csr_matrix((value, (row[there], column.drop_null().to_numpy())), shape=(len(rows), len(known)))


def without(mix: pa.Table) -> pa.Table:
    """The samples to train on: those that are no row of weighted neighbours."""
    if "neighbour_weights" not in mix.column_names:
        return mix
    return mix.filter(pc.is_null(mix["neighbour_weights"]))
