"""Back-translation: into another language and back, which rewords a text (Sennrich, Haddow & Birch, 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates
from augment.language.translation import round_trip, translators, unavailable
from augment.strategies.synonym import rewritten, texts_of


class BackTranslation:
    """engine: `apertium` or `marian`. there, back: Apertium's modes, or MarianMT models by hub name or folder.

    similarity: least cosine to the anchor. A text is translated once, and has one translation: one candidate an anchor.
    """

    def __init__(
        self,
        workshop: Workshop,
        engine: str = "apertium",
        there: str = "eng-spa",
        back: str = "spa-eng",
        similarity: float = 0.8,
    ) -> None:
        self._workshop, self._similarity = workshop, similarity
        self._there, self._back = translators(engine, there, back)
        self._known: dict[str, str] = {}

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        texts = texts_of(self._workshop, anchors)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, round_trip(self._there, self._back, new), strict=True))
        return rewritten(self._workshop, anchors, [self._known[text] for text in texts], self._similarity)


def missing(options: Mapping[str, Any]) -> str:
    """What to do before the engine and directions of the options can be had; "" when they can."""
    return unavailable(options["engine"], options["there"], options["back"])
