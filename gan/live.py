"""A generator that learns inside a consumer's own training loop and perturbs what that loop is looking at."""

from __future__ import annotations

import torch
from torch import Tensor

from gan.nets import Generator
from gan.victim import Condition

HIDDEN, NOISE = 32, 4
RESIDUAL = 0.5
STRENGTH = 2 / 3  # at which an untrained generator makes steps of the length that it is offered
LR = 1e-2


class Live:
    """Moves live embeddings within a radius along displacements that it is offered, the model's gradient among them.

    It costs the model no pass: what training on its copies descends, it climbs, by the gradient that this leaves in
    them (as gradient reversal does; Ganin et al., 2016). Learned attackers that match gradient steps are fed the
    gradient (Jia et al., 2022). The radius bounds what is plausible here, so there is no critic. Nothing here waits
    for the device: no loss is read back.
    """

    def __init__(self, dim: int, *, every: int, seed: int, device: torch.device | str) -> None:
        # Initial weights come from their own seeded stream; the caller's global state is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._generator = Generator(dim, 1, 2, HIDDEN, NOISE, RESIDUAL, sphere=False).to(device)
        self._optimiser = torch.optim.Adam(self._generator.parameters(), LR, (0.5, 0.99))
        self._random = torch.Generator(device).manual_seed(seed)
        self._every, self._step = every, 0
        self._made: tuple[Tensor, Tensor] | None = None

    def perturb(self, x: Tensor, label: Tensor, first: Tensor, deltas: Tensor, radius: Tensor) -> Tensor:
        """δ float32[B, D] for live rows x float32[B, D]: from δ `first` float32[B, D] on, along what is offered.

        deltas: float32[B, K, D], real displacements. radius: float32[B, 1], the longest δ. The gradient of the loss in
        δ, once it is there, is what is learnt from.
        """
        self._learn()
        x, deltas = x.detach(), _within(deltas.detach(), radius[:, :, None])
        count, k, _ = deltas.shape
        segment = torch.zeros(count, dtype=torch.long, device=x.device)
        condition = Condition(label, segment, torch.stack([1 - label, label], dim=1))
        z = torch.randn(count, NOISE, generator=self._random, device=x.device)
        gumbel = -torch.empty(count, k, device=x.device).exponential_(generator=self._random).log()
        with torch.set_grad_enabled(self._step % self._every == 0):
            strength = x.new_full((count, 1), STRENGTH)
            made = _within(self._generator(x + first, condition, z, gumbel, deltas, strength) - x, radius)
        self._step += 1
        delta = made.detach()
        if made.requires_grad:
            self._made = made, delta.requires_grad_()
        return delta

    def _learn(self) -> None:
        """From the copies before, if a model was trained on them."""
        if self._made is None:
            return
        made, delta = self._made
        self._made = None
        if delta.grad is not None:
            self._optimiser.zero_grad()
            made.backward(-delta.grad)
            self._optimiser.step()


def _within(delta: Tensor, radius: Tensor) -> Tensor:
    return delta * (radius / delta.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
