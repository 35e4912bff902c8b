"""Item-to-item models, whose scores are sums over recent items: EASE (Steck, 2019) and what followed what."""

from __future__ import annotations

from abc import abstractmethod
from operator import itemgetter
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field
from scipy.sparse import csr_matrix, diags

from augment.contracts.options import BaseOptions
from augment.numeric.ease import ease_path
from augment.numeric.sequences import Sequences
from consumers.sequences.base import Arrays, Material, SequenceModel, Tried
from consumers.sequences.popular import popularity

TAUS = (0.3, 1.0, 3.0, 10.0, 30.0)
UNKNOWN = 1e-6  # what popularity adds, where items say nothing


class RecentOptions(BaseOptions):
    """Of item-to-item models."""

    l2: float = Field(-1.0, ge=-1, description="Regularisation. -1 tunes it.")
    tau: float = Field(
        0.0, ge=0, description="An item that so many later ones follow counts 1/e of the latest. 0 tunes it."
    )


class ByItems(SequenceModel):
    """l2 is chosen at a middle recency, then the recency."""

    grid: ClassVar[tuple[float, ...]]
    Options: ClassVar[type[BaseModel]] = RecentOptions
    options: RecentOptions

    def fit(self, material: Material, tried: Tried) -> Arrays:
        popular = popularity(material)
        popular = popular * np.float32(UNKNOWN / max(popular.max(), 1))
        taus = (self.options.tau,) if self.options.tau else TAUS
        middle = taus[len(taus) // 2]

        def worth(weights: np.ndarray, tau: float) -> tuple[float, Arrays]:
            arrays = {"items": weights, "tau": np.array(tau), "popularity": popular}
            return tried(lambda shown: self.scores(arrays, shown)), arrays

        l2s = self.grid if self.options.l2 < 0 else (self.options.l2,)
        best = max((worth(weights, middle) for weights in self.weights(material, l2s)), key=itemgetter(0))
        others = (worth(best[1]["items"], tau) for tau in taus if tau != middle)
        return max([best, *others], key=itemgetter(0))[1]

    @abstractmethod
    def weights(self, material: Material, l2s: tuple[float, ...]) -> list[np.ndarray]:
        """float32[I, I] for each l2: what an item that was met says of each that may come."""

    def scores(self, arrays: Arrays, shown: Sequences) -> np.ndarray:
        weights = arrays["items"]
        return np.asarray(shown.matrix(len(weights), arrays["tau"].item()) @ weights + arrays["popularity"], np.float32)


class Ease(ByItems):
    name = "ease"
    grid = (10.0, 50.0, 200.0, 800.0)

    def weights(self, material: Material, l2s: tuple[float, ...]) -> list[np.ndarray]:
        history = material.whole.matrix(material.items)
        history.data[:] = 1
        return list(ease_path(history, None, l2s, material.weights))


class Transitions(ByItems):
    """A Markov chain over items, each beside the next; l2: so many counts of what is popular."""

    name = "transitions"
    grid = (0.1, 1.0, 10.0, 100.0)

    def weights(self, material: Material, l2s: tuple[float, ...]) -> list[np.ndarray]:
        every = material.whole
        owner, size = every.owners, material.items
        pair = owner[1:] == owner[:-1]
        place = every.items[:-1][pair], every.items[1:][pair]
        follows = csr_matrix((material.weights[owner[1:][pair]], place), shape=(size, size))
        left, popular = np.asarray(follows.sum(axis=1)), popularity(material)
        popular = popular / max(popular.sum(), 1)
        chances = [(diags(1 / (left.ravel() + l2)) @ follows).toarray() for l2 in l2s]
        return [(found + l2 / (left + l2) * popular).astype(np.float32) for found, l2 in zip(chances, l2s, strict=True)]
