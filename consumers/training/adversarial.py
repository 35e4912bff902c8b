"""Adversarial training: each step's loss gets λ times the loss of perturbed rows, drawn from named families.

One code path for every family, so that they compete on equal terms, alone or as a portfolio ("masking+swaps+live").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from augment.base.errors import UsageError
from augment.contracts.options import BaseOptions, unknown_name
from consumers.training.losses import Loss
from gan import attacks
from gan.live import Live
from gan.losses import cross_entropy, divergence

MASKED = 0.3  # share of a row's fields that masking hides
MIXUP_ALPHA = 0.4
PGD_STEPS, FREELB_STEPS = 3, 2
LIVE_EVERY = 4  # steps between the live generator's updates


class Net(Protocol):
    """A network in two parts; embeddings are what gradient families move, inputs what field families change."""

    def embed(self, inputs: Tensor) -> Tensor: ...

    def head(self, x: Tensor) -> Tensor: ...


class Rows(NamedTuple):
    inputs: Tensor  # int64[B, F] codes, or the embeddings themselves
    x: Tensor  # float32[B, D], requires gradients
    label: Tensor  # float32[B], or [B, K]
    weight: Tensor
    gradient: Tensor  # float32[B, D]: of each row's loss times its weight, in x


class Perturbed(NamedTuple):
    x: Tensor  # float32[k * B, D]: k copies of the rows, one after the other
    label: Tensor


class Settings(BaseOptions):
    """Of adversarial training, for whoever trains with it."""

    adversarial: str = Field(
        "", description='Families joined by +, such as "masking+swaps+fgm"; "" for plain training. See `FAMILIES`.'
    )
    adv_weight: float = Field(1.0, ge=0, description="How much the loss of perturbed rows counts.")
    adv_share: float = Field(0.5, gt=0, le=1, description="Perturbed rows per clean row.")
    adv_every: int = Field(
        1, ge=1, description="Steps from one with perturbed rows to the next; their loss counts so many times more."
    )
    radius: float = Field(0.3, gt=0, description="Longest perturbation, in lengths of a row's embedding.")
    trades: bool = Field(False, description="TRADES' divergence in place of the loss of perturbed rows.")

    @field_validator("adversarial")
    @classmethod
    def _of_known_families(cls, families: str) -> str:
        for name in names(families):
            if name not in FAMILIES:
                raise unknown_name("family", name, FAMILIES)
        return families


def names(families: str) -> list[str]:
    """Of "masking+swaps", each."""
    return [name for name in families.split("+") if name]


class Adversary:
    """Draws each step's perturbed rows. The victim of its gradients is the network as it is at that step."""

    @classmethod
    def of(cls, settings: Settings, net: Net, dim: int, seed: int, device: str, labels: int = 1) -> Adversary | None:
        """None for plain training. labels: numbers that a label is: 1, or K of K classes."""
        return cls(settings, net, dim, seed, device, labels) if names(settings.adversarial) else None

    def __init__(self, settings: Settings, net: Net, dim: int, seed: int, device: str, labels: int = 1) -> None:
        self.names = names(settings.adversarial)
        fields = [name for name in self.names if name in FIELD_FAMILIES]
        if fields and not hasattr(net, "table"):
            raise UsageError(f"adversarial: '{fields[0]}' changes categorical fields, which this model has none of")
        self.settings, self.net = settings, net
        self.random = torch.Generator(device).manual_seed(seed)
        self.numpy = np.random.default_rng(seed)
        self._dim, self._seed, self._device, self._labels = dim, seed, device, labels
        self._steps = 0

    @cached_property
    def live(self) -> Live:
        return Live(self._dim, self._labels, every=LIVE_EVERY, seed=self._seed, device=self._device)

    def due(self) -> bool:
        """Whether this step perturbs rows: the first and every `adv_every`-th after it, as lazy regularisation does."""
        self._steps += 1
        return (self._steps - 1) % self.settings.adv_every == 0

    def loss(self, rows: Rows, logit: Tensor, loss: Loss) -> Tensor:
        """Mean loss of the perturbed copies of the first rows of a (random) batch; one forward pass for all families.

        logit: float32[B], the clean rows', with its graph.
        """
        settings = self.settings
        count = max(len(self.names), int(settings.adv_share * len(rows.label)))
        parts = [column[:count].chunk(len(self.names)) for column in (logit, *rows)]
        # a tiny last batch may not serve all families
        drawn = [(name, belief, Rows(*part)) for name, belief, *part in zip(self.names, *parts, strict=False)]
        moved = [FAMILIES[name](self, part) for name, _, part in drawn]
        found = self.net.head(torch.cat([copies.x for copies in moved])).split([len(copies.x) for copies in moved])
        total, weights = rows.x.new_zeros(()), rows.x.new_zeros(())
        for (name, belief, part), (_, label), answer in zip(drawn, moved, found, strict=True):
            copies = len(label) // len(part.label)
            if name == "vat" or (
                settings.trades and name != "mixup"
            ):  # VAT sees no label, as a direction and as a loss
                losses = divergence(torch.cat([belief] * copies), answer)
            else:
                losses = loss(answer, label)
            weight = part.weight.repeat(copies) / copies
            total, weights = total + (losses * weight).sum(), weights + weight.sum()
        return settings.adv_every * settings.adv_weight * total / weights

    def radius(self, x: Tensor) -> Tensor:
        return attacks.lengths(x, self.settings.radius)

    def hardness(self, rows: Rows) -> attacks.Loss:
        """What gradient families climb: the cross-entropy, whatever loss the model trains with."""
        return lambda x: cross_entropy(self.net.head(x), rows.label)


def _masking(adversary: Adversary, rows: Rows) -> Perturbed:
    hidden = torch.rand(rows.inputs.shape, generator=adversary.random, device=rows.x.device) < MASKED
    return Perturbed(adversary.net.embed(rows.inputs.masked_fill(hidden, 0)), rows.label)


def _swaps(adversary: Adversary, rows: Rows) -> Perturbed:
    return Perturbed(adversary.net.embed(_swapped(adversary, rows.inputs)), rows.label)


def _swapped(adversary: Adversary, codes: Tensor) -> Tensor:
    """About one and a half fields of each row take the value of another row: as often as values occur."""
    count, fields = codes.shape
    device = codes.device
    moved = torch.rand(count, fields, generator=adversary.random, device=device) < 1.5 / fields
    other = torch.randint(count, (count, fields), generator=adversary.random, device=device)
    return torch.where(moved, codes.gather(0, other), codes)


def _gaussian(adversary: Adversary, rows: Rows) -> Perturbed:
    noise = torch.randn(rows.x.shape, generator=adversary.random, device=rows.x.device)
    return Perturbed(rows.x + noise * adversary.radius(rows.x) / rows.x.shape[1] ** 0.5, rows.label)


def _mixup(adversary: Adversary, rows: Rows) -> Perturbed:
    """Convex mixes of rows and their labels (Zhang et al., 2018), in embedding space (Verma et al., 2019)."""
    share = adversary.numpy.beta(MIXUP_ALPHA, MIXUP_ALPHA, len(rows.label)).astype(np.float32)
    mine = torch.from_numpy(share).to(rows.x.device)
    other = torch.randperm(len(rows.label), generator=adversary.random, device=rows.x.device)
    x = mine[:, None] * rows.x + (1 - mine[:, None]) * rows.x[other]
    mine = mine if rows.label.ndim == 1 else mine[:, None]
    return Perturbed(x, mine * rows.label + (1 - mine) * rows.label[other])


def _fgm(adversary: Adversary, rows: Rows) -> Perturbed:
    """Along the gradient that training on the clean rows leaves; a row without loss or weight has none, and stays."""
    return Perturbed(rows.x + attacks.to_edge(rows.gradient, adversary.radius(rows.x)), rows.label)


def _pgd(adversary: Adversary, rows: Rows, norm: str = "l2") -> Perturbed:
    x = rows.x.detach()
    return Perturbed(
        rows.x + attacks.pgd(adversary.hardness(rows), x, adversary.radius(x), PGD_STEPS, norm), rows.label
    )


def _pgd_linf(adversary: Adversary, rows: Rows) -> Perturbed:
    return _pgd(adversary, rows, "linf")


def _freelb(adversary: Adversary, rows: Rows) -> Perturbed:
    """Every step of the ascent from a random start is trained on, at the mean of their losses (Zhu et al., 2020)."""
    x = rows.x.detach()
    radius = adversary.radius(x)
    start = torch.randn(x.shape, generator=adversary.random, device=x.device) * radius / x.shape[1] ** 0.5 / 2
    steps = attacks.path(adversary.hardness(rows), x, radius, FREELB_STEPS, "l2", start)
    return Perturbed(torch.cat([rows.x + delta for delta in steps]), torch.cat([rows.label] * len(steps)))


def _vat(adversary: Adversary, rows: Rows) -> Perturbed:
    delta = attacks.vat(adversary.net.head, rows.x.detach(), adversary.radius(rows.x), adversary.random)
    return Perturbed(rows.x + delta, rows.label)


def _live(adversary: Adversary, rows: Rows) -> Perturbed:
    """From FGM's step on, the generator finds what is harder."""
    radius = adversary.radius(rows.x)
    first = attacks.to_edge(rows.gradient, radius)
    return Perturbed(rows.x + adversary.live.perturb(rows.x, rows.label, first, radius), rows.label)


FIELD_FAMILIES: dict[str, Callable[[Adversary, Rows], Perturbed]] = {
    "masking": _masking,
    "swaps": _swaps,
}
FAMILIES: dict[str, Callable[[Adversary, Rows], Perturbed]] = FIELD_FAMILIES | {
    "gaussian": _gaussian,
    "mixup": _mixup,
    "fgm": _fgm,
    "live": _live,
    "pgd": _pgd,
    "pgd-linf": _pgd_linf,
    "freelb": _freelb,
    "vat": _vat,
}
