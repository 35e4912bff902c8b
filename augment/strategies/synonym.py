"""Words replaced by synonyms, kept where the sentence still means about the same to the encoder."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from augment.contracts.modality import Modality, Texts
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy, Workshop
from augment.contracts.values import Candidates
from augment.language.lexicon import available, lexicon, replace_words, suited
from augment.language.typos import say_touched


class Synonym(Strategy):
    name = "synonym"
    what = "words replaced by synonyms (WordNet, Cilin or your own file)"
    needs = Texts
    idle = "no text has a word with a synonym, or `similarity` asks for more than the changed texts have"

    class Options(BaseOptions):
        source: str = Field(
            "", description="wordnet, cilin, a file with a group of synonyms per line, or '': what suits each text."
        )
        rate: float = Field(0.3, gt=0, le=1, description="Share of the replaceable words that are replaced.")
        similarity: float = Field(0.8, gt=0, le=1, description="Least cosine to the anchor.")

    def __init__(self, workshop: Workshop, options: Options) -> None:
        super().__init__(workshop, options)
        texts = workshop.anchors.rows["text"].to_pylist()
        names = {options.source} if options.source else {suited(text) for text in texts}
        self._lexicons = {name: lexicon(name) for name in sorted(names)}
        self._said = False  # how many words were replaced

    @classmethod
    def missing(cls, options: Options, modality: type[Modality]) -> str:
        """Without a `source`, the synonyms of one script are enough."""
        if source := options.source:
            return available(source) and f"'{source}': {available(source)}"
        remedies = [available(name) for name in ("wordnet", "cilin")]
        return "" if "" in remedies else f"{remedies[0]}; for Chinese: {remedies[1]}"

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work, wanted = self.workshop, self.options
        anchor = np.repeat(anchors, work.modality.draws)
        texts = work.texts(anchor)
        replaced = [
            replace_words(text, self._lexicons[wanted.source or suited(text)], wanted.rate, rng) for text in texts
        ]
        if not self._said:
            self._said = True
            say_touched({"synonym": zip(texts, replaced, strict=True)}, wanted.rate)
        return work.reworded(anchor, replaced, wanted.similarity)
