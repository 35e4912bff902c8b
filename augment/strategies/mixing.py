"""Between rows: convex mixes of any two, and minority rows between neighbours (imbalanced-learn)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.base.errors import Refused
from augment.contracts.modality import Classes, Modality, Texts
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy, Workshop
from augment.contracts.values import Candidates, class_of
from augment.language.sentences import blend
from augment.numeric.neighbours import Neighbours

POOL = 2  # synthetic minority rows made, per minority row


class Mixup(Strategy):
    """The label is mixed as the vectors are. Texts are mixed by sentences, and the label as their lengths are."""

    name = "mixup"
    what = "convex mixes of two rows (Zhang et al., 2018)"
    needs = Classes

    class Options(BaseOptions):
        alpha: float = Field(0.4, gt=0, description="Of the Beta distribution of the two rows' shares.")

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work, alpha = self.workshop, self.options.alpha
        repeated = np.repeat(anchors, work.draws)
        other = rng.integers(len(work.anchors), size=len(repeated))
        mine = rng.beta(alpha, alpha, len(repeated)).astype(np.float32)
        mine = np.maximum(mine, 1 - mine)  # the anchor is the row that weighs more
        if isinstance(work.modality, Texts):
            return self._of_texts(repeated, other, mine, rng)
        x, label = work.anchors.embedding, work.anchors.label
        moved = mine[:, None] * x[repeated] + (1 - mine[:, None]) * x[other]
        return work.candidates(repeated, moved, rng, _mixed(label[repeated], label[other], mine))

    def _of_texts(
        self, anchor: np.ndarray, other: np.ndarray, mine: np.ndarray, rng: np.random.Generator
    ) -> Candidates:
        work, modality, label = self.workshop, cast(Texts, self.workshop.modality), self.workshop.anchors.label
        pairs = zip(work.texts(anchor), work.texts(other), mine.tolist(), strict=True)
        made = [blend(one, two, share, rng) for one, two, share in pairs]
        mine = np.array([share for _, share in made], np.float32)
        texts = pa.array([text for text, _ in made], pa.string())
        rows = modality.with_text(work.anchors.rows.take(pa.array(anchor)), texts)
        return Candidates(anchor, rows, work.modality.encode(rows), _mixed(label[anchor], label[other], mine))


def _mixed(label: np.ndarray, other: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Labels float32[n] or [n, K], mixed by the first one's shares float32[n]."""
    return (mine * label.T + (1 - mine) * other.T).T


class Oversampling(Strategy):
    """A synthetic row's anchor is the nearest minority row; a synthetic text is that row edited towards it."""

    needs = Classes
    sampler: ClassVar[str]  # class of imblearn.over_sampling
    size: ClassVar[str]  # its parameter for the number of neighbours

    class Options(BaseOptions):
        neighbours: int = Field(5, gt=0, description="Nearest minority rows, of which one is the other end.")

    @classmethod
    def missing(cls, options: Options, modality: type[Modality]) -> str:
        return "" if find_spec("imblearn") else "pip install 'sparring[mixing]'"

    def __init__(self, workshop: Workshop, options: Options) -> None:
        from imblearn import over_sampling

        super().__init__(workshop, options)
        anchors = workshop.anchors
        of = class_of(anchors.label)
        present, counts = np.unique(of, return_counts=True)
        minority = present[counts < counts.mean()] if len(present) > 1 and counts.min() < counts.max() else present[:1]
        wanted = {int(one): (1 + POOL) * int(np.sum(of == one)) for one in minority}
        settings = {"sampling_strategy": wanted, "random_state": workshop.seed, self.size: options.neighbours}
        try:
            grown, made = getattr(over_sampling, self.sampler)(**settings).fit_resample(anchors.embedding, of)
        except (ValueError, RuntimeError) as error:
            raise Refused(f"{self.name}: {' '.join(str(error).split())}") from None
        self._pool, made = grown[len(anchors) :].astype(np.float32), made[len(anchors) :]
        self._anchor = np.empty(len(made), np.int64)
        for one in minority:
            own, new = np.flatnonzero(of == one), made == one
            self._anchor[new] = own[Neighbours(anchors.embedding[own]).search(self._pool[new], 1)[1][:, 0]]

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        chosen = np.flatnonzero(np.isin(self._anchor, anchors))
        return self.workshop.candidates(self._anchor[chosen], self._pool[chosen], rng)


class SMOTE(Oversampling):
    name = "smote"
    what = "minority rows between neighbours (Chawla et al., 2002)"
    sampler, size = "SMOTE", "k_neighbors"


class ADASYN(Oversampling):
    name = "adasyn"
    what = "minority rows between neighbours, more where it is hard (He et al., 2008)"
    sampler, size = "ADASYN", "n_neighbors"
