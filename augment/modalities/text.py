"""Reviews: a frozen sentence encoder, real edits of texts, and the edit most like a move as its decoded form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from augment.numeric.columns import with_vectors
from augment.numeric.vectors import unit
from augment.watch.floods import floods

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer

FAMILIES: dict[str, Callable[..., str]] = {  # (text, rng, rate, rank) → the text, edited
    "typos": typos.typo,
    "spacing": typos.spacing,
    "look-alike": typos.look_alike,
    "word-drop": typos.word_drop,
}
BLEND = {"typos": 0.7, "spacing": 0.1, "look-alike": 0.1, "word-drop": 0.1}  # shares of copies
AIMED = 0.6  # of as many words as move a text as far at random: those that are chosen move it more (measured)
RATES = (0.03, 0.5)  # shares of words that a move can be decoded to, the least and the most
STILL = 1e-6  # a move as short as rounding
TRIES = 3  # at an edit that changes something


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
        return with_vectors(rows, self.model.encode(rows["text"].to_pylist()))

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        segment = codes(rows["segment"]) if "segment" in rows.column_names else np.zeros(len(rows), np.int64)
        return Described(label, segment, classes(label))

    def encode(self, rows: pa.Table) -> np.ndarray:
        if "embedding" not in rows.column_names:
            return self.model.encode(rows["text"].to_pylist())
        flat = pa.concat_arrays([chunk.flatten() for chunk in rows["embedding"].chunks])
        return flat.to_numpy(zero_copy_only=False).reshape(-1, self.dim).copy()  # Arrow memory is read-only

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """Copies have a column `edit` more: the family of each one's edits."""
        texts = rows["text"].to_pylist()
        edits = [kind] * len(texts) if kind else rng.choice(list(BLEND), len(texts), p=list(BLEND.values())).tolist()
        made = []
        for i, text in enumerate(texts):
            made.append(self._family(edits[i])(text, rng))
            if made[i] == text and not kind:  # a family may know nothing of a script
                edits[i], made[i] = "typos", typos.typo(text, rng)
        if kind not in self._said:
            self._said.add(kind)
            typos.say_touched({kind or "the blend of typos": zip(texts, made, strict=True)})
        return self.with_text(rows, pa.array(made, pa.string())).append_column("edit", pa.array(edits, pa.string()))

    def _family(self, name: str) -> Callable[..., str]:
        return partial(typos.homophones, alike=homophones()) if name == "homophones" else FAMILIES[name]

    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """Each anchor's own text, really edited the way it was moved, and its true vector.

        The edits are of the family whose real displacement points most nearly where the move does. The longer the move
        is beside that family's displacements, the more words are touched; which, the move says too: those from whose
        own vectors it leads away. What did not move keeps its text.
        """
        step, texts = embedding - self.encode(anchors), anchors["text"].to_pylist()
        edits = zip(texts, *_edits(step, bank), self._ranks(texts, step), strict=True)
        made = [_edited(text, name, rate, rank, rng) for text, name, rate, rank in edits]
        rows = self.with_text(anchors, pa.array(made, pa.string()))
        return rows, self.encode(rows)

    def _ranks(self, texts: list[str], step: np.ndarray) -> list[typos.Rank]:
        """Of each text that moves by step[i]: how much of the way the loss of a word goes, to first order.

        Where n-grams are a part of the vectors theirs do, which are cheap.
        """
        words = list(dict.fromkeys(unit for text in texts for unit in typos.units(text)))
        place = {word: i for i, word in enumerate(words)}
        if self.ngrams is not None and self.ngrams.dim:
            step, vectors = step[:, -self.ngrams.dim :], self.ngrams.encode(words)
        else:
            vectors = self.model.encode(words)
        return [partial(_away, vectors, place, move) for move in step]

    def with_text(self, rows: pa.Table, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        kept = rows.drop_columns(["embedding"]) if "embedding" in rows.column_names else rows
        return kept.set_column(kept.column_names.index("text"), "text", texts)


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64[n] codes of a string column in order of first appearance; null is one value more."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _edits(step: np.ndarray, bank: Bank) -> tuple[list[str], np.ndarray]:
    """Of each move float32[n, D]: the family of the real displacement that is most like it by cosine, and the share of
    words to touch, float64[n]: losing words at random shortens a vector by the square of the distance.
    """
    families = bank.rows["edit"].to_numpy()
    displacements = bank.displacements.reshape(len(families), -1)
    length, asked = np.linalg.norm(displacements, axis=1), np.linalg.norm(step, axis=1)
    moved = np.flatnonzero(length)
    if not len(moved):
        return [next(iter(FAMILIES))] * len(step), np.zeros(len(step))
    families, length = families[moved], length[moved]
    names = families[np.argmax(step @ unit(displacements[moved]).T, axis=1)]
    usual = {name: length[families == name].mean() for name in set(families)}
    rates = AIMED * typos.RATE * (asked / [usual[name] for name in names]) ** 2
    return names.tolist(), np.where(asked > STILL, rates.clip(*RATES), 0)


def _away(vectors: np.ndarray, place: dict[str, int], move: np.ndarray, words: Sequence[str]) -> np.ndarray:
    return np.array([-vectors[place[word]] @ move if word in place else 0.0 for word in words])


def _edited(text: str, name: str, rate: float, rank: typos.Rank, rng: np.random.Generator) -> str:
    """Another text than it was, where a family can make one: at last typos can."""
    if not rate:
        return text
    for tried, family in enumerate([FAMILIES[name]] * TRIES + [typos.typo] * TRIES):
        made = family(text, rng, min(1.0, rate * (1 + tried)), rank)
        if made != text and made.strip():
            return made
    return text
