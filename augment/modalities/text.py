"""Reviews: a frozen sentence encoder, real typos, and the nearest known text as the decoded form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.contracts.modality import Perturbation, Prepared, RowRules, Tools
from augment.contracts.values import Bank, Described, classes
from augment.gates.labels import Labelled
from augment.language import typos
from augment.language.encoders import TextEncoder
from augment.language.lexicon import homophones, unfetched
from augment.watch.floods import floods

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer

FAMILIES = {
    "": typos.typo,
    "typos": typos.typo,
    "spacing": typos.spacing,
    "look-alike": typos.look_alike,
    "word-drop": typos.word_drop,
}


class Text(Labelled, Prepared):
    """Rows have `text`, and `embedding` once `attach` has encoded them."""

    name = "text"
    rows = RowRules(needs=("text", "label"), filled=("text",), unlabelled="kept", copies=True)
    perturbations: ClassVar = {
        "typos": Perturbation("swapped, dropped, doubled, mistyped characters"),
        "spacing": Perturbation("words run together or split"),
        "look-alike": Perturbation("letters replaced by signs that look alike"),
        "word-drop": Perturbation("words left out"),
        "homophones": Perturbation(
            "Chinese characters replaced by others that sound the same", missing=lambda: unfetched("homophones")
        ),
    }
    decoded = pa.struct([("text", pa.string())])
    normalised = True
    frozen = True
    draws = 1

    def __init__(self, encoder: TextEncoder) -> None:
        self.model = encoder
        self.encoder = encoder.name
        self.dim = encoder.dim
        self.ngrams = encoder.ngrams
        self._said: set[str] = set()  # kinds of perturbations whose share of touched words was said

    @classmethod
    def bought(cls, rows: pa.Table, seed: int) -> dict[int, str]:
        """Floods of copied reviews."""
        columns = {name: rows[name].combine_chunks() for name in rows.column_names}
        return floods(columns["text"], columns.get("timestamp"), columns.get("user_id"))

    @classmethod
    def prepare(cls, texts: Callable[[], list[str]], tools: Tools, ngrams: Any = None) -> Prepared:
        return cls(tools.encoder(texts(), ngrams))

    @classmethod
    def segments(cls, train: pa.Table, unlabelled: pa.Table | None) -> list[str]:
        if "segment" not in train.column_names:
            return []
        rows = [train["segment"]] if unlabelled is None else [train["segment"], unlabelled["segment"]]
        return sorted({str(value) for column in rows for value in pc.unique(column).to_pylist()})

    @classmethod
    def around(cls, train: pa.Table, prepared: Prepared, victim: Consumer, tools: Tools) -> Text:
        return cast(Text, prepared)

    def attach(self, rows: pa.Table) -> pa.Table:
        """`rows` with an `embedding` column, fixed_size_list<float32>[dim]."""
        flat = pa.array(self.model.encode(rows["text"].to_pylist()).ravel())
        return rows.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, self.dim))

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
        return self.with_text(rows, pa.array(made, pa.string()))

    def _homophones(self) -> Callable[[str, np.random.Generator], str]:
        return partial(typos.homophones, alike=homophones())

    def decode(self, embedding: np.ndarray, anchors: pa.Table, bank: Bank) -> tuple[pa.Table, np.ndarray]:
        """Text cannot be read off a vector: the decoded form is the nearest really perturbed training text."""
        _, nearest = bank.copies.search(embedding, 1)
        return self.with_text(anchors, bank.rows["text"].take(pa.array(nearest[:, 0]))), embedding

    def with_text(self, rows: pa.Table, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        kept = rows.drop_columns(["embedding"]) if "embedding" in rows.column_names else rows
        return kept.set_column(kept.column_names.index("text"), "text", texts)


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64[n] codes of a string column in order of first appearance; null is one value more."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
