"""Kernel ridge regression from content to behaviour: near items count, and near items of each other share."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from augment.contracts.content_map import ContentMap
from augment.contracts.options import BaseOptions

BLOCK = 4096  # items at a time: bounds the memory beside the matrix that is solved


class KernelRidge(ContentMap):
    """Weights (K + l2)⁻¹ k(known, new) with K = exp((cosine − 1) / tau).

    Of more than `exact` items, Nyström's approximation (Williams & Seeger, 2001) by `landmarks` of them, drawn at
    random: weights k(known, Z) (k(Z, known) k(known, Z) + l2 k(Z, Z))⁻¹ k(Z, new), in memory of one block of items.
    """

    name = "kernel-ridge"
    what = "kernel ridge regression on the vectors of their content"
    grid = tuple({"tau": tau, "l2": l2} for tau in (0.1, 0.2, 0.4) for l2 in (0.1, 0.3, 1.0))

    class Options(BaseOptions):
        tau: float = Field(0.4, gt=0, description="Cosine distance over which likeness fades to 1/e.")
        l2: float = Field(0.3, gt=0, description="Regularisation.")
        exact: int = Field(20_000, ge=1, description="More items than this are solved by landmarks.")
        landmarks: int = Field(4096, ge=1, description="How many of them stand for all.")

    options: Options

    def fit(self, content: np.ndarray, behaviour: np.ndarray) -> KernelRidge:
        self._content, self._marks = content, content
        if len(content) > self.options.exact:
            drawn = np.random.default_rng(self.seed).choice(len(content), self.options.landmarks, replace=False)
            self._marks = content[np.sort(drawn)]
            own = self._kernel(self._marks, self._marks)
            system = self.options.l2 * own
            for start in range(0, len(content), BLOCK):
                block = self._kernel(content[start : start + BLOCK], self._marks)
                system += block.T @ block
            system[np.diag_indices_from(system)] += 1e-4 * np.trace(system) / len(system)  # single precision
        else:
            system = self._kernel(content, content)
            system[np.diag_indices_from(system)] += self.options.l2
        self._factor = cho_factor(system, overwrite_a=True, check_finite=False)
        return self

    def weights(self, content: np.ndarray) -> np.ndarray:
        solved = cho_solve(self._factor, self._kernel(self._marks, content), overwrite_b=True, check_finite=False)
        if self._marks is self._content:
            return solved.T.astype(np.float32)
        weights = np.empty((len(content), len(self._content)), np.float32)
        for start in range(0, len(self._content), BLOCK):
            block = slice(start, start + BLOCK)
            weights[:, block] = (self._kernel(self._content[block], self._marks) @ solved).T
        return weights

    def _kernel(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        likeness = first @ second.T
        likeness -= 1
        likeness /= self.options.tau
        return np.exp(likeness, out=likeness)
