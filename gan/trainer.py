"""Train the generator against a critic and a frozen victim: one plain loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gan import checkpoint, losses
from gan.nets import Critic, Generator
from gan.victim import Condition, Victim

PENALTY_EVERY = 4  # lazy regularisation: R1 and R2 every few steps, scaled up (Karras et al., 2020)
COLLAPSED = 1e-3  # spread of samples over noise, in real displacement lengths, below which there is one mode only
BATCH = 4096  # rows at a time when proposing


class TrainingDiverged(RuntimeError):
    """Not-a-number, or a collapsed generator; `checkpoint` is the last good one, or None."""

    def __init__(self, step: int, reason: str, checkpoint: Path | None) -> None:
        kept = f"; the last good checkpoint is {checkpoint}" if checkpoint else ""
        super().__init__(f"generator training diverged at step {step}: {reason}{kept}")
        self.checkpoint = checkpoint


@dataclass(frozen=True)
class Settings:
    steps: int = 400
    batch: int = 256
    hidden: int = 128
    noise: int = 16
    displacements: int = 8  # offered to the generator for each anchor
    residual: float = 0.3  # longest residual, in displacement lengths
    band: tuple[float, float] = (-0.5, 1.5)  # margins of the victim
    victim_weight: float = 1.0
    diversity_weight: float = 0.5
    penalty: float = 0.02  # R1 and R2; stronger ones leave the critic too weak to hold steps to real lengths
    lr: float = 1e-3
    ema: float = 0.99
    sphere: bool = True
    seed: int = 0
    check_every: int = 50  # steps between looks at the losses (each a host sync) and checkpoints


@dataclass(frozen=True)
class Material:
    """What to train on, all on one device.

    anchors: float32[N, D], with a condition each. nearby: int64[N, M], for each anchor the rows of `origin` near it.
    origin: float32[O, D] anchors that were really perturbed; displacements: float32[O, V, D], by how much;
    observed: a condition for each of them.
    """

    anchors: Tensor
    condition: Condition
    nearby: Tensor
    origin: Tensor
    displacements: Tensor
    observed: Condition

    @cached_property
    def scale(self) -> Tensor:
        """Mean length of a real displacement."""
        return self.displacements.norm(dim=2).mean()


@dataclass
class Trained:
    """A generator ready to propose, and what it was made with."""

    generator: Generator
    settings: Settings
    history: dict[str, list[float]] = field(default_factory=dict)

    @torch.no_grad()
    def propose(
        self, x: Tensor, condition: Condition, nearby: Tensor, displacements: Tensor, draws: int, seed: int
    ) -> Tensor:
        """float32[B, draws, D]: moved copies of anchors x float32[B, D]; the same seed gives the same copies."""
        random = torch.Generator(x.device).manual_seed(seed)
        out = torch.empty(len(x), draws, x.shape[1], device=x.device)
        for rows in torch.arange(len(x), device=x.device).split(max(1, BATCH // draws)):
            wide = rows.repeat_interleave(draws)
            inputs = _draw(nearby[wide], displacements, self.settings, random)
            out[rows] = self.generator(x[wide], condition[wide], *inputs).view(len(rows), draws, -1)
        return out


def train(
    victim: Victim,
    material: Material,
    settings: Settings,
    path: Path | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Trained:
    """Train to `settings.steps`, or from the checkpoint at `path` on: bit-equal on the CPU to an unbroken run.

    Raises TrainingDiverged; the last checkpoint that passed the checks is kept.
    """
    device = material.anchors.device
    # Initial weights come from their own seeded stream; the caller's global state is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        dim, context = material.anchors.shape[1], material.condition.context.shape[1]
        segments = int(torch.maximum(material.condition.segment.max(), material.observed.segment.max())) + 1
        generator = Generator(
            dim, segments, context, settings.hidden, settings.noise, settings.residual, settings.sphere
        ).to(device)
        critic = Critic(dim, segments, context, settings.hidden).to(device)
    smooth = copy.deepcopy(generator).requires_grad_(False)
    random = torch.Generator(device).manual_seed(settings.seed)
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(net.parameters(), settings.lr, (0.5, 0.99)) for net in (generator, critic)
    ]
    run = _Run([generator, critic, smooth], optimisers, random, path, asdict(settings))
    start = run.resume()
    for step in range(start, settings.steps):
        critic_loss = _critic_step(step, generator, critic, optimisers[1], material, settings, random)
        generator_loss, hard, spread = _generator_step(
            generator, critic, optimisers[0], victim, material, settings, random
        )
        with torch.no_grad():
            for kept, live in zip(smooth.parameters(), generator.parameters(), strict=True):
                kept.lerp_(live, 1 - settings.ema)
        if on_step:
            on_step(step)
        if (step + 1) % settings.check_every == 0 or step + 1 == settings.steps:
            looked = torch.stack([critic_loss, generator_loss, hard, spread]).tolist()
            run.check(step + 1, dict(zip(("critic", "generator", "band", "spread"), looked, strict=True)))
    return Trained(smooth, settings, run.history)


def _critic_step(
    step: int,
    generator: Generator,
    critic: Critic,
    optimiser: torch.optim.Optimizer,
    material: Material,
    settings: Settings,
    random: torch.Generator,
) -> Tensor:
    """Real pairs are perturbed anchors with their real copies, generated ones the same anchors moved."""
    device = random.device
    rows = torch.randint(len(material.origin), (settings.batch,), generator=random, device=device)
    which = torch.randint(material.displacements.shape[1], (settings.batch,), generator=random, device=device)
    x, condition = material.origin[rows], material.observed[rows]
    real = x + material.displacements[rows, which]
    with torch.no_grad():
        fake = generator(x, condition, *_draw(rows[:, None], material.displacements, settings, random))
    penalise = step % PENALTY_EVERY == 0
    real.requires_grad_(penalise)
    fake.requires_grad_(penalise)
    real_score, fake_score = critic(x, real, condition), critic(x, fake, condition)
    loss = total = losses.relativistic(real_score, fake_score)
    if penalise:
        penalty = losses.gradient_penalty(real_score, real) + losses.gradient_penalty(fake_score, fake)
        total = loss + settings.penalty / 2 * PENALTY_EVERY * penalty * material.scale**2
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    optimiser.step()
    return loss.detach()


def _generator_step(
    generator: Generator,
    critic: Critic,
    optimiser: torch.optim.Optimizer,
    victim: Victim,
    material: Material,
    settings: Settings,
    random: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Two samples of each anchor: both must fool the critic, land in the victim's band and differ."""
    rows = torch.randint(len(material.anchors), (settings.batch,), generator=random, device=random.device)
    x, condition, nearby = material.anchors[rows], material.condition[rows], material.nearby[rows]
    draws = [_draw(nearby, material.displacements, settings, random) for _ in range(2)]
    first, second = (generator(x, condition, *draw) for draw in draws)
    # A real copy of a nearby anchor stands in for a real copy of this one, which nobody has observed.
    real = x + draws[0][2][:, 0]
    real_score = critic(x, real, condition).detach()
    fooled = losses.relativistic(critic(x, first, condition), real_score)
    hard = losses.semi_hard(victim.loss(first, condition), *settings.band)
    diversity = losses.mode_seeking(first, second, draws[0][0], draws[1][0], material.scale)
    loss = fooled + settings.victim_weight * hard + settings.diversity_weight * diversity
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    spread = (first - second).norm(dim=1).mean() / material.scale
    return loss.detach(), hard.detach(), spread.detach()


def _draw(
    nearby: Tensor, displacements: Tensor, settings: Settings, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise float32[B, noise], Gumbel noise float32[B, K] and K displacements float32[B, K, D] of nearby rows."""
    count, device = len(nearby), random.device
    z = torch.randn(count, settings.noise, generator=random, device=device)
    k = settings.displacements
    uniform = torch.rand(count, k, generator=random, device=device).clamp(1e-6, 1 - 1e-6)
    place = torch.randint(nearby.shape[1], (count, k), generator=random, device=device)
    variant = torch.randint(displacements.shape[1], (count, k), generator=random, device=device)
    return z, -torch.log(-torch.log(uniform)), displacements[nearby.gather(1, place), variant]


@dataclass
class _Run:
    """What a checkpoint holds, and the checks that decide whether one is good."""

    nets: list[torch.nn.Module]
    optimisers: list[torch.optim.Optimizer]
    random: torch.Generator
    path: Path | None
    settings: dict
    history: dict[str, list[float]] = field(default_factory=dict)

    def check(self, step: int, looked: dict[str, float]) -> None:
        """Record the losses; save a checkpoint when they are sound, raise TrainingDiverged when they are not."""
        kept = self.path if self.path and self.path.exists() else None
        if not all(math.isfinite(value) for value in looked.values()):
            raise TrainingDiverged(step, "a loss is not a number", kept)
        if looked["spread"] < COLLAPSED:
            raise TrainingDiverged(step, "the generator collapsed to one sample per anchor", kept)
        for name, value in looked.items():
            self.history.setdefault(name, []).append(value)
        if self.path:
            metadata = {"step": step, "settings": self.settings, "history": self.history}
            checkpoint.save(self.path, self._tensors(), metadata)

    def resume(self) -> int:
        """Restore everything from the checkpoint at `path`, if it is of the same settings; the step to go on from."""
        if not (self.path and self.path.exists()):
            return 0
        tensors, metadata = checkpoint.load(self.path)
        # JSON has no tuples: compare in its terms.
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()}
        if metadata["settings"] != settings:
            return 0
        self.random.set_state(tensors.pop("random"))
        for i, net in enumerate(self.nets):
            net.load_state_dict(_under(tensors, f"net{i}."))
        for i, optimiser in enumerate(self.optimisers):
            state = _under(tensors, f"adam{i}.")
            parameters = optimiser.param_groups[0]["params"]
            for j, parameter in enumerate(parameters):
                found = _under(state, f"{j}.")
                # Adam counts its steps on the CPU, whatever the device of the moments.
                optimiser.state[parameter] = {
                    name: value if name == "step" else value.to(parameter.device) for name, value in found.items()
                }
        self.history = metadata["history"]
        return metadata["step"]

    def _tensors(self) -> dict[str, Tensor]:
        out = {"random": self.random.get_state()}
        for i, net in enumerate(self.nets):
            out |= {f"net{i}.{name}": tensor for name, tensor in net.state_dict().items()}
        for i, optimiser in enumerate(self.optimisers):
            for j, parameter in enumerate(optimiser.param_groups[0]["params"]):
                out |= {f"adam{i}.{j}.{name}": value for name, value in optimiser.state[parameter].items()}
        return out


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
