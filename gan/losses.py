"""The terms of both losses, each a pure function of tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def belief(logit: Tensor) -> Tensor:
    """Probabilities float[B] of logits float[B] of two classes, or float[B, K] of logits float[B, K] of K classes."""
    return torch.sigmoid(logit) if logit.ndim == 1 else torch.softmax(logit, dim=1)


def cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    """float[B] in nats, of logits and soft labels of one shape: float[B] of two classes, float[B, K] of K."""
    if logit.ndim == 1:
        return F.binary_cross_entropy_with_logits(logit, label, reduction="none")
    return F.cross_entropy(logit, label, reduction="none")


def divergence(logit: Tensor, moved: Tensor) -> Tensor:
    """float[B]: KL(p ‖ p') of the beliefs before and after a move."""
    before = belief(logit)
    return cross_entropy(moved, before) - cross_entropy(logit, before)


def relativistic(winner: Tensor, loser: Tensor) -> Tensor:
    """Mean softplus of how far `winner` scores float[B] fail to exceed their paired `loser`s.

    The critic wants real over generated, the generator the reverse (Jolicoeur-Martineau, 2019; Huang et al., 2024).
    """
    return F.softplus(loser - winner).mean()


def gradient_penalty(score: Tensor, vectors: Tensor) -> Tensor:
    """Mean squared gradient norm of score float[B] in vectors float[B, D]: R1 on real rows, R2 on generated ones.

    (Mescheder et al., 2018.) `vectors` must require gradients.
    """
    (gradient,) = torch.autograd.grad(score.sum(), vectors, create_graph=True)
    return gradient.square().sum(dim=1).mean()


def margin(loss: Tensor) -> Tensor:
    """The margin m of a victim's loss softplus(−m), stable at both ends."""
    loss = loss.clamp_min(1e-6)
    # −log(exp(l) − 1) = −l − log(1 − exp(−l))
    return -loss - torch.log(-torch.expm1(-loss))


def semi_hard(loss: Tensor, low: float, high: float) -> Tensor:
    """Mean distance of the victim's margin to the band [low, high]: hard, not hopeless (Schroff et al., 2015)."""
    m = margin(loss)
    return (F.relu(m - high) + F.relu(low - m)).mean()


def mode_seeking(first: Tensor, second: Tensor, z_first: Tensor, z_second: Tensor, scale: Tensor) -> Tensor:
    """Mean of 1 / (1 + r), r the distance of two samples of one anchor, in units of `scale`, over that of their noise.

    (Mao et al., 2019, bounded so that it cannot outweigh plausibility.)
    """
    apart = (first - second).norm(dim=1) / scale.clamp_min(1e-6)
    noise = (z_first - z_second).norm(dim=1).clamp_min(1e-6) / z_first.shape[1] ** 0.5
    return (1 / (1 + apart / noise)).mean()
