"""Between rows: convex mixes of any two, and minority rows between neighbours (imbalanced-learn)."""

from __future__ import annotations

import numpy as np

from augment.base.errors import Refused
from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates

POOL = 2  # synthetic minority rows made, per minority row


class Mixup:
    """alpha: of the Beta distribution of shares. The label is mixed as the vectors are (Zhang et al., 2018)."""

    def __init__(self, workshop: Workshop, alpha: float = 0.4) -> None:
        self._workshop, self._alpha = workshop, alpha

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work = self._workshop
        repeated = np.repeat(anchors, work.draws)
        other = rng.integers(len(work.anchors), size=len(repeated))
        mine = rng.beta(self._alpha, self._alpha, len(repeated)).astype(np.float32)
        mine = np.maximum(mine, 1 - mine)  # the anchor is the row that weighs more
        x, label = work.anchors.embedding, work.anchors.label
        moved = mine[:, None] * x[repeated] + (1 - mine[:, None]) * x[other]
        return work.candidates(repeated, moved, mine * label[repeated] + (1 - mine) * label[other])


class Oversampling:
    """kind: "smote" or "adasyn". A synthetic row's anchor is the nearest minority row."""

    def __init__(self, workshop: Workshop, kind: str = "smote", neighbours: int = 5) -> None:
        from imblearn.over_sampling import ADASYN, SMOTE

        self._workshop = workshop
        anchors = workshop.anchors
        positive = anchors.label > 0.5
        minority = positive.mean() < 0.5
        own = np.flatnonzero(positive == minority)
        count = POOL * len(own)
        sampler = {"smote": SMOTE, "adasyn": ADASYN}[kind]
        size = {"smote": "k_neighbors", "adasyn": "n_neighbors"}[kind]
        wanted = {bool(minority): len(own) + count}
        try:
            grown, _ = sampler(sampling_strategy=wanted, random_state=workshop.seed, **{size: neighbours}).fit_resample(
                anchors.embedding, positive
            )
        except (ValueError, RuntimeError) as error:
            raise Refused(f"{kind}: {' '.join(str(error).split())}") from None
        self._pool = grown[len(anchors) :].astype(np.float32)
        from augment.numeric.neighbours import Neighbours

        nearest = Neighbours(anchors.embedding[own]).search(self._pool, 1)[1][:, 0]
        self._anchor = own[nearest]

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        chosen = np.flatnonzero(np.isin(self._anchor, anchors))
        return self._workshop.candidates(self._anchor[chosen], self._pool[chosen])
