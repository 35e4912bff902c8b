"""Synthetic users whose negatives come from a sampler: a masked copy of a real user, and items to rank low.

A user's own items are never drawn; the gates' false-negative filter drops the likely ones after that.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa

from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates
from augment.modalities.behaviour import NEGATIVES, Behaviour
from augment.numeric.vectors import unit


class _Draw(NamedTuple):
    users: np.ndarray  # float32[n, D]
    target: np.ndarray  # int64[n]
    owned: np.ndarray  # bool[n, I]
    rng: np.random.Generator


class Negatives:
    """kind: the sampler. pool: M, draws from which the hardest are taken; nearest: N of DNS(M, N)."""

    def __init__(self, workshop: Workshop, kind: str = "dns", pool: int = 32, nearest: int = 4) -> None:
        self._modality = cast(Behaviour, workshop.modality)  # `check` let no other task through
        self._anchors = workshop.anchors
        self._pool, self._nearest = pool, nearest
        samplers: dict[str, Callable[[_Draw], np.ndarray]] = {
            "uniform": self._uniform,
            "popularity": self._popularity,
            "dns": self._dns,
            "dns-mn": self._dns_mn,
            "mixgcf": self._mixgcf,
        }
        self._sample = samplers[kind]
        own, offsets = self._modality.codes(self._anchors.rows["targets"])
        counts = np.bincount(own, minlength=len(self._modality.vectors)).astype(np.float64)
        self._chance = counts / counts.sum()
        self._own = [own[a:b] for a, b in pairwise(offsets)]
        self._target = workshop.anchors.described.target

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        repeated = np.repeat(anchors, self._modality.draws)
        rows = self._modality.perturb(self._anchors.rows.take(pa.array(repeated)), rng)
        vectors = self._modality.encode(rows)
        owned = np.zeros((len(repeated), len(self._chance)), bool)
        for i, anchor in enumerate(repeated.tolist()):
            owned[i, self._own[anchor]] = True
        drawn = self._sample(_Draw(vectors, self._target[repeated], owned, rng))
        own = np.take_along_axis(owned, drawn, axis=1)
        kept = [list(dict.fromkeys(row[~mine].tolist())) for row, mine in zip(drawn, own, strict=True)]
        flat = np.array([item for row in kept for item in row], np.int64)
        rows = self._modality.with_items(rows, "negatives", flat, np.array([len(row) for row in kept]))
        return Candidates(repeated, rows, vectors)

    def _uniform(self, draw: _Draw) -> np.ndarray:
        return draw.rng.integers(len(self._chance), size=(len(draw.users), NEGATIVES))

    def _popularity(self, draw: _Draw) -> np.ndarray:
        return draw.rng.choice(len(self._chance), p=self._chance, size=(len(draw.users), NEGATIVES))

    def _dns(self, draw: _Draw) -> np.ndarray:
        return self._hardest(draw, 1)

    def _dns_mn(self, draw: _Draw) -> np.ndarray:
        return self._hardest(draw, self._nearest)

    def _hardest(self, draw: _Draw, nearest: int) -> np.ndarray:
        """For each of NEGATIVES pools of random items, one of the `nearest` to the user that are not its own."""
        count = len(draw.users)
        drawn = draw.rng.integers(len(self._chance), size=(count, NEGATIVES, self._pool))
        scores = draw.users @ self._modality.vectors.T
        scores[draw.owned] = -np.inf
        of = np.take_along_axis(scores, drawn.reshape(count, -1), axis=1).reshape(drawn.shape)
        order = np.argsort(-of, axis=2)[:, :, :nearest]
        place = draw.rng.integers(order.shape[2], size=(count, NEGATIVES, 1))
        return np.take_along_axis(drawn, np.take_along_axis(order, place, axis=2), axis=2)[:, :, 0]

    def _mixgcf(self, draw: _Draw) -> np.ndarray:
        """Hard negatives pulled towards the target by a random share (positive mixing), snapped to real items."""
        hard = unit(self._modality.vectors[self._hardest(draw, 1)])
        share = draw.rng.random((len(draw.users), NEGATIVES, 1), np.float32) / 2
        mixed = share * unit(self._modality.vectors[draw.target])[:, None] + (1 - share) * hard
        return self._modality.near.search(mixed.reshape(-1, mixed.shape[2]), 1)[1].reshape(len(draw.users), NEGATIVES)
