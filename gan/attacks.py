"""Gradient perturbations of an embedding, each a pure function of a loss per row.

Every attack returns the perturbation δ float32[B, D] of x float32[B, D], at most `radius` float32[B, 1] long, and
updates nothing: `loss` maps float32[B, D] to float[B] and is only differentiated in its argument.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gan.losses import belief, cross_entropy

Loss = Callable[[Tensor], Tensor]
MOMENTUM = 0.75  # of APGD
CHECKPOINTS = (0.22, 0.42, 0.59, 0.73, 0.84, 0.93)  # of APGD's steps, where it looks whether to halve the step
PROBE = 1e-2  # length of VAT's probing step, in radii


def lengths(x: Tensor, share: float) -> Tensor:
    """float32[B, 1]: `share` of each row's length, the radius that attacks are given."""
    return share * x.detach().norm(dim=1, keepdim=True)


def fgm(loss: Loss, x: Tensor, radius: Tensor) -> Tensor:
    """Fast gradient method (Miyato et al., 2017): one L2 step to the edge."""
    return to_edge(_gradient(loss, x), radius)


def to_edge(gradient: Tensor, radius: Tensor) -> Tensor:
    """One L2 step along gradients float32[B, D], as long as the radius; none where a gradient is 0."""
    return F.normalize(gradient, dim=1) * radius


def pgd(loss: Loss, x: Tensor, radius: Tensor, steps: int = 8, norm: str = "l2", start: Tensor | None = None) -> Tensor:
    """Projected gradient descent (Madry et al., 2018), in the L2 ball or the L∞ box of the same length."""
    return path(loss, x, radius, steps, norm, torch.zeros_like(x) if start is None else start)[-1]


def path(loss: Loss, x: Tensor, radius: Tensor, steps: int, norm: str, start: Tensor) -> list[Tensor]:
    """The perturbations after each step of projected gradient descent: FreeLB trains on all (Zhu et al., 2020)."""
    out, delta = [], start
    for _ in range(steps):
        gradient = _gradient(loss, x + delta)
        if norm == "linf":
            box = radius / x.shape[1] ** 0.5  # the box that fits into the ball
            delta = (delta + gradient.sign() * box * 2.5 / steps).clamp(-box, box)
        else:
            delta = _into_ball(delta + F.normalize(gradient, dim=1) * radius * 2.5 / steps, radius)
        out.append(delta)
    return out


def apgd(loss: Loss, x: Tensor, radius: Tensor, steps: int = 20) -> Tensor:
    """Auto-PGD in L2 (Croce & Hein, 2020): momentum, and a step length halved row by row where progress stops.

    Returns each row's best perturbation.
    """
    step = 2 * radius
    before = delta = torch.zeros_like(x)
    best, best_loss = delta, loss(x).detach()
    looks = sorted({max(1, round(share * steps)) for share in CHECKPOINTS})
    risen, last_look, last_best, last_loss = torch.zeros_like(best_loss), 0, best_loss, best_loss
    for number in range(1, steps + 1):
        moved = _into_ball(delta + F.normalize(_gradient(loss, x + delta), dim=1) * step, radius)
        share = MOMENTUM if number > 1 else 1.0
        before, delta = delta, _into_ball(delta + share * (moved - delta) + (1 - share) * (delta - before), radius)
        found = loss(x + delta).detach()
        risen, last_loss = risen + (found > last_loss), found
        better = found > best_loss
        best, best_loss = torch.where(better[:, None], delta, best), torch.maximum(found, best_loss)
        if number in looks:
            stuck = (risen < MOMENTUM * (number - last_look)) | (best_loss <= last_best)
            step = torch.where(stuck[:, None], step / 2, step)
            delta = torch.where(stuck[:, None], best, delta)
            risen, last_look, last_best = torch.zeros_like(risen), number, best_loss
    return best


def vat(logit: Loss, x: Tensor, radius: Tensor, random: torch.Generator) -> Tensor:
    """Virtual adversarial direction (Miyato et al., 2018): where the belief changes most. Needs no label."""
    before = belief(logit(x).detach())
    probe = F.normalize(torch.randn(x.shape, generator=random, device=x.device), dim=1) * PROBE * radius
    return to_edge(_gradient(lambda moved: cross_entropy(logit(moved), before), x + probe), radius)


def _into_ball(delta: Tensor, radius: Tensor) -> Tensor:
    return delta * (radius / delta.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1)


def _gradient(loss: Loss, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(loss(x).sum(), x)[0]
