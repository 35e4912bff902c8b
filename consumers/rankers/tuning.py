"""Which l2, and how much what is old counts: chosen on validation rows, for every ranker alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from augment.base.errors import BadInput
from augment.numeric.histories import recent
from consumers.rankers.base import Arrays, Ranker, Recency, Rows
from consumers.scoring import ranking

OFF = (0.0, 0.0)  # recency
TAUS, FLOORS = (1.0, 3.0, 10.0, 30.0), (0.0, 0.1, 0.3, 0.5)
NEAR_BEST = 0.98  # of the best validation NDCG: among such settings the one with the best tail recall is chosen


class Best(NamedTuple):
    state: Arrays
    l2: float
    recency: tuple[float, float]  # and its floor


def best(ranker: Ranker, rows: Rows, l2: float, history: csr_matrix, wanted: csr_matrix) -> Best:
    """The ranker fitted by each l2, and of these the one, and the recency, that find best what is `wanted`.

    l2: −1 to be tuned. history: [U, I] of training rows; wanted: [U, I], of validation rows, what is not in it.
    Recency is chosen by NDCG at the l2 that is best without it, then l2 anew.

    Raises BadInput where something is to be tuned and nothing is wanted.
    """
    l2s, recencies = (l2,) if l2 >= 0 else ranker.grid, _recencies(ranker.options)
    if len(l2s) + len(recencies) > 2 and not wanted.nnz:
        raise BadInput(
            "recommender: no validation row has an item of training that is new to its user, so there is nothing "
            "to tune by: give more data, widen the split's `valid`, or set l2 and recency"
        )
    states, recency, chosen = list(ranker.fit(rows, l2s)), recencies[0], 0

    def tried(state: Arrays, recency: tuple[float, float]) -> tuple[float, float]:
        """NDCG and tail recall on validation rows."""
        users = np.flatnonzero(wanted.getnnz(axis=1))
        lists = ranking.top(scored(ranker, state, history, recency, users), history[users], ranking.K)
        hit, relevant = ranking.hits(lists, wanted[users]), wanted[users].getnnz(axis=1)
        recall = ranking.rare_recall(lists, hit, wanted[users], ranking.rare(history, ranking.TAIL))
        return float(ranking.ndcg(hit, relevant).mean()), float(recall.mean()) if len(recall) else 0.0

    found = [tried(state, recency) for state in states] if wanted.nnz else []
    if len(recencies) > 1:
        first = states[int(np.argmax([ndcg for ndcg, _ in found]))]
        recency = max(recencies, key=lambda recency: tried(first, recency)[0])
        if recency != recencies[0]:
            found = [tried(state, recency) for state in states]
    if len(l2s) > 1:
        enough = NEAR_BEST * max(ndcg for ndcg, _ in found)
        chosen = max((i for i, (ndcg, _) in enumerate(found) if ndcg >= enough), key=lambda i: found[i][1])
    return Best(states[chosen], l2s[chosen], recency)


def scored(
    ranker: Ranker, state: Arrays, history: csr_matrix, recency: tuple[float, float], users: np.ndarray
) -> np.ndarray:
    """float32[n, I] for the users at places int64[n], who show `history` (all rows)."""
    return ranker.scores(state, recent(history[users], *recency), users)


def _recencies(options: Any) -> list[tuple[float, float]]:
    """Pairs of recency and floor to try, the first of them off where that is tried."""
    if not isinstance(options, Recency) or options.recency == 0:
        return [OFF]
    taus = (options.recency,) if options.recency > 0 else TAUS
    floors = (options.recency_floor,) if options.recency_floor >= 0 else FLOORS
    return [*([OFF] if options.recency < 0 else []), *((tau, floor) for tau in taus for floor in floors)]
