"""Reviews: a frozen sentence encoder, real typos, and the nearest known text as the decoded form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from augment.contracts.values import Bank, Described, classes
from augment.language import typos
from augment.language.encoders import TextEncoder

FAMILIES = {
    "": typos.typo,
    "typos": typos.typo,
    "spacing": typos.spacing,
    "look-alike": typos.look_alike,
    "word-drop": typos.word_drop,
}


class Text:
    """Rows have `text`, and `embedding` once `attach` has encoded them."""

    decoded = pa.struct([("text", pa.string())])
    normalised = True
    draws = 1

    def __init__(self, encoder: TextEncoder) -> None:
        self.model = encoder
        self.encoder = encoder.name
        self.dim = encoder.dim
        self._said: set[str] = set()  # kinds of perturbations whose share of touched words was said

    def attach(self, rows: pa.Table) -> pa.Table:
        """`rows` with an `embedding` column, fixed_size_list<float32>[dim]."""
        flat = pa.array(self.model.encode(rows["text"].to_pylist()).ravel())
        return rows.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, self.dim))

    def anchors(self, train: pa.Table) -> pa.Table:
        return train

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        segment = codes(rows["segment"]) if "segment" in rows.column_names else np.zeros(len(rows), np.int64)
        return Described(label, segment, classes(label))

    def encode(self, rows: pa.Table) -> np.ndarray:
        if "embedding" not in rows.column_names:
            return self.model.encode(rows["text"].to_pylist())
        flat = pa.concat_arrays([chunk.flatten() for chunk in rows["embedding"].chunks])
        return flat.to_numpy(zero_copy_only=False).reshape(-1, self.dim).copy()  # Arrow memory is read-only

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        family = self._homophones() if kind == "homophones" else FAMILIES[kind]
        texts = rows["text"].to_pylist()
        made = [family(text, rng) for text in texts]
        if kind not in self._said:
            self._said.add(kind)
            typos.say_touched({kind or "typos": zip(texts, made, strict=True)})
        return _with_text(rows, pa.array(made, pa.string()))

    def _homophones(self) -> Callable[[str, np.random.Generator], str]:
        from augment.language.lexicon import homophones

        return partial(typos.homophones, alike=homophones())

    def decode(self, embedding: np.ndarray, anchors: pa.Table, bank: Bank) -> tuple[pa.Table, np.ndarray]:
        """Text cannot be read off a vector: the decoded form is the nearest really perturbed training text."""
        _, nearest = bank.copies.search(embedding, 1)
        return _with_text(anchors, bank.rows["text"].take(pa.array(nearest[:, 0]))), embedding

    def as_decoded(self, rows: pa.Table) -> pa.StructArray:
        return pa.StructArray.from_arrays([rows["text"].combine_chunks()], fields=list(self.decoded))


def _with_text(rows: pa.Table, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    kept = rows.drop_columns(["embedding"]) if "embedding" in rows.column_names else rows
    return kept.set_column(kept.column_names.index("text"), "text", texts)


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64[n] codes of a string column in order of first appearance; null is one value more."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
