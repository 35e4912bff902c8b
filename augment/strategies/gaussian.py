"""Gaussian noise on the embedding: the plainest move, and the baseline of every other."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates


class Gaussian(Strategy):
    name = "gaussian"
    what = "Gaussian noise on the embedding"

    class Options(BaseOptions):
        strength: float = Field(1.0, gt=0, description="Mean length of the noise, in real displacements.")

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work = self.workshop
        repeated = np.repeat(anchors, work.draws)
        x = work.anchors.embedding[repeated]
        length = self.options.strength * work.bank.scale
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(length / x.shape[1] ** 0.5)
        return work.candidates(repeated, x + noise, rng)
