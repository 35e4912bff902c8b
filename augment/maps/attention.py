"""Attention over the nearest known items: nothing to solve, so an item is added in milliseconds."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from augment.contracts.content_map import ContentMap
from augment.contracts.options import BaseOptions
from augment.numeric.neighbours import Neighbours


class Attention(ContentMap):
    """Softmax of cosines over the nearest known items by FAISS; a misspelt title keeps most of its neighbours."""

    name = "attention"
    what = "the nearest known items by their content, the nearer the more"
    grid = tuple({"tau": tau, "nearest": nearest} for tau in (0.05, 0.1, 0.15) for nearest in (30, 100))

    class Options(BaseOptions):
        tau: float = Field(0.1, gt=0, description="Difference of cosines that counts e times as much.")
        nearest: int = Field(100, ge=1, description="How many known items are looked at.")

    options: Options

    def fit(self, content: np.ndarray, behaviour: np.ndarray) -> Attention:
        self._known, self._near = len(content), Neighbours(content)
        return self

    def weights(self, content: np.ndarray) -> np.ndarray:
        distance, place = self._near.search(content, self.options.nearest)
        cosine = 1 - distance * distance / 2  # of unit vectors
        share = np.exp((cosine - cosine[:, :1]) / self.options.tau)
        share /= share.sum(axis=1, keepdims=True)
        weights = np.zeros((len(content), self._known), np.float32)
        np.put_along_axis(weights, place, share.astype(np.float32), axis=1)
        return weights
