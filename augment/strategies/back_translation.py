"""Back-translation: into another language and back, which rewords a text (Sennrich, Haddow & Birch, 2016)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from augment.contracts.modality import Modality, Texts
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy, Workshop
from augment.contracts.values import Candidates
from augment.language.translation import round_trip, translators, unavailable


class BackTranslation(Strategy):
    """A text is translated once, and has one translation: one candidate an anchor."""

    name = "back-translation"
    what = "there and back through Apertium or a MarianMT model"
    needs = Texts
    idle = "texts come back word for word, or `similarity` asks for more than the translations have"

    class Options(BaseOptions):
        engine: str = Field("apertium", description="apertium, or marian.")
        there: str = Field("eng-spa", description="Apertium's mode, or a MarianMT model by hub name or folder.")
        back: str = Field("spa-eng", description="The same, for the way back.")
        similarity: float = Field(0.8, gt=0, le=1, description="Least cosine to the anchor.")

    def __init__(self, workshop: Workshop, options: Options) -> None:
        super().__init__(workshop, options)
        self._there, self._back = translators(options.engine, options.there, options.back)
        self._known: dict[str, str] = {}

    @classmethod
    def missing(cls, options: Options, modality: type[Modality]) -> str:
        return unavailable(options.engine, options.there, options.back)

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        texts = self.workshop.texts(anchors)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, round_trip(self._there, self._back, new), strict=True))
        return self.workshop.reworded(anchors, [self._known[text] for text in texts], self.options.similarity)
