"""Losses of a binary classifier by name: each maps logits float[B] and soft labels float[B] to float[B]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, label, reduction="none")


def l2(logit: Tensor, label: Tensor) -> Tensor:
    """Squared error of the probability (the Brier score)."""
    return (torch.sigmoid(logit) - label).square()


def hinge(logit: Tensor, label: Tensor) -> Tensor:
    return label * F.relu(1 - logit) + (1 - label) * F.relu(1 + logit)


def divergence(logit: Tensor, moved: Tensor) -> Tensor:
    """KL(p ‖ p') of the belief before and after a perturbation, the second term of TRADES (Zhang et al., 2019)."""
    belief = torch.sigmoid(logit)
    return cross_entropy(moved, belief) - cross_entropy(logit, belief)


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "l2": l2, "hinge": hinge}
