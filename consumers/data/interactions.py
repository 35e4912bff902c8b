"""The synthetic users of a mix."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.columns import whole
from augment.numeric.ease import binary_matrix
from augment.numeric.histories import binary, flipped, minus
from consumers.data import storage

LISTS = ("items", "targets", "negatives")  # of a sample, as `decoded` has them


@dataclass(frozen=True)
class Synthetic:
    """Synthetic users, a row each.

    items: binary float32[n, I], what each shows; targets: what it wants; negatives: what it must not be given. weight:
    float[n]. anchor: int64[n], the place of the real user that it was made of, −1 for one that is not known.
    """

    items: csr_matrix
    targets: csr_matrix
    negatives: csr_matrix
    weight: np.ndarray
    anchor: np.ndarray

    @classmethod
    def of(cls, mix: pa.Table, users: pa.Array, items: pa.Array) -> Synthetic:
        """Published samples, of which items that `items` does not hold are left out."""
        decoded = mix["decoded"].combine_chunks()
        matrices = {name: binary_matrix(pc.struct_field(decoded, name), items) for name in LISTS}
        anchor = pc.fill_null(pc.index_in(whole(mix["anchor_id"]), users), -1).to_numpy(zero_copy_only=False)
        return cls(**matrices, weight=mix["weight"].to_numpy(), anchor=anchor)

    @classmethod
    def stored(cls, arrays: dict[str, np.ndarray], items: int) -> Synthetic | None:
        """Those that `arrays` made, taken out of a saved model's arrays; None where it had no mix."""
        if "mix.weight" not in arrays:
            return None
        matrices = {name: storage.take_sparse(arrays, f"mix.{name}", items) for name in LISTS}
        return cls(**matrices, weight=arrays.pop("mix.weight"), anchor=arrays.pop("mix.anchor"))

    def arrays(self) -> dict[str, np.ndarray]:
        found = {"mix.weight": self.weight, "mix.anchor": self.anchor}
        for name in LISTS:
            found |= storage.sparse(f"mix.{name}", getattr(self, name))
        return found

    def flipped(self, flips: csr_matrix) -> Synthetic:
        """Made of users whose items were flipped (see `shilling.flips`): what the anchor lost, its samples lost."""
        items, targets = (binary(flipped(m, flips, self.anchor)) for m in (self.items, self.targets))
        return replace(self, items=items, targets=targets, negatives=minus(self.negatives, targets))
