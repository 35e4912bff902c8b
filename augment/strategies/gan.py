"""The learnt proposals: a generator trained against a critic and the victim moves anchors along real displacements."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from augment.base.errors import Diverged, Refused
from augment.base.progress import bar
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy, Workshop
from augment.contracts.values import Candidates
from gan.pair import Settings
from gan.trainer import WARM, Material, TrainingDiverged, train

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
        settings = Settings(
            steps=wanted.steps,
            batch=wanted.batch,
            band=workshop.band,
            critic_weight=wanted.critic_weight,
            victim_weight=wanted.victim_weight,
            diversity_weight=wanted.diversity_weight,
            sphere=workshop.modality.normalised,
            seed=workshop.seed,
        )
        path = workshop.folder / GENERATOR
        try:
            with bar(wanted.steps, "generator") as shown:
                self.trained = train(workshop.victim, material, settings, path, lambda _: shown.update())
        except TrainingDiverged as error:
            raise Diverged(str(error)) from None

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work, draws = self.workshop, self.workshop.draws
        vectors = self.trained.propose(
            torch.from_numpy(work.anchors.embedding[anchors]).to(work.anchors.device),
            work.anchors.condition(anchors),
            torch.from_numpy(self._nearby[anchors]).to(work.anchors.device),
            self._displacements,
            draws,
            int(rng.integers(2**31)),
            self.options.strength or None,
        )
        repeated = np.repeat(anchors, draws)
        return work.candidates(repeated, vectors.reshape(len(repeated), -1).cpu().numpy(), rng)


def _random(displacements: np.ndarray, seed: int) -> np.ndarray:
    """Random directions float32[m, variants, D] of the displacements' lengths: what they are worth, ablated."""
    directions = np.random.default_rng(seed).standard_normal(displacements.shape, np.float32)
    lengths = np.linalg.norm(displacements, axis=2, keepdims=True)
    return directions / np.linalg.norm(directions, axis=2, keepdims=True) * lengths
