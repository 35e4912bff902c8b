"""Content stuffed with others' words: a title, or a list of properties, made so that an item lies beside popular ones.

An honest item is most like a few known ones that are like each other. One stuffed with the titles of best sellers is a
sum of items that have little in common: several together explain its vector far better than the nearest alone does, and
they are popular.
"""

from __future__ import annotations

import numpy as np

from augment.numeric.neighbours import Neighbours

STEPS = 5  # known items that explain one vector
USUAL = 2_000  # known items, at most, that say what is usual
ITEMS = 1024  # at a time: bounds the memory
RIDGE = 1e-4  # of items with equal content several can be among those that explain


def honesty(content: np.ndarray, known: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """float32[n] in (0, 1]: the share of known items that look as stuffed as each new one (a conformal p-value).

    content: float32[n, C], known: float32[I, C], unit vectors or zeros; popularity: [I], interactions of each known
    one. How stuffed a vector looks is what its sparse projection on `STEPS` known items (orthogonal matching pursuit;
    Pati et al., 1993) explains of its squared length beyond the nearest of them, times the logarithm of how popular
    they are. What is usual is told by known items, each explained by the others.
    """
    index = Neighbours(known)
    some = np.linspace(0, len(known) - 1, min(USUAL, len(known))).astype(np.int64)
    usual = np.sort(_stuffed(known[some], known, popularity, index, some))
    more = len(usual) - np.searchsorted(usual, _stuffed(content, known, popularity, index) - 1e-6)
    return ((1 + more) / (1 + len(usual))).astype(np.float32)


def _stuffed(
    vectors: np.ndarray, known: np.ndarray, popularity: np.ndarray, index: Neighbours, own: np.ndarray | None = None
) -> np.ndarray:
    """float64[n]; own: int64[n], the place of each vector among known ones, which then does not explain itself."""
    parts = [np.empty(0)]
    for start in range(0, len(vectors), ITEMS):
        block = slice(start, start + ITEMS)
        first, last, taken, size = _explained(vectors[block], known, index, None if own is None else own[block])
        popular = (size * popularity[taken]).sum(axis=1) / np.maximum(size.sum(axis=1), 1e-9)
        parts.append((last - first) * np.log1p(popular))
    return np.concatenate(parts)


def _explained(
    vectors: np.ndarray, known: np.ndarray, index: Neighbours, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The squared length that the first known item explains, and all, float64[n]; their places and sizes [n, k]."""
    taken = np.full((len(vectors), 1), -1) if own is None else own[:, None]
    left, found = vectors, []
    for step in range(1, min(STEPS, len(known) - 1) + 1):
        # Among unit vectors the nearest to what is left is the one with the greatest product.
        near = index.search(left, step + 1)[1]
        fresh = (near[:, :, None] != taken[:, None, :]).all(axis=2)
        place = near[np.arange(len(near)), fresh.argmax(axis=1)]
        taken = np.concatenate([taken, place[:, None]], axis=1)
        basis = known[taken[:, 1:]].astype(np.float64)
        gram = basis @ basis.transpose(0, 2, 1) + RIDGE * np.eye(step)
        weights = np.linalg.solve(gram, basis @ vectors[:, :, None])[:, :, 0]
        left = vectors - np.einsum("nk,nkc->nc", weights, basis)
        found.append((vectors**2).sum(axis=1) - (left**2).sum(axis=1))
    return found[0], found[-1], taken[:, 1:], np.abs(weights)
