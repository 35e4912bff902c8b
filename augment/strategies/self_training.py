"""Unlabelled training rows as they are, each with the soft label of models that never saw it.

Every other strategy perturbs unlabelled rows too: this is the unperturbed case, and the baseline of the others.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from augment.contracts.modality import Classes
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates, classes


class SelfTraining(Strategy):
    name = "self-training"
    what = "unlabelled rows as they are, with cross-fitted soft labels"
    needs = Classes
    novel = False
    idle = "the source keeps no row without label (`unlabelled`), or none is as sure as `confidence` asks"

    class Options(BaseOptions):
        confidence: float = Field(0.0, ge=0, le=0.5, description="Least distance of the likeliest class from one half.")

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        real = self.workshop.anchors
        sure = classes(real.label[anchors]).max(axis=1)
        # A labelled row is real already; only its soft label tells an unlabelled one.
        chosen = anchors[(sure < 1) & (np.maximum(sure - 0.5, 0) >= self.options.confidence)]
        return Candidates(chosen, real.rows.take(chosen), real.embedding[chosen])
