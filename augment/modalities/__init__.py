"""A modality turns rows into vectors and vectors back into rows: text, fields, behaviour (images join here).

The strategies, the gates and the pipeline know rows only through this interface.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa


class Modality(Protocol):
    encoder: str  # name@version of the frozen encoder
    dim: int
    decoded: pa.StructType  # what a row of this modality is, for a reader without our encoders

    def anchors(self, train: pa.Table) -> pa.Table:
        """The rows samples may start from, one per anchor, with `row_id`; only training rows ever come in."""
        ...

    def encode(self, rows: pa.Table) -> np.ndarray:
        """float32[n, dim] of anchor rows, or of rows made by `perturb` or `decode`."""
        ...

    def perturb(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """A really perturbed copy of each row: typos, masked or swapped fields, dropped interactions."""
        ...

    def decode(self, embedding: np.ndarray, anchors: pa.Table) -> pa.Table:
        """The rows nearest to generated vectors float32[n, dim], one per anchor row."""
        ...

    def as_decoded(self, rows: pa.Table) -> pa.StructArray:
        """The published `decoded` column of rows."""
        ...
