"""Words replaced by synonyms, kept where the sentence still means about the same to the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates
from augment.language.lexicon import available, lexicon, replace_words, suited
from augment.language.typos import say_touched
from augment.numeric.vectors import cosine


class Synonym:
    """source: `wordnet`, `cilin`, a file with a group of synonyms per line, or "" for what suits each text's script.

    rate: share of the replaceable words that are replaced. similarity: least cosine to the anchor.
    """

    def __init__(self, workshop: Workshop, source: str = "", rate: float = 0.3, similarity: float = 0.8) -> None:
        self._workshop, self._source, self._rate, self._similarity = workshop, source, rate, similarity
        names = {source} if source else {suited(text) for text in workshop.anchors.rows["text"].to_pylist()}
        self._lexicons = {name: lexicon(name) for name in sorted(names)}
        self._said = False  # how many words were replaced

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        anchor = np.repeat(anchors, self._workshop.modality.draws)
        texts = texts_of(self._workshop, anchor)
        replaced = [
            replace_words(text, self._lexicons[self._source or suited(text)], self._rate, rng) for text in texts
        ]
        if not self._said:
            self._said = True
            say_touched({"synonym": zip(texts, replaced, strict=True)}, self._rate)
        return rewritten(self._workshop, anchor, replaced, self._similarity)


def missing(options: Mapping[str, Any]) -> str:
    """What to do before the synonyms of `source` can be had, or any for a script when it is ""; "" when they can."""
    if source := options["source"]:
        return available(source) and f"'{source}': {available(source)}"
    remedies = [available(name) for name in ("wordnet", "cilin")]
    return "" if "" in remedies else f"{remedies[0]}; for Chinese: {remedies[1]}"


def texts_of(workshop: Workshop, anchor: np.ndarray) -> list[str]:
    return workshop.anchors.rows["text"].take(pa.array(anchor)).to_pylist()


def rewritten(workshop: Workshop, anchor: np.ndarray, texts: list[str], similarity: float) -> Candidates:
    """Candidates of the rewritten texts, texts[i] from the anchor at anchor[i].

    Those that say the same word for word, or whose cosine to the anchor is below `similarity`, are left out.
    """
    pairs = zip(texts, texts_of(workshop, anchor), strict=True)
    changed = np.flatnonzero([new != old and bool(new.strip()) for new, old in pairs])
    anchor = anchor[changed]
    rows = workshop.anchors.rows.take(pa.array(anchor))
    if "embedding" in rows.column_names:  # it is the old text's
        rows = rows.drop_columns(["embedding"])
    place = rows.column_names.index("text")
    rows = rows.set_column(place, "text", pa.array([texts[i] for i in changed], pa.string()))
    embedding = workshop.modality.encode(rows)
    near = np.flatnonzero(cosine(embedding, workshop.anchors.embedding[anchor]) >= similarity)
    return Candidates(anchor, rows, embedding).take(near)
