"""Real perturbations, as they come: typos, masked and swapped fields, hidden interactions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from augment.gates import Candidates
from augment.strategies import Workshop


class Noise:
    def __init__(self, workshop: Workshop) -> None:
        self._modality, self._anchors = workshop.modality, workshop.anchors

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        repeated = np.repeat(anchors, self._modality.draws)
        rows = self._modality.perturb(self._anchors.rows.take(pa.array(repeated)), rng)
        return Candidates(repeated, rows, self._modality.encode(rows))
