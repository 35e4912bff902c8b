"""What is popular, whatever came before."""

from __future__ import annotations

import numpy as np

from augment.numeric.sequences import Sequences
from consumers.sequences.base import Arrays, Material, SequenceModel, Tried


def popularity(material: Material) -> np.ndarray:
    """float32[I]: how often each item occurs, by the weights of sequences."""
    every = material.whole
    return np.bincount(every.items, material.weights[every.owners], material.items).astype(np.float32)


class Popular(SequenceModel):
    name = "popular"

    def fit(self, material: Material, tried: Tried) -> Arrays:
        return {"popularity": popularity(material)}

    def scores(self, arrays: Arrays, shown: Sequences) -> np.ndarray:
        return np.tile(arrays["popularity"], (len(shown), 1))
