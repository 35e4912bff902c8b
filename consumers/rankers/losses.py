"""Losses of factors by name: over the whole catalogue, or on pairs of a positive and a negative; and distillation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLED = 1000  # items from which SL@K estimates each user's top-K bar
TOP = 20  # its K
DISTILL_TEMPERATURE = 0.1  # of the teacher's scores, which lie about [0, 1]


@dataclass(frozen=True)
class Batch:
    """Rows of one step, dense: float[B, I] or None; see `Rows`.

    own: bool[B, I], what is no negative; unasked: the same that is not wanted either, or None where nothing is.
    """

    users: Tensor
    wanted: Tensor
    own: Tensor
    unasked: Tensor | None
    avoided: Tensor | None
    taught: Tensor | None


def _softmax(logits: Tensor, batch: Batch, random: torch.Generator) -> Tensor:
    """float[B]: softmax loss over the whole catalogue, on cosine similarities (Wu et al., 2024)."""
    return -(_per_item(logits, batch) * batch.wanted).sum(dim=1) / batch.wanted.sum(dim=1).clamp_min(1e-6)


def _softmax_at_k(logits: Tensor, batch: Batch, random: torch.Generator) -> Tensor:
    """float[B]: SL@K (Yang et al., 2025), the softmax loss of positives near or above the top-K bar.

    The bar is each user's top-K quantile, estimated by Monte Carlo: own positives, and a uniform sample of the other
    items, each of which stands for several.
    """
    weight = torch.sigmoid(logits.detach() - _bar(logits.detach(), batch.wanted, random))
    losses = _per_item(logits, batch) * weight * batch.wanted
    return -losses.sum(dim=1) / batch.wanted.sum(dim=1).clamp_min(1e-6)


def _bar(logits: Tensor, wanted: Tensor, random: torch.Generator) -> Tensor:
    """float[B, 1]: the score that the K best items reach."""
    count = min(SAMPLED, logits.shape[1])
    drawn = torch.randperm(logits.shape[1], generator=random)[:count].to(logits.device)
    counts = (wanted > 0).float()
    counts[:, drawn] += (1 - counts[:, drawn]) * logits.shape[1] / count
    order = torch.where(counts > 0, logits, -torch.inf).argsort(dim=1, descending=True)
    reached = (counts.gather(1, order).cumsum(dim=1) < TOP).sum(dim=1, keepdim=True)
    return logits.gather(1, order.gather(1, reached.clamp_max(logits.shape[1] - 1)))


def _per_item(logits: Tensor, batch: Batch) -> Tensor:
    """float[B, I]: log softmax; a synthetic user's hard negative counts twice in the denominator."""
    if batch.avoided is not None:
        logits = logits + batch.avoided * 0.6931  # log 2
    if batch.unasked is not None:
        logits = logits.masked_fill(batch.unasked, -1e9)  # a wish that is no target, but no negative
    return F.log_softmax(logits, dim=1)


def distilled(logits: Tensor, batch: Batch) -> Tensor:
    """float[B]: KL(teacher ‖ student) over what the user does not have (Hinton et al., 2015)."""
    assert batch.taught is not None  # noqa: S101
    teacher, student = (x.masked_fill(batch.wanted > 0, -1e9) for x in (batch.taught / DISTILL_TEMPERATURE, logits))
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="none", log_target=True).sum(dim=1)


def _bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., 2009)."""
    return F.softplus(negative - positive)


def _hinge(positive: Tensor, negative: Tensor) -> Tensor:
    return F.relu(1 + negative - positive)


def _l2(positive: Tensor, negative: Tensor) -> Tensor:
    """Squared error of scores that should be 1 and 0, with sampled zeros."""
    return (positive - 1).square() + negative.square()


CATALOGUE: dict[str, Callable[[Tensor, Batch, torch.Generator], Tensor]] = {"softmax": _softmax, "sl@k": _softmax_at_k}
PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bpr": _bpr, "hinge": _hinge, "l2": _l2}
