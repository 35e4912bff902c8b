"""A generator that learns inside a consumer's own training loop and perturbs what that loop is looking at."""

from __future__ import annotations

import torch
from torch import Tensor

from gan.pair import Pair, Settings
from gan.victim import Condition, Victim

CHOICES = 4  # displacements offered per row


class Live:
    """Moves live embeddings within a radius; updated every few steps against the model as it is then.

    Nothing here waits for the device: no loss is read back.
    """

    def __init__(self, dim: int, *, every: int, seed: int, device: torch.device | str) -> None:
        # The radius bounds what is plausible here, so the aim is as hard as can be; the critic has a small say. It
        # learns fast, and may leave the real displacements behind: within two hundred steps its copies cost the model
        # four fifths of what a gradient step of the same length does.
        settings = Settings(residual=3.0, band=(-6.0, -3.0), critic_weight=0.1, diversity_weight=0.1, lr=1e-2,
                            sphere=False, seed=seed, hidden=64)  # fmt: skip
        self._pair, self._every, self._step = Pair(dim, 1, 2, settings, device), every, 0
        self._random = torch.Generator(device).manual_seed(seed)

    def perturb(self, victim: Victim, x: Tensor, label: Tensor, deltas: Tensor, radius: Tensor) -> Tensor:
        """δ float32[B, D] for live rows x float32[B, D], of which deltas float32[B, CHOICES, D] are real displacements.

        radius: float32[B, 1], the longest δ.
        """
        x, deltas = x.detach(), deltas.detach()
        segment = torch.zeros(len(x), dtype=torch.long, device=x.device)
        condition = Condition(label, segment, torch.stack([1 - label, label], dim=1))
        if self._step % self._every == 0:
            self._learn(victim, x, condition, deltas)
        self._step += 1
        with torch.no_grad():
            moved = self._pair.generator(x, condition, *self._pair.offer(deltas, self._random))
            delta = moved - x
            return delta * (radius / delta.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1)

    def _learn(self, victim: Victim, x: Tensor, condition: Condition, deltas: Tensor) -> None:
        scale = deltas.norm(dim=2).mean()
        first, second, third = (self._pair.offer(deltas, self._random) for _ in range(3))
        number = self._step // self._every
        self._pair.critic_step(number, x, x + deltas[:, -1], condition, first, scale)
        self._pair.generator_step(victim, x, condition, (second, third), scale)
