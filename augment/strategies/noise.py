"""Real perturbations, as they come: typos, masked and swapped fields, hidden interactions; and Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates
from augment.language.lexicon import unfetched


class Noise:
    """kind: one of the modality's perturbations, or "" for its blend of them."""

    def __init__(self, workshop: Workshop, kind: str = "") -> None:
        self._modality, self._anchors, self._kind = workshop.modality, workshop.anchors, kind

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        repeated = np.repeat(anchors, self._modality.draws)
        rows = self._modality.perturb(self._anchors.rows.take(pa.array(repeated)), rng, self._kind)
        return Candidates(repeated, rows, self._modality.encode(rows))


def missing(options: Mapping[str, Any]) -> str:
    """What to do before that kind of noise can be made; "" when it can."""
    return unfetched("homophones") if options.get("kind") == "homophones" else ""


class Gaussian:
    """strength: mean length of the noise, in real displacements."""

    def __init__(self, workshop: Workshop, strength: float = 1.0) -> None:
        self._workshop, self._length = workshop, strength * workshop.bank.scale

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work = self._workshop
        repeated = np.repeat(anchors, work.settings.draws)
        x = work.anchors.embedding[repeated]
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(self._length / x.shape[1] ** 0.5)
        return work.candidates(repeated, x + noise)
