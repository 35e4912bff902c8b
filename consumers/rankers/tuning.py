"""Which l2, and how much what is old counts: chosen on validation rows, for every ranker alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from augment.base.errors import BadInput
from augment.base.progress import bar, track
from augment.numeric import measures
from augment.numeric.ease import USERS
from augment.numeric.histories import recent
from consumers.rankers.base import Arrays, Ranker, Recency, Rows
from consumers.scoring import ranking

OFF = (0.0, 0.0)  # recency
TAUS, FLOORS = (1.0, 3.0, 10.0, 30.0), (0.0, 0.1, 0.3, 0.5)
SOME = 4096  # users at most, spread evenly, by whom anything is chosen
NEAR_BEST = 0.98  # of the best validation NDCG: among such settings the one with the best tail recall is chosen


class Best(NamedTuple):
    state: Arrays
    l2: float
    recency: tuple[float, float]  # and its floor


def best(ranker: Ranker, rows: Rows, l2: float, history: csr_matrix, wanted: csr_matrix) -> Best:
    """The ranker fitted by each l2, and of these the one, and the recency, that find best what is `wanted`.

    l2: −1 to be tuned. history: [U, I] of training rows; wanted: [U, I], of validation rows, what is not in it.
    Recency is chosen by NDCG at the middle l2, then l2 with it, from the middle outwards (see `_outwards`), both by
    `SOME` of the users at most. A state is let go as soon as another is sure to be chosen before it: an item-to-item
    matrix is a state, and many of those are too many.

    Raises BadInput where something is to be tuned and nothing is wanted.
    """
    l2s, recencies = (l2,) if l2 >= 0 else ranker.grid, _recencies(ranker.options) if ranker.ages else [OFF]
    if len(l2s) + len(recencies) > 2 and not wanted.nnz:
        raise BadInput(
            "recommender: no validation row has an item of training that is new to its user, so there is nothing "
            "to tune by: give more data, widen the split's `valid`, or set l2 and recency"
        )
    if len(l2s) + len(recencies) == 2:
        return Best(next(ranker.fit(rows, l2s)), l2s[0], recencies[0])
    found: dict[float, tuple[float, float]] = {}
    kept: dict[float, Arrays] = {}
    users = np.flatnonzero(wanted.getnnz(axis=1))
    users = users[:: max(1, -(-len(users) // SOME))]
    asked: deque[float] = deque()
    states, recency = ranker.fit(rows, iter(asked.popleft, None)), recencies[0]
    with bar(len(l2s), f"tuning {ranker.name}", "l2") as shown:
        for l2 in _outwards(l2s, found):
            asked.append(l2)
            kept[l2] = next(states)
            if not found and len(recencies) > 1:
                recency = _recency(ranker, kept[l2], history, recencies, wanted, users)
            found[l2] = _worth(ranker, kept[l2], history, recency, wanted, users)
            kept = {l2: kept[l2] for l2 in _hopeful(found)}
            shown.update()
    chosen = _hopeful(found)[0]
    return Best(kept[chosen], chosen, recency)


def _outwards(l2s: Sequence[float], found: Mapping[float, tuple[float, float]]) -> Iterator[float]:
    """The middle one, then smaller ones, then larger ones, a side each until it has lost.

    `found` is read as it grows. NDCG rises to its best and falls again along l2, so where one is too far from the best
    to be chosen, those beyond it are too: an item-to-item matrix each that need not be made.
    """
    ordered = sorted(l2s)
    middle = len(ordered) // 2
    yield ordered[middle]
    for side in (ordered[:middle][::-1], ordered[middle + 1 :]):
        for l2 in side:
            yield l2
            if found[l2][0] < NEAR_BEST * max(ndcg for ndcg, _ in found.values()):
                break


def _recency(
    ranker: Ranker, state: Arrays, history: csr_matrix, recencies: Sequence[tuple[float, float]], wanted: csr_matrix,
    users: np.ndarray,
) -> tuple[float, float]:  # fmt: skip
    """The pair by which the users at int64[n] find best what they want."""
    lists: list[list[np.ndarray]] = [[] for _ in recencies]
    parts = np.array_split(users, len(users) // USERS + 1)
    for some in track(parts, "what is old counts less", "part"):
        scores = ranker.by_recency(state, history[some], recencies, some)
        for found, one in zip(lists, scores, strict=True):
            found.append(ranking.top(one, history[some], ranking.K))
    relevant = wanted[users].getnnz(axis=1)
    hits = (ranking.hits(np.concatenate(found), wanted[users]) for found in lists)
    return recencies[int(np.argmax([measures.ndcg(hit, relevant).mean() for hit in hits]))]


def _worth(
    ranker: Ranker, state: Arrays, history: csr_matrix, recency: tuple[float, float], wanted: csr_matrix,
    users: np.ndarray,
) -> tuple[float, float]:  # fmt: skip
    """NDCG and tail recall on validation rows of the users at int64[n], each of whom wants something."""
    lists = likeliest(ranker, state, history, recency, users, history, ranking.K)
    hit, relevant = ranking.hits(lists, wanted[users]), wanted[users].getnnz(axis=1)
    recall = ranking.rare_recall(lists, hit, wanted[users], ranking.rare(history, ranking.TAIL))
    return float(measures.ndcg(hit, relevant).mean()), float(recall.mean()) if len(recall) else 0.0


def _hopeful(found: Mapping[float, tuple[float, float]]) -> list[float]:
    """The l2 that may be chosen, whatever others are found yet; the first is, if none are. found: see `_worth`.

    Chosen is, of those near the best NDCG, the one with the best tail recall, of equals the least l2. So one after it
    may be only if those before it, with less NDCG, may turn out to be too far from the best.
    """
    enough = NEAR_BEST * max(ndcg for ndcg, _ in found.values())
    near = sorted((l2 for l2, (ndcg, _) in found.items() if ndcg >= enough), key=lambda l2: (-found[l2][1], l2))
    return [l2 for i, l2 in enumerate(near) if all(found[l2][0] > found[before][0] for before in near[:i])]


def scored(
    ranker: Ranker, state: Arrays, history: csr_matrix, recency: tuple[float, float], users: np.ndarray
) -> np.ndarray:
    """float32[n, I] for the users at places int64[n], who show `history` (all rows)."""
    return ranker.scores(state, recent(history[users], *recency), users)


def likeliest(
    ranker: Ranker, state: Arrays, history: csr_matrix, recency: tuple[float, float], users: np.ndarray,
    seen: csr_matrix, k: int,
) -> np.ndarray:  # fmt: skip
    """int64[n, at most k]: the best items, but for `seen` (all rows), of the users at int64[n] who show `history`."""
    parts = [
        ranking.top(scored(ranker, state, history, recency, some), seen[some], k)
        for some in np.array_split(users, len(users) // USERS + 1)
    ]
    return np.concatenate(parts)


def _recencies(options: Recency) -> list[tuple[float, float]]:
    """Pairs of recency and floor to try, the first of them off where that is tried."""
    if options.recency == 0:
        return [OFF]
    taus = (options.recency,) if options.recency > 0 else TAUS
    floors = (options.recency_floor,) if options.recency_floor >= 0 else FLOORS
    return [*([OFF] if options.recency < 0 else []), *((tau, floor) for tau in taus for floor in floors)]
