"""Reviews: a frozen sentence encoder, real edits of texts, and the edit most like a move as its decoded form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from augment.contracts.modality import Perturbation, Prepared, RowRules, Tools
from augment.contracts.values import Bank
from augment.language import typos
from augment.language.encoders import TextEncoder
from augment.language.lexicon import homophones, unfetched
from augment.modalities.embedded import Embedded, nearest_edits
from augment.watch.floods import floods

FAMILIES: dict[str, Callable[..., str]] = {  # (text, rng, rate, rank) → the text, edited
    "typos": typos.typo,
    "spacing": typos.spacing,
    "look-alike": typos.look_alike,
    "word-drop": typos.word_drop,
}
BLEND = {"typos": 0.7, "spacing": 0.1, "look-alike": 0.1, "word-drop": 0.1}  # shares of copies
AIMED = 0.6  # of as many words as move a text as far at random: those that are chosen move it more (measured)
RATES = (0.03, 0.5)  # shares of words that a move can be decoded to, the least and the most
TRIES = 3  # at an edit that changes something


class Text(Embedded):
    """Rows have `text`, and `embedding` once `attach` has encoded them."""

    name = "text"
    content = "text"
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

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(encoder)
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
        return self.with_content(rows, texts)


def _edits(step: np.ndarray, bank: Bank) -> tuple[list[str], np.ndarray]:
    """Of each move float32[n, D]: the family of edits that is most like it, and the share of words to touch,
    float64[n]: losing words at random shortens a vector by the square of the distance.
    """
    found = nearest_edits(step, bank)
    if found is None:
        return [next(iter(FAMILIES))] * len(step), np.zeros(len(step))
    place, share = found
    names = bank.rows["edit"].take(pa.array(place)).to_pylist()
    return names, np.where(share > 0, (AIMED * typos.RATE * share**2).clip(*RATES), 0)


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
