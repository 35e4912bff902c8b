"""The mean of the other maps: each is wrong about other items."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from augment.contracts.content_map import ContentMap, settings
from augment.contracts.options import BaseOptions


class Mean(ContentMap):
    """Of ridge, kernel ridge and attention, each scaled to weights whose sizes sum to one."""

    name = "mean"
    what = "the mean of ridge, kernel-ridge and attention"
    grid = tuple({"l2": l2, "tau": tau} for l2 in (3.0, 10.0) for tau in (0.1, 0.4))

    class Options(BaseOptions):
        l2: float = Field(3.0, gt=0, description="Regularisation of ridge.")
        tau: float = Field(0.4, gt=0, description="Of kernel-ridge, over which likeness fades to 1/e.")

    options: Options

    def fit(self, content: np.ndarray, behaviour: np.ndarray) -> Mean:
        parts = {"ridge": {"l2": self.options.l2}, "kernel-ridge": {"tau": self.options.tau}, "attention": {"tau": 0.1}}
        made = [settings(name, options, self.seed)[0] for name, options in parts.items()]
        self._parts = [part.fit(content, behaviour) for part in made]
        return self

    def weights(self, content: np.ndarray) -> np.ndarray:
        every = [part.weights(content) for part in self._parts]
        scaled = [one / np.maximum(np.abs(one).sum(axis=1, keepdims=True), 1e-9) for one in every]
        return np.asarray(sum(scaled) / len(scaled), np.float32)
