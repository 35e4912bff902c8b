"""What every candidate must pass, whoever proposed it, and the scores it carries from then on."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.special import entr, expit, logit, softmax

from augment.contracts.tally import Tally
from augment.contracts.values import Anchors, Bank, Candidates, Validity
from augment.numeric.vectors import cosine, losses_to_margins, margins_to_losses
from augment.recipes.schema import Gates
from gan.victim import Victim

NEIGHBOURS = 5  # nearest real rows that a sample names
REASONS = ("not finite", "implausible", "label in doubt", "not novel", "too easy", "too hard")


@dataclass(frozen=True)
class Judged:
    """Candidates and their scores.

    refused[i] is the place in REASONS of the first gate that refused i, or −1; again[i], whether a later one does too.
    """

    candidates: Candidates
    hardness: np.ndarray
    plausibility: np.ndarray
    agreement: np.ndarray
    novelty: np.ndarray
    neighbours: np.ndarray  # int64[n, NEIGHBOURS] anchors
    refused: np.ndarray
    again: np.ndarray

    def take(self, index: np.ndarray) -> Judged:
        candidates, *scores = (getattr(self, field.name) for field in fields(self))
        return Judged(candidates.take(index), *(score[index] for score in scores))

    def count(self, tally: Tally) -> None:
        """Add what became of the candidates to `tally`."""
        tally.proposed += len(self.refused)
        margin = losses_to_margins(self.hardness)
        scores = (self.hardness, self.plausibility, self.agreement, self.novelty, margin, margin)
        for code, (gate, score) in enumerate(zip(REASONS, scores, strict=True)):
            if (stopped := self.refused == code).any():
                tally.stop(gate, score[stopped], int(self.again[stopped].sum()))


class Gatekeeper:
    """Scores candidates against real training rows, the victim and the cross-fitted label models.

    Plausibility is a conformal p-value: the share of really perturbed copies that lie at least as far from the real
    rows, in units of the local spacing of real rows, as the sample does (Vovk et al., 2005). 0.05 therefore reads
    "no stranger than 95% of what really happens to rows".
    """

    def __init__(self, anchors: Anchors, bank: Bank, validity: Validity, victim: Victim, gates: Gates) -> None:
        self._anchors, self._validity, self._victim, self._gates = anchors, validity, victim, gates
        # Spacing: distance from each real row to its fifth real neighbour (the first is the row itself). Rows of few
        # fields have exact twins: a spacing of nothing would make every step from them look infinitely strange.
        spacing = anchors.index.search(anchors.embedding, NEIGHBOURS + 1)[0][:, -1]
        apart = spacing[spacing > 1e-6]
        self._spacing = np.maximum(spacing, np.quantile(apart, 0.1) if apart.size else 1.0)
        self._real_strangeness = np.sort(self._strangeness(*anchors.index.search(bank.embedding, 1)))

    def judge(self, candidates: Candidates, novel: bool = True) -> Judged:
        """Scores of candidates, with their labels; those of a strategy that is not `novel` may be real rows.

        Where a teacher labels, the band does not count: it is sure or refuses, and then the harder the better. How hard
        goes by its label of what a candidate shows; published is the label of what it is told. Chosen by the latter,
        the hardest would be those that hide a surprise, and their labels no longer true of what they show.
        """
        shown = self._validity.taught(candidates)
        candidates = self._validity.told(shown)
        distance, neighbours = self._anchors.index.search(candidates.embedding, NEIGHBOURS)
        strangeness = self._strangeness(distance, neighbours)
        stranger = len(self._real_strangeness) - np.searchsorted(self._real_strangeness, strangeness)
        plausibility = (1 + stranger) / (1 + len(self._real_strangeness))
        agreement = self._validity.agreement(candidates)
        nearest = self._anchors.embedding[neighbours[:, 0]]
        novelty = 1 - cosine(candidates.embedding, nearest)
        taught, label = shown.spread is not None, shown.label
        easy, hard = (0.0, np.inf) if taught else margins_to_losses(self._gates.band)
        if taught and label is not None:
            hardness = self._disagreement(shown, label)
        else:  # a teacher of rankings names targets, and no probability to differ from
            hardness = self.hardness(candidates.anchor, candidates.embedding, label)
        fails = [
            ~np.isfinite(candidates.embedding).all(axis=1) | ~np.isfinite(hardness),
            plausibility < self._gates.min_plausibility,
            agreement < self._gates.min_label_agreement,
            novel & (novelty < self._gates.min_novelty),
            hardness < easy,
            hardness > hard,
        ]
        refused = np.where(np.any(fails, axis=0), np.argmax(fails, axis=0), -1)
        again = np.sum(fails, axis=0) > 1
        return Judged(candidates, hardness, plausibility, agreement, novelty, neighbours, refused, again)

    def hardness(self, anchor: np.ndarray, embedding: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
        """float32[n]: the victim's loss on vectors moved from the anchors at `anchor`."""
        with torch.no_grad():
            vectors = torch.from_numpy(embedding).to(self._anchors.device)
            return self._victim.loss(vectors, self._anchors.condition(anchor, label)).cpu().numpy()

    def _disagreement(self, candidates: Candidates, label: np.ndarray) -> np.ndarray:
        """float32[n]: KL(teacher ‖ victim) in nats, both relative to the classes' shares, as the victim's loss is.

        A teacher in two minds is no reason to call a sample hard: its own entropy is taken out.
        """
        sure = np.clip(label.astype(np.float64), 1e-6, 1 - 1e-6)
        if label.ndim > 1:
            wanted = softmax(np.log(sure) - torch.as_tensor(self._victim.prior).cpu().numpy(), axis=1)
            entropy = entr(wanted).sum(axis=1)
        else:
            wanted = expit(logit(sure) - self._victim.prior)
            entropy = entr(wanted) + entr(1 - wanted)
        loss = self.hardness(candidates.anchor, candidates.embedding, wanted.astype(np.float32))
        return np.maximum(loss - entropy, 0).astype(np.float32)

    def _strangeness(self, distance: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
        return distance[:, 0] / self._spacing[neighbours[:, 0]]
