"""Ridge regression from content to behaviour: linear, so it knows what each property is worth."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from augment.contracts.content_map import ContentMap
from augment.contracts.options import BaseOptions


class Ridge(ContentMap):
    """The prediction for a new item c is cᵀ(CᵀC + l2)⁻¹Cᵀ applied to what is known of the others: these are weights.

    So one closed form serves every target: an item's column in EASE, its factors, its scores by any model.
    """

    name = "ridge"
    what = "ridge regression on the vectors of their content"
    grid = tuple({"l2": l2} for l2 in (0.3, 1.0, 3.0, 10.0, 30.0))

    class Options(BaseOptions):
        l2: float = Field(3.0, gt=0, description="Regularisation.")

    options: Options

    def fit(self, content: np.ndarray, behaviour: np.ndarray) -> Ridge:
        gram = content.T @ content
        gram[np.diag_indices_from(gram)] += self.options.l2
        self._content, self._factor = content, cho_factor(gram, overwrite_a=True)
        return self

    def weights(self, content: np.ndarray) -> np.ndarray:
        return (self._content @ cho_solve(self._factor, content.T)).T.astype(np.float32)
