"""A modality turns rows into vectors and vectors back into rows: text, fields, behaviour (images join here).

The strategies, the gates and the pipeline know rows only through this interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from augment.anchors import Bank


class Described(NamedTuple):
    """What anchors are conditioned on; see `gan.victim.Condition`."""

    target: np.ndarray  # float32[n] class probability, or int64[n] target item
    segment: np.ndarray  # int64[n]
    context: np.ndarray  # float32[n, C]


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

        kind: one perturbation as `augment.strategies` names it; "" is a blend.
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


def classes(label: np.ndarray) -> np.ndarray:
    """float32[n, 2]: the soft two-class encoding of labels in [0, 1]."""
    return np.stack([1 - label, label], axis=1).astype(np.float32)


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64[n] codes of a string column in order of first appearance; null is one value more."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def margins_to_losses(band: tuple[float, float]) -> tuple[float, float]:
    """The victim's losses softplus(−m) at the ends of a band of margins: the easiest, and the hardest."""
    easiest, hardest = np.log1p(np.exp(-np.array(band)[::-1]))
    return float(easiest), float(hardest)


def losses_to_margins(loss: np.ndarray) -> np.ndarray:
    """float64[n]: the margins m whose softplus(−m) is the loss; at most 16, where a loss is next to nothing."""
    loss = np.maximum(loss.astype(np.float64), 1e-7)
    return -(loss + np.log(-np.expm1(-loss)))
