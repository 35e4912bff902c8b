"""A strategy: reviews in a loud voice ("SO soft!!"), which shops get by the thousand and models read badly.

Entry point, group `sparring.strategies`: `shouting = strategy:Shouting`. Recipes then say
`strategies = { shouting = 0.5, gan = 0.5 }`.
"""

import numpy as np
from pydantic import Field

from augment.contracts.modality import Texts
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates


class Shouting(Strategy):
    name = "shouting"
    what = "words in capitals, and an end with exclamation marks"
    needs = Texts
    idle = "no text has a word in small letters, or `similarity` asks for more than the loud texts have"

    class Options(BaseOptions):
        rate: float = Field(0.3, gt=0, le=1, description="Share of the words in capitals.")
        similarity: float = Field(0.2, gt=0, le=1, description="Least cosine to the anchor.")

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        anchor = np.repeat(anchors, self.workshop.modality.draws)
        loud = [self.shouted(text, rng) for text in self.workshop.texts(anchor)]
        return self.workshop.reworded(anchor, loud, self.options.similarity)

    def shouted(self, text: str, rng: np.random.Generator) -> str:
        words = text.rstrip(".! ").split(" ")
        said = [word.upper() if rng.random() < self.options.rate else word for word in words]
        return " ".join(said) + "!" * int(rng.integers(1, 4))


if __name__ == "__main__":
    from augment.contracts.registry import modality_class
    from augment.testing.shop import usual

    shop = usual(modality_class("text")).studio
    found = Shouting(shop.workshop, Shouting.Options()).propose(np.arange(5), np.random.default_rng(0))
    judged = shop.gatekeeper.judge(found)
    for anchor, text, hardness in zip(found.anchor, found.rows["text"].to_pylist(), judged.hardness, strict=True):
        print(f"{shop.anchors.rows['text'][anchor]}\n    {text}\n    the victim's loss: {hardness:.2f}")
