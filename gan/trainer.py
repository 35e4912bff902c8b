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

from gan import checkpoint
from gan.pair import Losses, Offer, Pair, Settings
from gan.victim import Condition, Victim

COLLAPSED = 1e-3  # spread of samples over noise, in real displacement lengths, below which there is one mode only
BATCH = 4096  # rows at a time when proposing
WARM = "warm.safetensors"  # beside a checkpoint: whose nets a new training starts from


class TrainingDiverged(RuntimeError):
    """Not-a-number, or a collapsed generator; `checkpoint` is the last good one, or None."""

    def __init__(self, step: int, reason: str, checkpoint: Path | None) -> None:
        kept = f"; the last good checkpoint is {checkpoint}" if checkpoint else ""
        super().__init__(f"generator training diverged at step {step}: {reason}{kept}")
        self.checkpoint = checkpoint


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

    pair: Pair
    history: dict[str, list[float]] = field(default_factory=dict)

    @torch.no_grad()
    def propose(
        self,
        x: Tensor,
        condition: Condition,
        nearby: Tensor,
        displacements: Tensor,
        draws: int,
        seed: int,
        strength: float | None = None,
    ) -> Tensor:
        """float32[B, draws, D]: moved copies of anchors x float32[B, D]; the same seed gives the same copies.

        strength: length of the steps, in real ones; each copy draws its own when there is none.
        """
        random = torch.Generator(x.device).manual_seed(seed)
        out = torch.empty(len(x), draws, x.shape[1], device=x.device)
        for rows in torch.arange(len(x), device=x.device).split(max(1, BATCH // draws)):
            wide = rows.repeat_interleave(draws)
            offer = _offer(self.pair, nearby[wide], displacements, random, strength)
            out[rows] = self.pair.generator(x[wide], condition[wide], *offer).view(len(rows), draws, -1)
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
    segments = int(torch.maximum(material.condition.segment.max(), material.observed.segment.max())) + 1
    pair = Pair(material.anchors.shape[1], segments, material.condition.context.shape[1], settings, device)
    smooth = copy.deepcopy(pair.generator).requires_grad_(False)
    random = torch.Generator(device).manual_seed(settings.seed)
    run = _Run([pair.generator, pair.critic, smooth], pair.optimisers, random, path, asdict(settings))
    for step in range(run.resume(), settings.steps):
        critic_loss = _critic_step(step, pair, material, random)
        found = _generator_step(pair, victim, material, random)
        with torch.no_grad():
            for kept, live in zip(smooth.parameters(), pair.generator.parameters(), strict=True):
                kept.lerp_(live, 1 - settings.ema)
        if on_step:
            on_step(step)
        if (step + 1) % settings.check_every == 0 or step + 1 == settings.steps:
            looked = torch.stack([critic_loss, *found]).tolist()
            run.check(step + 1, dict(zip(("critic", "generator", "band", "spread"), looked, strict=True)))
    pair.generator = smooth
    return Trained(pair, run.history)


def _critic_step(step: int, pair: Pair, material: Material, random: torch.Generator) -> Tensor:
    """On anchors that were really perturbed, each with one of its own copies."""
    batch, device = pair.settings.batch, random.device
    rows = torch.randint(len(material.origin), (batch,), generator=random, device=device)
    which = torch.randint(material.displacements.shape[1], (batch,), generator=random, device=device)
    x = material.origin[rows]
    real = x + material.displacements[rows, which]
    offer = _offer(pair, rows[:, None], material.displacements, random)
    return pair.critic_step(step, x, real, material.observed[rows], offer, material.scale)


def _generator_step(pair: Pair, victim: Victim, material: Material, random: torch.Generator) -> Losses:
    rows = torch.randint(len(material.anchors), (pair.settings.batch,), generator=random, device=random.device)
    nearby = material.nearby[rows]
    first, second = (_offer(pair, nearby, material.displacements, random) for _ in range(2))
    return pair.generator_step(victim, material.anchors[rows], material.condition[rows], (first, second),
                               material.scale)  # fmt: skip


def _offer(
    pair: Pair, nearby: Tensor, displacements: Tensor, random: torch.Generator, strength: float | None = None
) -> Offer:
    """Chance, and displacements of rows among `nearby` int64[B, M]."""
    count, k, device = len(nearby), pair.settings.displacements, random.device
    place = torch.randint(nearby.shape[1], (count, k), generator=random, device=device)
    variant = torch.randint(displacements.shape[1], (count, k), generator=random, device=device)
    return pair.offer(displacements[nearby.gather(1, place), variant], random, strength)


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
        """Restore everything from the checkpoint at `path`, if it is of the same settings; the step to go on from.

        Without one, nets start warm from the checkpoint `WARM` beside it, where there is one of the same shapes.
        """
        if not (self.path and self.path.exists()):
            warm = self.path and self.path.with_name(WARM)
            if warm and warm.exists():
                tensors, _ = checkpoint.load(warm)
                self._load_nets(tensors)
            return 0
        tensors, metadata = checkpoint.load(self.path)
        # JSON has no tuples: compare in its terms.
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()}
        if metadata["settings"] != settings or not self._load_nets(tensors):
            return 0
        self.random.set_state(tensors.pop("random"))
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

    def _load_nets(self, tensors: dict[str, Tensor]) -> bool:
        """Whether the checkpoint's nets have these shapes, and were loaded."""
        states = [_under(tensors, f"net{i}.") for i in range(len(self.nets))]
        for net, state in zip(self.nets, states, strict=True):
            if {k: v.shape for k, v in net.state_dict().items()} != {k: v.shape for k, v in state.items()}:
                return False
        for net, state in zip(self.nets, states, strict=True):
            net.load_state_dict(state)
        return True

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
