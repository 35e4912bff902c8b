"""Losses of factors by name: over the whole catalogue, or on pairs of a positive and a negative; and distillation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

SAMPLED = 1000  # items from which SL@K estimates each user's top-K bar
TOP = 20  # its K
DISTILL_TEMPERATURE = 0.1  # of the teacher's scores, which lie about [0, 1]
HARDER = 0.6931  # log 2: a synthetic user's hard negative counts twice
LEFT_OUT = -1e9  # a logit that counts nothing


@dataclass(frozen=True)
class Batch:
    """Rows of one step, see `Rows`: sparse float32[B, I], and dense for those losses that look at every item.

    users: int64[B] on the device of all tensors; targets: each as much as it is worth; others: what is neither wanted
    nor a negative; negatives: those of synthetic users; taught: float[B, I]; the last three are None where there is
    nothing of the kind.
    """

    users: Tensor
    targets: csr_matrix
    others: csr_matrix | None
    negatives: csr_matrix | None
    taught: Tensor | None

    @cached_property
    def wanted(self) -> Tensor:
        """float[B, I]"""
        return self.dense(self.targets)

    @cached_property
    def unasked(self) -> Tensor | None:
        """bool[B, I]"""
        return None if self.others is None else self.dense(self.others) > 0

    @cached_property
    def own(self) -> Tensor:
        """bool[B, I]: what is no negative."""
        return self.wanted > 0 if self.unasked is None else (self.wanted > 0) | self.unasked

    @cached_property
    def avoided(self) -> Tensor | None:
        """float[B, I]"""
        return None if self.negatives is None else self.dense(self.negatives)

    @property
    def teaches(self) -> Tensor:
        """bool[B]: not a user who wants nothing, or to whom nothing can be a negative."""
        wanted = self.targets.getnnz(axis=1)
        barred = wanted if self.others is None else wanted + self.others.getnnz(axis=1)
        return self.on_device((wanted > 0) & (barred < self.targets.shape[1]))

    def entries(self, matrix: csr_matrix | None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows and columns int64[entries] of what it holds, row after row, and values float32[entries]."""
        matrix = csr_matrix((len(self.users), 1), dtype=np.float32) if matrix is None else matrix
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return self.on_device(rows), self.on_device(matrix.indices.astype(np.int64)), self.on_device(matrix.data)

    def dense(self, matrix: csr_matrix) -> Tensor:
        return self.on_device(matrix.toarray())

    def on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.users.device)


class _Catalogue(torch.autograd.Function):
    """log Σ exp(user · item) float[B] over the items: the log-softmax's denominator, and no more of it than that.

    The logits lie in `room` float[B, I], where the exponents stay until the gradient is asked for: what autograd makes
    of the same passes over as much memory four times, which is most of a step. raised: entries of logits that count
    twice; left_out: of those that do not count.
    """

    @staticmethod
    def forward(ctx: Any, user: Tensor, item: Tensor, room: Tensor | None, raised: Any, left_out: Any) -> Tensor:
        logits = torch.mm(user, item.T, out=room)
        logits[raised[:2]] += HARDER * raised[2]
        logits[left_out[:2]] = LEFT_OUT
        most = logits.amax(dim=1, keepdim=True)
        exponents = logits.sub_(most).exp_()
        total = exponents.sum(dim=1, keepdim=True)
        ctx.save_for_backward(user, item, total)
        ctx.exponents = exponents
        return (most + total.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        user, item, total = ctx.saved_tensors
        share = gradient[0][:, None] / total
        return ctx.exponents @ item * share, ((user * share).T @ ctx.exponents).T, None, None, None


def _softmax(user: Tensor, item: Tensor, batch: Batch, room: Tensor | None, random: torch.Generator) -> Tensor:
    """float[B]: softmax loss over the whole catalogue, on cosine similarities (Wu et al., 2024)."""
    every: Tensor = _Catalogue.apply(user, item, room, *map(batch.entries, (batch.negatives, batch.others)))
    worth = batch.on_device(np.asarray(batch.targets.sum(axis=1), np.float32).ravel())
    rows, columns, values = batch.entries(batch.targets)
    # By `embedding`, whose gradient is the same in every run: that of an index is summed by threads as they come.
    hits = (F.embedding(rows, user) * F.embedding(columns, item)).sum(dim=1) * values
    found = torch.zeros_like(every).index_add(0, rows, hits)
    return (every * worth - found) / worth.clamp_min(1e-6)


def _softmax_at_k(user: Tensor, item: Tensor, batch: Batch, room: Tensor | None, random: torch.Generator) -> Tensor:
    """float[B]: SL@K (Yang et al., 2025), the softmax loss of positives near or above the top-K bar.

    The bar is each user's top-K quantile, estimated by Monte Carlo: own positives, and a uniform sample of the other
    items, each of which stands for several.
    """
    logits = user @ item.T
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
        logits = logits + batch.avoided * HARDER
    if batch.unasked is not None:
        logits = logits.masked_fill(batch.unasked, LEFT_OUT)  # a wish that is no target, but no negative
    return F.log_softmax(logits, dim=1)


def distilled(logits: Tensor, batch: Batch) -> Tensor:
    """float[B]: KL(teacher ‖ student) over what the user does not have (Hinton et al., 2015)."""
    assert batch.taught is not None  # noqa: S101
    teacher, student = (x.masked_fill(batch.wanted > 0, LEFT_OUT) for x in (batch.taught / DISTILL_TEMPERATURE, logits))
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="none", log_target=True).sum(dim=1)


def _bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., 2009)."""
    return F.softplus(negative - positive)


def _hinge(positive: Tensor, negative: Tensor) -> Tensor:
    return F.relu(1 + negative - positive)


def _l2(positive: Tensor, negative: Tensor) -> Tensor:
    """Squared error of scores that should be 1 and 0, with sampled zeros."""
    return (positive - 1).square() + negative.square()


# of users float[B, D] and items float[I, D], whose products are the logits; room: float[B, I] to write in, or None
CATALOGUE: dict[str, Callable[[Tensor, Tensor, Batch, Tensor | None, torch.Generator], Tensor]] = {
    "softmax": _softmax,
    "sl@k": _softmax_at_k,
}
PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bpr": _bpr, "hinge": _hinge, "l2": _l2}
