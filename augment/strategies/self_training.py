"""Unlabelled training rows as they are, each with the soft label of models that never saw it.

Every other strategy perturbs unlabelled rows too: this is the unperturbed case, and the baseline of the others.
"""

from __future__ import annotations

import numpy as np

from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates


class SelfTraining:
    """confidence: least distance of the soft label from one half, 0 to 0.5."""

    def __init__(self, workshop: Workshop, confidence: float = 0.0) -> None:
        self._anchors, self._confidence = workshop.anchors, confidence

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        soft = self._anchors.label[anchors]
        # A labelled row is real already; only its soft label tells an unlabelled one.
        chosen = anchors[(soft > 0) & (soft < 1) & (np.abs(soft - 0.5) >= self._confidence)]
        return Candidates(chosen, self._anchors.rows.take(chosen), self._anchors.embedding[chosen])
