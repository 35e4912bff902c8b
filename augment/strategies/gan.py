"""The learnt proposals: a generator trained against a critic and the victim moves anchors along real displacements."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from augment.base.errors import Diverged, Refused
from augment.base.progress import bar
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy, Workshop
from augment.contracts.values import Candidates
from gan.guide import AIM, Disputed, learnt
from gan.pair import Settings
from gan.trainer import WARM, Material, TrainingDiverged, train
from gan.victim import Condition

GENERATOR = "generator.safetensors"


class Gan(Strategy):
    name = "gan"
    what = "the conditional GAN: learnt moves along real displacements"
    keeps: ClassVar = {GENERATOR: WARM}

    class Options(BaseOptions):
        strength: float = Field(
            1.0,
            ge=0,
            description="Length of the moves, in real displacements; 0: each sample draws one, from 0.5 to 1.5.",
        )
        offers: int = Field(
            16,
            ge=1,
            description="With a teacher: moves of which the one is proposed that is expected to be disputed most.",
        )

    def __init__(self, workshop: Workshop, options: Options) -> None:
        super().__init__(workshop, options)
        anchors, bank, wanted = workshop.anchors, workshop.bank, workshop.settings
        if not bank.scale > 0:
            raise Refused(f"none of the real perturbations of {len(bank.anchor):,} rows moved one: nothing to follow")
        device = anchors.device
        self._nearby = bank.origins.search(anchors.embedding, wanted.neighbours)[1]
        steps = bank.displacements if wanted.grounded else _random(bank.displacements, workshop.seed)
        self._displacements = torch.from_numpy(steps).to(device)
        material = Material(
            torch.from_numpy(anchors.embedding).to(device),
            anchors.condition(np.arange(len(anchors))),
            torch.from_numpy(self._nearby).to(device),
            torch.from_numpy(bank.origin).to(device),
            self._displacements,
            anchors.condition(bank.anchor),
        )
        self._asks = _disputed(workshop)
        settings = Settings(
            steps=wanted.steps,
            batch=wanted.batch,
            band=AIM if self._asks else workshop.band,
            critic_weight=wanted.critic_weight,
            victim_weight=wanted.victim_weight,
            diversity_weight=wanted.diversity_weight,
            # With a teacher, real displacements alone: a residual of any direction found dispute, but no gain (Criteo).
            residual=0.0 if self._asks else Settings.residual,
            sphere=workshop.modality.normalised,
            seed=workshop.seed,
        )
        path = workshop.folder / GENERATOR
        try:
            with bar(wanted.steps, "generator") as shown:
                self.trained = train(self._asks or workshop.victim, material, settings, path, lambda _: shown.update())
        except TrainingDiverged as error:
            raise Diverged(str(error)) from None

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work, draws = self.workshop, self.workshop.draws
        offers = self.options.offers if self._asks else 1
        condition = work.anchors.condition(anchors)
        vectors = self.trained.propose(
            torch.from_numpy(work.anchors.embedding[anchors]).to(work.anchors.device),
            condition,
            torch.from_numpy(self._nearby[anchors]).to(work.anchors.device),
            self._displacements,
            draws * offers,
            int(rng.integers(2**31)),
            self.options.strength or None,
        )
        if self._asks:
            vectors = _most_disputed(self._asks, vectors, condition, offers)
        repeated = np.repeat(anchors, draws)
        moved = work.candidates(repeated, vectors.reshape(len(repeated), -1).cpu().numpy(), rng)
        rows = work.modality.with_gaps(moved.rows, rng)
        return moved if rows is moved.rows else replace(moved, rows=rows, embedding=work.modality.encode(rows))


def _disputed(workshop: Workshop) -> Disputed | None:
    """What the generator climbs where a teacher labels: learnt from its labels of what anchors and bank show."""
    anchors, bank = workshop.anchors, workshop.bank
    if workshop.teacher is None:
        return None
    copied = Candidates(np.repeat(bank.anchor, bank.variants), bank.rows, bank.embedding)
    known = [Candidates(np.arange(len(anchors)), anchors.rows, anchors.embedding), copied]
    labels = [workshop.teacher.label(candidates).label for candidates in known]
    if labels[0] is None or labels[1] is None:  # of rankings: it says what is to be ranked high
        return None
    x = torch.from_numpy(np.concatenate([anchors.embedding, bank.embedding])).to(anchors.device)
    label = torch.from_numpy(np.concatenate([labels[0], labels[1]])).to(anchors.device)
    return Disputed(workshop.victim, learnt(x, label, workshop.seed))


@torch.no_grad()
def _most_disputed(victim: Disputed, vectors: torch.Tensor, condition: Condition, offers: int) -> torch.Tensor:
    """Of each `offers` of vectors float32[B, draws * offers, D] the one of the greatest loss: float32[B, draws, D]."""
    count, every, width = vectors.shape
    rows = torch.arange(count, device=vectors.device).repeat_interleave(every)
    loss = victim.loss(vectors.reshape(-1, width), condition[rows]).view(count, -1, offers)
    best = loss.argmax(dim=2) + torch.arange(0, every, offers, device=vectors.device)
    return vectors.gather(1, best[:, :, None].expand(-1, -1, width))


def _random(displacements: np.ndarray, seed: int) -> np.ndarray:
    """Random directions float32[m, variants, D] of the displacements' lengths: what they are worth, ablated."""
    directions = np.random.default_rng(seed).standard_normal(displacements.shape, np.float32)
    lengths = np.linalg.norm(displacements, axis=2, keepdims=True)
    return directions / np.linalg.norm(directions, axis=2, keepdims=True) * lengths
