"""The generator and its critic with their optimisers: one step of each, on tensors that the caller chose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gan import losses
from gan.nets import Critic, Generator
from gan.victim import Condition, Victim

PENALTY_EVERY = 4  # lazy regularisation: R1 and R2 every few steps, scaled up (Karras et al., 2020)
STRENGTHS = (0.5, 1.5)  # trained for: step lengths in units of the real ones


@dataclass(frozen=True)
class Settings:
    steps: int = 400
    batch: int = 256
    hidden: int = 128
    noise: int = 16
    displacements: int = 8  # offered to the generator for each anchor
    residual: float = 0.3  # longest residual, in displacement lengths
    band: tuple[float, float] = (-0.5, 1.5)  # margins of the victim
    critic_weight: float = 1.0
    victim_weight: float = 1.0
    diversity_weight: float = 0.5
    penalty: float = 0.02  # R1 and R2; stronger ones leave the critic too weak to hold steps to real lengths
    lr: float = 1e-3
    ema: float = 0.99
    sphere: bool = True
    seed: int = 0
    check_every: int = 50  # steps between looks at the losses (each a host sync) and checkpoints


class Offer(NamedTuple):
    """What chance brings to a sample: noise float32[B, Z], Gumbel noise float32[B, K], displacements
    float32[B, K, D], and the strength float32[B, 1] asked for."""

    z: Tensor
    gumbel: Tensor
    deltas: Tensor
    strength: Tensor


class Losses(NamedTuple):
    total: Tensor
    band: Tensor  # mean distance of the victim's margin to the band
    spread: Tensor  # of two samples of an anchor, in displacement lengths


class Pair:
    def __init__(self, dim: int, segments: int, context: int, settings: Settings, device: torch.device | str) -> None:
        # Initial weights come from their own seeded stream; the caller's global state is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = Generator(
                dim, segments, context, settings.hidden, settings.noise, settings.residual, settings.sphere
            ).to(device)
            self.critic = Critic(dim, segments, context, settings.hidden).to(device)
        self.settings = settings
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(net.parameters(), settings.lr, (0.5, 0.99)) for net in (self.generator, self.critic)
        ]

    def offer(self, deltas: Tensor, random: torch.Generator, strength: float | None = None) -> Offer:
        """Chance for displacements float32[B, K, D]; without `strength`, each row asks for one of its own."""
        count, k, device = len(deltas), deltas.shape[1], deltas.device
        z = torch.randn(count, self.settings.noise, generator=random, device=device)
        uniform = torch.rand(count, k, generator=random, device=device).clamp(1e-6, 1 - 1e-6)
        asked = torch.rand(count, 1, generator=random, device=device)
        low, high = STRENGTHS if strength is None else (strength, strength)
        return Offer(z, -torch.log(-torch.log(uniform)), deltas, low + (high - low) * asked)

    def critic_step(
        self, step: int, x: Tensor, real: Tensor, condition: Condition, offer: Offer, scale: Tensor
    ) -> Tensor:
        """Real pairs are anchors with their real copies, generated ones the same anchors moved."""
        with torch.no_grad():
            fake = self.generator(x, condition, *offer)
        penalise = step % PENALTY_EVERY == 0
        real, fake = real.detach().requires_grad_(penalise), fake.requires_grad_(penalise)
        real_score, fake_score = self.critic(x, real, condition), self.critic(x, fake, condition)
        loss = total = losses.relativistic(real_score, fake_score)
        if penalise:
            penalty = losses.gradient_penalty(real_score, real) + losses.gradient_penalty(fake_score, fake)
            total = loss + self.settings.penalty / 2 * PENALTY_EVERY * penalty * scale**2
        self._update(self.optimisers[1], total)
        return loss.detach()

    def generator_step(
        self, victim: Victim, x: Tensor, condition: Condition, offers: tuple[Offer, Offer], scale: Tensor
    ) -> Losses:
        """Two samples of each anchor: both must fool the critic, land in the victim's band and differ."""
        wanted = self.settings
        first, second = (self.generator(x, condition, *offer) for offer in offers)
        # A real copy of a nearby anchor stands in for a real copy of this one, which nobody has observed.
        real = x + offers[0].deltas[:, 0]
        real_score = self.critic(x, real, condition).detach()
        fooled = losses.relativistic(self.critic(x, first, condition), real_score)
        hard = losses.semi_hard(victim.loss(first, condition), *wanted.band)
        diversity = losses.mode_seeking(first, second, offers[0].z, offers[1].z, scale)
        total = wanted.critic_weight * fooled + wanted.victim_weight * hard + wanted.diversity_weight * diversity
        self._update(self.optimisers[0], total)
        spread = (first - second).norm(dim=1).mean() / scale
        return Losses(total.detach(), hard.detach(), spread.detach())

    def _update(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        # Gradients of this net alone, and not of the victim.
        parameters = optimiser.param_groups[0]["params"]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimiser.step()
