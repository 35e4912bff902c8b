"""Where the victim's loss grows fastest: gradient steps from the anchor, decoded to real values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from augment.contracts.strategy import Workshop
from augment.contracts.values import Candidates
from gan import attacks, losses

STEPS = 5
START = 0.3  # length of the random start, in radii: candidates of one anchor differ


class Gradient:
    """strength: longest step, in real displacements."""

    def __init__(self, workshop: Workshop, kind: str = "pgd", strength: float = 1.0) -> None:
        self._workshop, self._kind = workshop, kind
        self._radius = strength * workshop.bank.scale

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        work = self._workshop
        repeated = np.repeat(anchors, max(1, work.settings.draws // STEPS if self._kind == "freelb" else work.draws))
        device = work.anchors.device
        random = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        x = torch.from_numpy(work.anchors.embedding[repeated]).to(device)
        condition = work.anchors.condition(repeated)
        steps = self._moves(lambda v: work.victim.loss(v, condition), x, random)
        moved = torch.cat([x + step for step in steps])
        if work.modality.normalised:
            moved = F.normalize(moved, dim=1)
        return work.candidates(np.tile(repeated, len(steps)), moved.cpu().numpy())

    def _moves(self, loss: attacks.Loss, x: Tensor, random: torch.Generator) -> list[Tensor]:
        radius = torch.full((len(x), 1), self._radius, device=x.device)
        start = F.normalize(torch.randn(x.shape, generator=random, device=x.device), dim=1) * START * radius
        if self._kind == "vat":
            return [attacks.vat(lambda v: losses.margin(loss(v)), x, radius, random)]
        if self._kind == "fgm":
            return [start + attacks.fgm(loss, x + start, radius * (1 - START))]
        if self._kind == "freelb":
            return attacks.path(loss, x, radius, STEPS, "l2", start)
        return [attacks.pgd(loss, x, radius, STEPS, "linf" if self._kind == "pgd-linf" else "l2", start)]
