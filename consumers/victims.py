"""A recommender as what the generator spars with: vectors of items and users, and scores that have a gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from torch import Tensor
from torch.nn import functional as F

from augment.numeric.ease import USERS
from gan.losses import cross_entropy
from gan.victim import Condition

RIDGE = 0.1


class RankingVictim:
    """softplus(−margin): the target's score over the bar to the user's top `k`, in the spread of the user's scores.

    The scores are a linear function of the user's vector: exact for no model here, near for all. vectors: float32[I, D]
    of the items; history: binary float32[U, I]; scores: what the model gives users at places int64[n], float32[n, I].
    """

    def __init__(
        self, vectors: np.ndarray, history: csr_matrix, scores: Callable[[np.ndarray], np.ndarray], k: int, device: str
    ) -> None:
        shown = history @ vectors
        shown /= np.maximum(np.linalg.norm(shown, axis=1, keepdims=True), 1e-12)
        gram = shown.T @ shown + RIDGE * np.eye(shown.shape[1], dtype=np.float32)
        told = np.zeros((shown.shape[1], len(vectors)), np.float32)
        for some in np.array_split(np.arange(len(shown)), 1 + len(shown) // USERS):
            told += shown[some].T @ scores(some)
        head = np.linalg.solve(gram, told).astype(np.float32)
        self._head, self._k, self.dim, self.prior = torch.from_numpy(head).to(device), k, len(head), 0.0

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        scores = embedding @ self._head
        target = scores.gather(1, condition.label.long()[:, None])[:, 0]
        bar = scores.topk(min(self._k, scores.shape[1]), dim=1).values[:, -1]
        spread = scores.std(dim=1).detach().clamp_min(1e-6)
        return F.softplus((bar - target) / spread)


def singular_vectors(history: csr_matrix, dim: int) -> np.ndarray:
    """float32[I, at most dim]: of binary [U, I], its items scaled by their popularity; as many as there are."""
    popularity = history.getnnz(axis=0)
    scaled = history.multiply(1 / np.sqrt(np.maximum(popularity, 1))).tocsr().astype(np.float64)
    if min(scaled.shape) > dim:
        start = np.random.default_rng(0).standard_normal(min(scaled.shape))
        _, values, right = svds(scaled, k=dim, v0=start)
    else:  # ARPACK wants fewer than there are
        _, values, right = np.linalg.svd(scaled.toarray(), full_matrices=False)
    right = right * np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])[:, None]  # a fixed sign
    return np.ascontiguousarray(right.T * values, np.float32)


class LogitVictim:
    """A frozen network as the generator sees it: softplus(−margin), the margin being the logit signed by the label.

    The logit is taken relative to `prior`, the training log-odds: with rare positives every negative would otherwise
    be too easy and every positive hopeless. Of K classes the margin is the odds, as a logarithm, against all others:
    softplus(−margin) is then the cross-entropy, and the prior the logarithms of the classes' shares.
    """

    def __init__(self, logit: Callable[[Tensor], Tensor], dim: int, prior: float | Tensor) -> None:
        """logit: vectors float32[B, D] → float32[B], or float32[B, K] of K classes, whose prior is float32[K]."""
        self._logit, self.dim, self.prior = logit, dim, prior

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        logit = self._logit(embedding) - self.prior
        if logit.ndim > 1:
            return cross_entropy(logit, condition.label)
        return condition.label * F.softplus(-logit) + (1 - condition.label) * F.softplus(logit)
