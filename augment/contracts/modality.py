"""A modality turns rows into vectors and vectors back into rows: text, fields, behaviour (images join here).

The strategies, the gates and the pipeline know rows only through this interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from augment.contracts.values import Described

if TYPE_CHECKING:
    from augment.contracts.values import Bank


class Modality(Protocol):
    encoder: str  # name@version of the frozen encoder
    dim: int
    normalised: bool  # embeddings lie on the unit sphere
    decoded: pa.StructType  # what a row of this modality is, for a reader without our encoders
    draws: int  # candidates per anchor that a really perturbed copy is worth: encoding text is dear, ids are cheap

    def anchors(self, train: pa.Table) -> pa.Table:
        """The rows samples may start from, one per anchor, with `row_id`; only training rows ever come in."""
        ...

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        """Conditions of all anchors `rows`, whose labels float32[n] are soft where a row had none."""
        ...

    def encode(self, rows: pa.Table) -> np.ndarray:
        """float32[n, dim] of anchor rows, or of rows made by `perturb` or `decode`."""
        ...

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """A really perturbed copy of each row: typos, masked or swapped fields, dropped interactions.

        kind: one perturbation as `augment.contracts.strategy` names it; "" is a blend.
        """
        ...

    def decode(self, embedding: np.ndarray, anchors: pa.Table, bank: Bank) -> tuple[pa.Table, np.ndarray]:
        """The real rows nearest to generated vectors float32[n, dim], one per anchor row, and the vectors to publish.

        Where a row can be read off its vector (ids), those are the vectors of the decoded rows; text keeps its own.
        """
        ...

    def as_decoded(self, rows: pa.Table) -> pa.StructArray:
        """The published `decoded` column of rows."""
        ...
