"""Losses of a classifier by name: each maps logits and soft labels to float[B].

Both are float[B] of two classes, and float[B, K] of K.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gan.losses import belief, cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]


def l2(logit: Tensor, label: Tensor) -> Tensor:
    """Squared error of the probability (the Brier score); of K classes, summed."""
    error = (belief(logit) - label).square()
    return error if logit.ndim == 1 else error.sum(dim=1)


def hinge(logit: Tensor, label: Tensor) -> Tensor:
    """Of K classes, of each one's lead over the best other (Crammer & Singer, 2001)."""
    if logit.ndim == 1:
        return label * F.relu(1 - logit) + (1 - label) * F.relu(1 + logit)
    first, second = logit.topk(2, dim=1).values.T[:, :, None]
    lead = logit - torch.where(logit == first, second, first)
    return (label * F.relu(1 - lead)).sum(dim=1)


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "l2": l2, "hinge": hinge}
