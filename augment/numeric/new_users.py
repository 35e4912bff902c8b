"""Scores for users of few interactions, out of what any model says to the users it knows well.

A published row says of such a user which known users it is like, and how much. Its scores are the weighted sum of
theirs, each standardised within its user, so that the same rows serve models whose scores have other units; what a
neighbour has counts besides, since a model that ranks what a user does not have yet says little of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix

from augment.numeric.ease import USERS
from augment.numeric.new_items import standardised

NEW_USERS = "new-users"  # the strategy of rows that are users of few interactions,
UNMET_USERS = "unmet-users"  # and of those that are users of none, by what they declare
FEW = 3  # interactions that such a user has at most
# What a neighbour has counts so many standard deviations more than the model's score of it for that neighbour: of 0,
# 1.5, 4 and 10 the best on three sets and three models, if by little.
HAS = 10.0


def said_by(scores: np.ndarray, history: csr_matrix) -> np.ndarray:
    """float32[n, I]: what n users say to those who are like them.

    scores: float32[n, I] of all I items that a model knows; history: [n, I], what each has (only which entries there
    are counts).
    """
    said = standardised(scores)
    said[history.nonzero()] += HAS
    return said


def summed(weights: csr_matrix, history: csr_matrix, scores: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """float32[N, I]: what neighbours say, each times its weight float32[N, U].

    history: [U, I]; scores: of the users at int64[n] float32[n, I]. So many are asked at a time: bounds the memory.
    """
    found = np.zeros((weights.shape[0], history.shape[1]), np.float32)
    asked = np.unique(weights.indices)
    for start in range(0, len(asked), USERS):
        some = asked[start : start + USERS]
        found += weights[:, some] @ said_by(scores(some), history[some])
    return found
