"""What reviews, pictures and clips share: a row's content is encoded once, by a frozen encoder, and kept beside it."""

from __future__ import annotations

from abc import abstractmethod
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
STRENGTHS = (0.15, 0.85)  # of real edits in the bank, the least and the most
MEAN = sum(STRENGTHS) / 2
LEAST = 0.05  # strength of an edit that a move is decoded to


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


class Edited(Embedded):
    """Contents are files, and a move is decoded to the real edit that is most like it."""

    @abstractmethod
    def edited(self, content: bytes, name: str, seed: int, strength: float) -> bytes:
        """A file edited as the perturbation of that name has it; the same bytes of the same seed."""

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """Copies have columns more that say how each was edited: the family `edit`, `strength` and `seed`."""
        names = [kind] * len(rows) if kind else rng.choice(list(self.perturbations), len(rows)).tolist()
        strength, seed = rng.uniform(*STRENGTHS, len(rows)), rng.integers(2**32, size=len(rows))
        made = self._edited(rows, names, strength, seed)
        for name, column in (("edit", names), ("strength", strength), ("seed", seed)):
            made = made.append_column(name, pa.array(column))
        return made

    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """Each anchor's own file, really edited the way it was moved, and its true vector.

        The edit is the bank's whose displacement points most nearly where the move does, done again with its seed: the
        same corner cut, the same hand in the same place; the stronger the longer the move is beside that family's
        displacements: vectors move by the root of the strength (measured). What did not move keeps its file.
        """
        found = nearest_edits(embedding - self.encode(anchors), bank)
        if found is None:
            return anchors, self.encode(anchors)
        place, share = found
        edits = bank.rows.select(["edit", "strength", "seed"]).take(pa.array(place))
        strength = np.where(share > 0, np.clip(MEAN * share**2, LEAST, 1), 0)
        rows = self._edited(anchors, edits["edit"].to_pylist(), strength, edits["seed"].to_numpy())
        return rows, self.encode(rows)

    def _edited(self, rows: pa.Table, names: list[str], strength: np.ndarray, seed: np.ndarray) -> pa.Table:
        """The rows with their files edited, by the family, strength and seed of each; 0 leaves one as it is."""
        edits = zip(rows[self.content].to_pylist(), names, seed.tolist(), strength.tolist(), strict=True)
        made = [self.edited(each, name, n, s) if s else each for each, name, n, s in edits]
        return self.with_content(rows, pa.array(made, pa.binary()))


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
