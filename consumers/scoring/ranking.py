"""Full-ranking metrics, one value per user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, hstack

from augment.numeric.measures import Mean, Measure, ndcg
from augment.numeric.new_users import FEW

K = 20
TAIL, COLD_ITEMS = 0.8, 0.25  # shares of items, by least interactions
COLD = 0.25  # share of users, by shortest history


@dataclass(frozen=True)
class Coverage:
    """Share of the catalogue that appears in some drawn user's list."""

    lists: np.ndarray  # int64[users, k]
    items: int
    better_is: str = "higher"

    @property
    def size(self) -> int:
        return len(self.lists)

    def value(self, weights: np.ndarray | None = None) -> float:
        drawn = self.lists if weights is None else self.lists[weights > 0]
        shown = np.zeros(self.items, bool)  # no sorting: a verdict asks for thousands of draws
        shown[drawn] = True
        return float(shown.mean()) if len(drawn) else float("nan")


def top(scores: np.ndarray, seen: csr_matrix, k: int) -> np.ndarray:
    """int64[users, k]: the unseen items of each user, best first; `scores` float32[users, items] is overwritten."""
    rows, columns = seen.nonzero()
    scores[rows, columns] = -np.inf
    k = min(k, scores.shape[1])
    # One more than are wanted, which tells whether the last place is shared. Torch takes a quarter of NumPy's time.
    values, places = torch.from_numpy(scores).topk(min(k + 1, scores.shape[1]), dim=1)
    best, tied = places[:, :k].numpy(), ~(values[:, :-1] > values[:, 1:]).all(dim=1).numpy()
    if tied.any():
        best[tied] = _partitioned(scores[tied], k)
    return best


def _partitioned(scores: np.ndarray, k: int) -> np.ndarray:
    """The places int64[users, k] of the highest, best first; of equal scores always the same ones."""
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def hits(lists: np.ndarray, relevant: csr_matrix) -> np.ndarray:
    """bool[users, k]: whether each recommended item is relevant to its user."""
    if not lists.size:  # which SciPy cannot index by
        return np.zeros(lists.shape, bool)
    users = np.repeat(np.arange(len(lists)), lists.shape[1])
    return np.asarray(relevant[users, lists.ravel()]).reshape(lists.shape) > 0


def recall(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """float64[users]: share of min(relevant, k) that was found."""
    return hit.sum(axis=1) / np.maximum(np.minimum(relevant, hit.shape[1]), 1)


def rare_recall(lists: np.ndarray, hit: np.ndarray, wanted: csr_matrix, which: np.ndarray) -> np.ndarray:
    """Recall float64[n] on rare items, of the users who want any; `which` bool[I], the others row by user."""
    relevant = np.asarray(wanted @ which.astype(np.float32)).astype(np.int64)
    some = relevant > 0
    return recall((hit & which[lists])[some], relevant[some])


def rare(history: csr_matrix, share: float) -> np.ndarray:
    """bool[I]: the `share` of items with the fewest interactions in binary `history` [U, I]."""
    popularity = history.getnnz(axis=0)
    found = np.zeros(len(popularity), bool)
    found[np.argsort(popularity, kind="stable")[: int(share * len(popularity))]] = True
    return found


def measures(lists: np.ndarray, wanted: csr_matrix, users: np.ndarray, history: csr_matrix) -> dict[str, Measure]:
    """What lists int64[n, K] for the users at places int64[n], who want `wanted` [n, I], are worth.

    history: [U, I] of all users, of training rows alone: what is popular, rare or cold.
    """
    hit, relevant = hits(lists, wanted), wanted.getnnz(axis=1)
    length, popularity = history.getnnz(axis=1), history.getnnz(axis=0)
    cold = length[users] <= np.quantile(length, COLD)
    found = recall(hit, relevant)
    return {
        "ndcg@20": Mean(ndcg(hit, relevant)),
        "recall@20": Mean(found),
        "tail_recall@20": Mean(rare_recall(lists, hit, wanted, rare(history, TAIL))),
        "cold_recall@20": Mean(found[cold]),
        "cold_item_recall@20": Mean(rare_recall(lists, hit, wanted, rare(history, COLD_ITEMS))),
        "coverage": Coverage(lists, history.shape[1]),
        "mean_popularity": Mean(popularity[lists].mean(axis=1) / popularity.mean(), "lower"),
    }


def new_measures(scores: np.ndarray, known: csr_matrix, wanted: csr_matrix, hoped: csr_matrix) -> dict[str, Mean]:
    """What lists of known and new items are worth: scores float32[n, I + N], of which the first I are known ones.

    known: [n, I], what each user has; wanted: [n, I] and hoped: [n, N], what each is to find. `recall_new@20` ranks new
    items alone; `exposure_new@20` is their share of all lists.
    """
    every, items = hstack([wanted, hoped]).tocsr(), wanted.shape[1]
    some = np.flatnonzero(hoped.getnnz(axis=1))
    alone, none = hoped[some], csr_matrix((len(some), hoped.shape[1]), dtype=np.float32)
    new = scores[some, items:]
    found = hits(top(new.copy(), none, K), alone) & (-np.sort(-new, axis=1)[:, :K] > -np.inf)
    lists = top(scores, hstack([known, csr_matrix(hoped.shape, dtype=np.float32)]).tocsr(), K)
    return {
        "ndcg_all@20": Mean(ndcg(hits(lists, every), every.getnnz(axis=1))),
        "recall_new@20": Mean(recall(found, alone.getnnz(axis=1))),
        "exposure_new@20": Mean((lists >= items).mean(axis=1)),
    }


def new_user_measures(lists: np.ndarray, wanted: csr_matrix, shown: np.ndarray) -> dict[str, Mean]:
    """What lists int64[n, K] are worth to the users of few interactions; shown: int64[n], how many each has."""
    few = shown <= FEW
    hit, relevant = hits(lists[few], wanted[few]), wanted[few].getnnz(axis=1)
    return {"ndcg_new_users@20": Mean(ndcg(hit, relevant)), "recall_new_users@20": Mean(recall(hit, relevant))}


def nothing_new() -> dict[str, Mean]:
    """Of test rows whose items all have training rows: not measurable."""
    return {name: Mean(np.empty(0)) for name in ("ndcg_all@20", "recall_new@20", "exposure_new@20")}
