"""A generator that learns inside a consumer's own training loop and perturbs what that loop is looking at."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN, NOISE = 64, 4
LR = 3e-3


class Live:
    """δ = radius · normalise(δ₀ + g(x, δ₀, label, z)), all in radii: δ₀ is a gradient step, and g is 0 at first.

    Learned attackers that match gradient steps are fed the gradient (Jia et al., 2022). This one starts as that step
    and costs the model no pass: what training on its copies descends, it climbs, by the gradient that this leaves in
    them (as gradient reversal does; Ganin et al., 2016). The radius bounds what is plausible here, so there is no
    critic. Nothing here waits for the device: no loss is read back.
    """

    def __init__(self, dim: int, labels: int = 1, *, every: int, seed: int, device: torch.device | str) -> None:
        """labels: numbers that a label is. every: calls between updates."""
        # Initial weights come from their own seeded stream; the caller's global state is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            enter, leave = nn.Linear(2 * dim + labels + NOISE, HIDDEN), nn.Linear(HIDDEN, dim)
        nn.init.zeros_(leave.weight)
        nn.init.zeros_(leave.bias)
        self._net = nn.Sequential(enter, nn.ReLU(), leave).to(device)
        self._optimiser = torch.optim.Adam(self._net.parameters(), LR, (0.5, 0.99))
        self._random = torch.Generator(device).manual_seed(seed)
        self._every, self._calls = every, 0
        self._made: tuple[Tensor, Tensor] | None = None  # δ with the generator's graph, and what was given away

    def perturb(self, x: Tensor, label: Tensor, first: Tensor, radius: Tensor) -> Tensor:
        """δ float32[B, D] of live rows x float32[B, D], from gradient steps `first` float32[B, D] on.

        label: float32[B], or [B, labels]; radius: float32[B, 1], the length of δ. Once a loss was differentiated with
        respect to δ, the next call learns from that.
        """
        self._learn()
        x, first = (part.detach() / radius.clamp_min(1e-12) for part in (x, first))
        z = torch.randn(len(x), NOISE, generator=self._random, device=x.device)
        label = label.view(len(x), -1)
        with torch.set_grad_enabled(self._calls % self._every == 0):
            made = F.normalize(first + self._net(torch.cat([x, first, label, z], dim=1)), dim=1) * radius
        self._calls += 1
        delta = made.detach()
        if made.requires_grad:
            self._made = made, delta.requires_grad_()
        return delta

    def _learn(self) -> None:
        made, self._made = self._made, None
        if made and made[1].grad is not None:
            self._optimiser.zero_grad()
            made[0].backward(-made[1].grad)
            self._optimiser.step()
