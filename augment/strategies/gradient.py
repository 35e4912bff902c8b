"""Where the victim's loss grows fastest: gradient steps from the anchor, decoded to real values."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates
from gan import attacks, losses

STEPS = 5
START = 0.3  # length of the random start, in radii: candidates of one anchor differ


class Gradient(Strategy):
    class Options(BaseOptions):
        strength: float = Field(1.0, gt=0, description="Longest step, in real displacements.")

    moves: ClassVar[int] = 1  # that one start gives

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work = self.workshop
        repeated = np.repeat(anchors, max(1, work.draws // self.moves))
        device = work.anchors.device
        random = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        x = torch.from_numpy(work.anchors.embedding[repeated]).to(device)
        condition = work.anchors.condition(repeated)
        radius = torch.full((len(x), 1), self.options.strength * work.bank.scale, device=device)
        start = F.normalize(torch.randn(x.shape, generator=random, device=device), dim=1) * START * radius
        steps = self.steps(lambda v: work.victim.loss(v, condition), x, radius, start, random)
        moved = torch.cat([x + step for step in steps])
        if work.modality.normalised:
            moved = F.normalize(moved, dim=1)
        return work.candidates(np.tile(repeated, len(steps)), moved.cpu().numpy(), rng)

    @abstractmethod
    def steps(
        self, loss: attacks.Loss, x: Tensor, radius: Tensor, start: Tensor, random: torch.Generator
    ) -> list[Tensor]:
        """`moves` steps [n, D] from x [n, D], none longer than radius [n, 1]; start [n, D] is a random short one."""


class FGM(Gradient):
    name = "fgm"
    what = "fast gradient method (Miyato et al., 2017)"

    def steps(
        self, loss: attacks.Loss, x: Tensor, radius: Tensor, start: Tensor, random: torch.Generator
    ) -> list[Tensor]:
        return [start + attacks.fgm(loss, x + start, radius * (1 - START))]


class PGD(Gradient):
    name = "pgd"
    what = "projected gradient descent in the L2 ball (Madry et al., 2018)"
    norm: ClassVar[str] = "l2"

    def steps(
        self, loss: attacks.Loss, x: Tensor, radius: Tensor, start: Tensor, random: torch.Generator
    ) -> list[Tensor]:
        return [attacks.pgd(loss, x, radius, STEPS, self.norm, start)]


class BoxPGD(PGD):
    name = "pgd-linf"
    what = "projected gradient descent in the L-infinity box"
    norm = "linf"


class FreeLB(Gradient):
    name = "freelb"
    what = "every step of an ascent from a random start (Zhu et al., 2020)"
    moves = STEPS

    def steps(
        self, loss: attacks.Loss, x: Tensor, radius: Tensor, start: Tensor, random: torch.Generator
    ) -> list[Tensor]:
        return attacks.path(loss, x, radius, STEPS, "l2", start)


class VAT(Gradient):
    name = "vat"
    what = "virtual adversarial direction, needs no label (Miyato et al., 2018)"

    def steps(
        self, loss: attacks.Loss, x: Tensor, radius: Tensor, start: Tensor, random: torch.Generator
    ) -> list[Tensor]:
        return [attacks.vat(lambda v: losses.margin(loss(v)), x, radius, random)]
