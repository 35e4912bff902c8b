"""Synthetic users whose negatives come from a sampler: a masked copy of a real user, and items to rank low.

A user's own items are never drawn; the gates' false-negative filter drops the likely ones after that.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.contracts.modality import Histories
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy, Workshop
from augment.contracts.values import Candidates
from augment.numeric.vectors import unit


class Draw(NamedTuple):
    users: np.ndarray  # float32[n, D]
    target: np.ndarray  # int64[n]
    owned: np.ndarray  # bool[n, I]
    shape: tuple[int, int]  # [n, how many negatives of each]
    rng: np.random.Generator


class Negatives(Strategy):
    needs = Histories

    def __init__(self, workshop: Workshop, options: Any) -> None:
        super().__init__(workshop, options)
        self.modality = cast(Histories, workshop.modality)
        own, offsets = self.modality.codes(workshop.anchors.rows["targets"])
        counts = np.bincount(own, minlength=len(self.modality.vectors)).astype(np.float64)
        self.chance = counts / counts.sum()  # float64[I], of an item among all interactions
        self._own = [own[a:b] for a, b in pairwise(offsets)]

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        real, modality = self.workshop.anchors, self.modality
        repeated = np.repeat(anchors, modality.draws)
        rows = modality.perturb(real.rows.take(pa.array(repeated)), rng)
        vectors = modality.encode(rows)
        owned = np.zeros((len(repeated), len(self.chance)), bool)
        for i, anchor in enumerate(repeated.tolist()):
            owned[i, self._own[anchor]] = True
        shape = len(repeated), modality.negatives
        drawn = self.sample(Draw(vectors, real.described.target[repeated], owned, shape, rng))
        own = np.take_along_axis(owned, drawn, axis=1)
        kept = [list(dict.fromkeys(row[~mine].tolist())) for row, mine in zip(drawn, own, strict=True)]
        flat = np.array([item for row in kept for item in row], np.int64)
        rows = modality.with_items(rows, "negatives", flat, np.array([len(row) for row in kept]))
        return Candidates(repeated, rows, vectors)

    @abstractmethod
    def sample(self, draw: Draw) -> np.ndarray:
        """Item codes int64[draw.shape]; those that are a user's own are left out afterwards."""

    def hardest(self, draw: Draw, pool: int, nearest: int) -> np.ndarray:
        """For each negative a pool of random items, and of it one of the `nearest` to the user that are not its own."""
        drawn = draw.rng.integers(len(self.chance), size=(*draw.shape, pool))
        scores = draw.users @ self.modality.vectors.T
        scores[draw.owned] = -np.inf
        of = np.take_along_axis(scores, drawn.reshape(draw.shape[0], -1), axis=1).reshape(drawn.shape)
        order = np.argsort(-of, axis=2)[:, :, :nearest]
        place = draw.rng.integers(order.shape[2], size=(*draw.shape, 1))
        return np.take_along_axis(drawn, np.take_along_axis(order, place, axis=2), axis=2)[:, :, 0]


class Uniform(Negatives):
    name = "uniform-negatives"
    what = "negatives drawn evenly"

    def sample(self, draw: Draw) -> np.ndarray:
        return draw.rng.integers(len(self.chance), size=draw.shape)


class Popular(Negatives):
    name = "popular-negatives"
    what = "negatives drawn as often as they occur"

    def sample(self, draw: Draw) -> np.ndarray:
        return draw.rng.choice(len(self.chance), p=self.chance, size=draw.shape)


class Pool(BaseOptions):
    pool: int = Field(32, gt=0, description="Random items of which the hardest is taken.")


class DNS(Negatives):
    name = "dns"
    what = "the hardest of a few drawn negatives (Zhang et al., 2013)"
    Options = Pool

    def sample(self, draw: Draw) -> np.ndarray:
        return self.hardest(draw, self.options.pool, 1)


class DNSMN(Negatives):
    name = "dns-mn"
    what = "one of the N hardest of M drawn negatives (Shi et al., 2023)"

    class Options(BaseOptions):
        pool: int = Field(32, gt=0, description="M, random items of which the hardest are taken.")
        nearest: int = Field(4, gt=0, description="N, the hardest, of which any is taken.")

    def sample(self, draw: Draw) -> np.ndarray:
        return self.hardest(draw, self.options.pool, self.options.nearest)


class MixGCF(Negatives):
    """Hard negatives pulled towards the target by a random share (positive mixing), snapped to real items."""

    name = "mixgcf"
    what = "negatives mixed with the target, then snapped (Huang et al., 2021)"
    Options = Pool

    def sample(self, draw: Draw) -> np.ndarray:
        vectors = self.modality.vectors
        hard = unit(vectors[self.hardest(draw, self.options.pool, 1)])
        share = draw.rng.random((*draw.shape, 1), np.float32) / 2
        mixed = share * unit(vectors[draw.target])[:, None] + (1 - share) * hard
        return self.modality.near.search(mixed.reshape(-1, mixed.shape[2]), 1)[1].reshape(draw.shape)
