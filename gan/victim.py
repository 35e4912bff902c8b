"""What the generator needs of a model it spars with: a loss that is differentiable in the embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """What a sample is conditioned on, row by row.

    label: float[B]. A class probability in [0, 1], or for a ranking victim the index of the target item; float[B, K]
        of K classes.
    segment: int64[B]. Task segment (category, user group), in [0, n_segments).
    context: float32[B, C]. What the generator and the critic see of the label: one-hot or soft classes,
        or the embedding of the target item.
    """

    label: Tensor
    segment: Tensor
    context: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: Tensor) -> Condition:
        return Condition(self.label[index], self.segment[index], self.context[index])

    def to(self, device: torch.device | str) -> Condition:
        return Condition(self.label.to(device), self.segment.to(device), self.context.to(device))


class Victim(Protocol):
    """A frozen consumer, as the generator sees it.

    `loss` is `softplus(-margin)`, so that one hardness band, given as margins, serves every task:
    for a classifier the margin is the logit signed by the class (soft labels interpolate; of K classes, the odds
    against all others), for a recommender the target's score over the score it must beat to be recommended.

    prior: the log-odds that a classifier's logit is relative to, else 0; of K classes the logarithms of their shares.
    """

    dim: int

    @property
    def prior(self) -> float | Tensor: ...

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        """float[B] loss of embedding float32[B, dim]; differentiable in `embedding`, no parameter updated."""
        ...
