"""What every ranker is: a function that fits arrays to users and items, and one that scores by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags

Arrays = dict[str, np.ndarray]  # what a fitted ranker is saved as


@dataclass(frozen=True)
class Rows:
    """The users of training: the `users` real ones that are scored later, then fake and synthetic ones.

    inputs: binary float32[U, I], what each shows; targets: the same, what each must rank high; order: a history (see
    `histories`), empty for a user whose items have no order; weights: float[U], how much each user counts;
    worth: float32[I], how much each item does as a target; negatives: binary float32[U, I], items that each must rank
    low, or None. teacher: item-to-item weights float32[I, I] of an EASE model to learn from, and `taught` float32[U, I]
    what each user shows to it, or None.
    """

    users: int
    inputs: csr_matrix
    targets: csr_matrix
    order: csr_matrix
    weights: np.ndarray
    worth: np.ndarray
    negatives: csr_matrix | None = None
    teacher: np.ndarray | None = None
    taught: csr_matrix | None = None

    @property
    def aims(self) -> csr_matrix:
        """float32[U, I]: targets, each as much as its item is worth."""
        return (self.targets @ diags(self.worth)).tocsr()


@dataclass(frozen=True)
class Ranker:
    """fit: (rows, l2 values, options of `Recommender`) → arrays for each l2 in turn; what they share is made once.

    scores: (arrays, shown float32[n, I], places of the users int64[n]) → float32[n, I]. grid: l2 values worth trying.
    options: of `Recommender`, those that it reads beside what all do. history: its scores come from the items shown.
    chance: another seed is another model.
    """

    fit: Callable[[Rows, Sequence[float], Mapping[str, Any]], Iterator[Arrays]]
    scores: Callable[[Arrays, csr_matrix, np.ndarray], np.ndarray]
    grid: tuple[float, ...]
    options: tuple[str, ...] = ()
    history: bool = True
    chance: bool = False


def by_items(arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
    """Scores of item-to-item weights float32[I, I]."""
    return np.asarray(shown @ arrays["items"], np.float32)
