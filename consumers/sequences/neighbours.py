"""Session neighbours (V-SkNN; Ludewig & Jannach, 2018): what was in the sequences that are most like this one."""

from __future__ import annotations

from functools import partial
from itertools import product
from operator import itemgetter

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, diags

from augment.contracts.options import BaseOptions
from augment.numeric.sequences import Sequences
from consumers.data import storage
from consumers.sequences.base import Arrays, Material, SequenceModel, Tried
from consumers.sequences.popular import popularity

NEIGHBOURS, TAUS, RARE = (50, 200, 1000), (1.0, 3.0, 10.0, 30.0), (0.0, 1.0)
TUNED = 0  # where an option is to be tuned
UNKNOWN = 1e-6  # what popularity adds, where neighbours say nothing


class SessionNeighbours(SequenceModel):
    """A sequence is near to another by the weights of the items that both have: the later, the more."""

    name = "session-neighbours"

    class Options(BaseOptions):
        """Of session neighbours."""

        neighbours: int = Field(TUNED, ge=0, description="So many sequences, the nearest, tell. 0 tunes it.")
        tau: float = Field(
            0.0, ge=0, description="An item that so many later ones follow counts 1/e of the latest. 0 tunes it."
        )

    options: Options

    def fit(self, material: Material, tried: Tried) -> Arrays:
        """Tuned beside: whether rare items count more (by their inverse document frequency)."""
        counts = material.whole.matrix(material.items)
        counts.data[:] = 1
        popular = popularity(material)
        known = {"popularity": popular, "weights": material.weights.astype(np.float32)} | storage.sparse("of", counts)
        rarity = np.log(len(counts.indptr) / np.maximum(counts.getnnz(axis=0), 1)).astype(np.float32)
        found = []
        for neighbours, tau, power in product(self._neighbours(), self._taus(), RARE):
            arrays = {**known, "neighbours": np.array(neighbours), "tau": np.array(tau), "rarity": rarity**power}
            found.append((tried(partial(self.scores, arrays)), arrays))
        return max(found, key=itemgetter(0))[1]

    def _neighbours(self) -> tuple[int, ...]:
        return (self.options.neighbours,) if self.options.neighbours else NEIGHBOURS

    def _taus(self) -> tuple[float, ...]:
        return (self.options.tau,) if self.options.tau else TAUS

    def scores(self, arrays: Arrays, shown: Sequences) -> np.ndarray:
        items = len(arrays["popularity"])
        of = storage.take_sparse(dict(arrays), "of", items)
        like = (shown.matrix(items, arrays["tau"].item()) @ diags(arrays["rarity"]) @ of.T).tocsr()
        like = (_nearest(like, arrays["neighbours"].item()) @ diags(arrays["weights"])).tocsr()
        popular = arrays["popularity"] * np.float32(UNKNOWN / max(arrays["popularity"].max(), 1))
        return np.asarray((like @ of @ diags(arrays["rarity"])).toarray() + popular, np.float32)


def _nearest(like: csr_matrix, count: int) -> csr_matrix:
    """float32[n, U] with the `count` greatest entries of each row alone."""
    order = np.lexsort((-like.data, np.repeat(np.arange(like.shape[0]), np.diff(like.indptr))))
    rank = np.empty(like.nnz, np.int64)
    rank[order] = np.arange(like.nnz) - np.repeat(like.indptr[:-1], np.diff(like.indptr))
    like.data[rank >= count] = 0
    like.eliminate_zeros()
    return like
