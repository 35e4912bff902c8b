"""Metrics that keep what a paired bootstrap needs: one value per test unit, or the scores behind a rank metric.

A unit is a test row or a user. Every measure answers `value(weights)`, where `weights` float[n] counts
how often a bootstrap draw contains each unit (all ones by default).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


class Measure(Protocol):
    @property
    def better_is(self) -> str:
        """ "higher" or "lower"."""
        ...

    @property
    def size(self) -> int:
        """Number of units a bootstrap draws from."""
        ...

    def value(self, weights: np.ndarray | None = None) -> float: ...


@dataclass(frozen=True)
class Mean:
    """The mean of one number per unit: NDCG per user, log loss per row."""

    values: np.ndarray
    better_is: str = "higher"

    @property
    def size(self) -> int:
        return len(self.values)

    def value(self, weights: np.ndarray | None = None) -> float:
        return float(np.average(self.values, weights=weights)) if self.size else float("nan")


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve, ties counted half; NaN when a draw holds one class only."""

    label: np.ndarray
    score: np.ndarray
    better_is: str = "higher"
    _order: np.ndarray = field(init=False, repr=False)
    _group: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.score, kind="stable")
        ordered = self.score[order]
        # Start of each run of equal scores: ties share one group.
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_group", starts)

    @property
    def size(self) -> int:
        return len(self.label)

    def value(self, weights: np.ndarray | None = None) -> float:
        if not self.size:
            return float("nan")
        weight = np.ones(self.size) if weights is None else weights[self._order]
        positive = weight * self.label[self._order]
        negative = weight - positive
        positive, negative = (np.add.reduceat(x, self._group) for x in (positive, negative))
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float((positive * (below + 0.5 * negative)).sum() / pairs) if pairs > 0 else float("nan")


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error over equal-width bins (Naeini et al., 2015)."""

    label: np.ndarray
    probability: np.ndarray
    bins: int = 15
    better_is: str = "lower"

    @property
    def size(self) -> int:
        return len(self.label)

    def value(self, weights: np.ndarray | None = None) -> float:
        weight = np.ones(self.size) if weights is None else weights
        which = np.minimum((self.probability * self.bins).astype(np.int64), self.bins - 1)
        gap = np.bincount(which, weight * (self.label - self.probability), self.bins)
        return float(np.abs(gap).sum() / weight.sum())


@dataclass(frozen=True)
class MacroF1:
    """Mean of the F1 of both classes, for predicted classes in {0, 1}."""

    label: np.ndarray
    predicted: np.ndarray
    better_is: str = "higher"

    @property
    def size(self) -> int:
        return len(self.label)

    def value(self, weights: np.ndarray | None = None) -> float:
        weight = np.ones(self.size) if weights is None else weights
        scores = []
        for cls in (0, 1):
            is_true, is_predicted = self.label == cls, self.predicted == cls
            hit = weight[is_true & is_predicted].sum()
            total = weight[is_true].sum() + weight[is_predicted].sum()
            scores.append(2 * hit / total if total else 0.0)
        return float(np.mean(scores))
