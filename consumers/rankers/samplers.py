"""Negatives for losses on pairs: which item should rank below a user's positive. Never one of the user's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

POOLED = ("dns", "dns-mn", "mixgcf")  # those that choose among several draws
SAMPLERS = ("uniform", "popularity", *POOLED)
POSITIVES = 16  # drawn per user and step, each with one negative


@dataclass(frozen=True)
class Pairs:
    """Positives int64[B, P] and their negatives int64[B, P, L], one for each layer that is mixed (else L = 1).

    share: float[B, P, L] of the positive in each negative's vector; None where negatives are items as they are.
    """

    positive: Tensor
    negative: Tensor
    share: Tensor | None

    def scores(self, user: Tensor, layers: Tensor) -> tuple[Tensor, Tensor]:
        """float[B, P] of positives and of negatives; user float[B, D], layers float[L, I, D], whose mean is an item."""
        if self.share is None:
            every = user @ layers.mean(dim=0).T
            return every.gather(1, self.positive), every.gather(1, self.negative[:, :, 0])
        place, flat = torch.arange(len(layers), device=user.device) * layers.shape[1], layers.flatten(0, 1)
        positive = F.embedding(self.positive[:, :, None] + place, flat)  # an index's gradient differs between runs
        share = self.share[..., None]
        negative = share * positive + (1 - share) * F.embedding(self.negative + place, flat)
        return tuple(torch.einsum("bd,bpd->bp", user, x.mean(dim=2)) for x in (positive, negative))  # type: ignore[return-value]


class Sampler:
    """One of `SAMPLERS` by name.

    uniform; popularity: as often as an item occurs; dns: the hardest of `pool` uniform draws (Zhang et al., 2013);
    dns-mn: one of the `nearest` hardest of them (Shi et al., 2023); mixgcf: draws pulled towards the positive by random
    shares, then the hardest for each propagation layer, joined (Huang et al., 2021); without layers, the mixing alone.
    """

    def __init__(self, kind: str, popularity: Tensor, random: torch.Generator, pool: int, nearest: int) -> None:
        self._kind, self._random, self._nearest = kind, random, max(1, min(nearest, pool))
        self._pool = max(1, pool) if kind in POOLED else 1
        chance = popularity.clamp_min(0) if kind == "popularity" else torch.ones_like(popularity)
        self._chance = chance.to("cpu")

    @torch.no_grad()
    def draw(self, user: Tensor, layers: Tensor, wanted: Tensor, barred: Tensor, avoided: Tensor | None) -> Pairs:
        """Pairs for users float[B, D] who want `wanted` float[B, I].

        barred: bool[B, I], what is no negative, the user's own among it. avoided: float[B, I], hard negatives that a
        synthetic user brings along: every second draw of such a user is one of them.
        """
        # Drawn on the CPU, where a seed gives the same draws for every device.
        positive = self._chosen(wanted.cpu(), POSITIVES)
        drawn = self._chosen(self._chance * ~barred.cpu(), POSITIVES * self._pool)
        if avoided is not None:
            hard = avoided.cpu() * ~barred.cpu()
            use = torch.rand(drawn.shape, generator=self._random) < 0.5
            use &= hard.sum(dim=1, keepdim=True) > 0
            drawn = torch.where(use, self._chosen(hard, drawn.shape[1]), drawn)
        drawn = drawn.view(len(user), POSITIVES, self._pool).to(user.device)
        positive = positive.to(user.device)
        if self._kind == "mixgcf":
            return self._mixed(user, layers, positive, drawn)
        if self._pool > 1:
            scores = (user @ layers.mean(dim=0).T).gather(1, drawn.flatten(1)).view(drawn.shape)
            best = scores.topk(self._nearest if self._kind == "dns-mn" else 1, dim=2).indices
            place = torch.randint(best.shape[2], (*best.shape[:2], 1), generator=self._random)
            drawn = drawn.gather(2, best.gather(2, place.to(user.device)))
        return Pairs(positive, drawn, None)

    def _chosen(self, chance: Tensor, count: int) -> Tensor:
        """int64[B, count] drawn by rows of float[B, I]; a row of zeros, which nobody uses, gives any item."""
        empty = chance.sum(dim=1, keepdim=True) <= 0
        return torch.multinomial(torch.where(empty, 1.0, chance), count, replacement=True, generator=self._random)

    def _mixed(self, user: Tensor, layers: Tensor, positive: Tensor, drawn: Tensor) -> Pairs:
        shares, negatives = [], []
        for layer in layers:
            share = torch.rand(drawn.shape, generator=self._random).to(user.device)
            of = (user @ layer.T).gather(1, drawn.flatten(1)).view(drawn.shape)
            own = (user @ layer.T).gather(1, positive)[:, :, None]
            best = (share * own + (1 - share) * of).argmax(dim=2, keepdim=True)
            shares.append(share.gather(2, best))
            negatives.append(drawn.gather(2, best))
        return Pairs(positive, torch.cat(negatives, dim=2), torch.cat(shares, dim=2))
