"""What reviews and pictures share: each row's content is encoded once, by a frozen encoder, and kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.contracts.modality import Prepared, Tools
from augment.contracts.values import Bank, Described, classes
from augment.gates.labels import Labelled
from augment.numeric.columns import with_vectors
from augment.numeric.vectors import unit

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer

STILL = 1e-6  # a move as short as rounding


class Embedded(Labelled, Prepared):
    """Rows have the column `content`, and `embedding` once `attach` has encoded them."""

    content: ClassVar[str]
    normalised = True
    frozen = True
    draws = 1

    def __init__(self, encoder: Any) -> None:
        """encoder: a `FrozenEncoder` of the column's values."""
        self.model = encoder
        self.encoder, self.dim = encoder.name, encoder.dim

    @classmethod
    def segments(cls, train: pa.Table, unlabelled: pa.Table | None) -> list[str]:
        if "segment" not in train.column_names:
            return []
        rows = [train["segment"]] if unlabelled is None else [train["segment"], unlabelled["segment"]]
        return sorted({str(value) for column in rows for value in pc.unique(column).to_pylist()})

    @classmethod
    def around(cls, train: pa.Table, prepared: Prepared, victim: Consumer, tools: Tools) -> Any:
        return cast(Any, prepared)

    def attach(self, rows: pa.Table) -> pa.Table:
        """`rows` with an `embedding` column, fixed_size_list<float32>[dim]."""
        return with_vectors(rows, self.model.encode(rows[self.content].to_pylist()))

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        segment = codes(rows["segment"]) if "segment" in rows.column_names else np.zeros(len(rows), np.int64)
        return Described(label, segment, classes(label))

    def encode(self, rows: pa.Table) -> np.ndarray:
        if "embedding" not in rows.column_names:
            return self.model.encode(rows[self.content].to_pylist())
        flat = pa.concat_arrays([chunk.flatten() for chunk in rows["embedding"].chunks])
        return flat.to_numpy(zero_copy_only=False).reshape(-1, self.dim).copy()  # Arrow memory is read-only

    def with_content(self, rows: pa.Table, values: pa.Array | pa.ChunkedArray) -> pa.Table:
        """The rows with other contents, and without what belonged to the old ones."""
        kept = rows.drop_columns(["embedding"]) if "embedding" in rows.column_names else rows
        return kept.set_column(kept.column_names.index(self.content), self.content, values)

    def undecoded(self, anchors: pa.Table) -> pa.Table:
        return self.with_content(anchors, pa.nulls(len(anchors), anchors[self.content].type))

    def as_decoded(self, rows: pa.Table) -> pa.StructArray:
        content = rows[self.content].combine_chunks()
        return pa.StructArray.from_arrays([content], fields=list(self.decoded), mask=content.is_null())


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64[n] codes of a string column in order of first appearance; null is one value more."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def nearest_edits(step: np.ndarray, bank: Bank) -> tuple[np.ndarray, np.ndarray] | None:
    """Of each move float32[n, D]: the place int64[n] in the bank of the real displacement that is most like it by
    cosine, and the move's length in the mean one of that one's family (column `edit`), float64[n], 0 where it stands
    still.

    None where no real edit moved anything.
    """
    edits = bank.rows["edit"].to_numpy()
    displacements = bank.displacements.reshape(len(edits), -1)
    length, asked = np.linalg.norm(displacements, axis=1), np.linalg.norm(step, axis=1)
    moved = np.flatnonzero(length)
    if not len(moved):
        return None
    place = moved[np.argmax(step @ unit(displacements[moved]).T, axis=1)]
    usual = {name: length[moved][edits[moved] == name].mean() for name in set(edits[place])}
    return place, np.where(asked > STILL, asked / [usual[name] for name in edits[place]], 0)
