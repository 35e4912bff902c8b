"""Small sums on vectors, and between margins and losses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norm, 1e-12)).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32[n] of rows float32[n, D]; 0 beside a vector of zeros."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("nd,nd->n", a, b) / np.maximum(norms, 1e-12)


def margins_to_losses(band: tuple[float, float]) -> tuple[float, float]:
    """The victim's losses softplus(−m) at the ends of a band of margins: the easiest, and the hardest."""
    easiest, hardest = np.log1p(np.exp(-np.array(band)[::-1]))
    return float(easiest), float(hardest)


def losses_to_margins(loss: np.ndarray) -> np.ndarray:
    """float64[n]: the margins m whose softplus(−m) is the loss; at most 16, where a loss is next to nothing."""
    loss = np.maximum(loss.astype(np.float64), 1e-7)
    return -(loss + np.log(-np.expm1(-loss)))


def highest_places(scores: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Of each row of float32[n, I] the places of the `count` highest that are finite, the highest first."""
    count = min(count, scores.shape[1])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    for row, some in zip(scores, best, strict=True):
        some = some[np.argsort(-row[some], kind="stable")]
        yield some[np.isfinite(row[some])]
