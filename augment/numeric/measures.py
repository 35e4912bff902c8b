"""Metrics that keep what a paired bootstrap needs: one value per test unit, or the scores behind a rank metric.

A unit is a test row or, wherever a user is known, a user. Every measure answers `value(weights)`, where `weights`
float[n] counts how often a bootstrap draw contains each unit (all ones by default), and NaN where no unit drawn can
answer it: an empty slice, one class only.
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
        if weights is None:
            return float(self.values.mean()) if self.size else float("nan")
        total = weights.sum()
        return float(weights @ self.values / total) if total > 0 else float("nan")


@dataclass(frozen=True)
class Clustered:
    """A measure whose rows are drawn cluster by cluster: rows of one user are alike, and no evidence of their own.

    codes: int64[rows], the cluster of each unit of `measure`, from 0 on without a gap.
    """

    measure: Measure
    codes: np.ndarray
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", int(self.codes.max()) + 1 if len(self.codes) else 0)

    @property
    def better_is(self) -> str:
        return self.measure.better_is

    def value(self, weights: np.ndarray | None = None) -> float:
        return self.measure.value(None if weights is None else weights[self.codes])


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve, ties counted half; NaN when a draw holds one class only."""

    label: np.ndarray
    score: np.ndarray
    better_is: str = "higher"
    _order: np.ndarray = field(init=False, repr=False)
    _ordered: np.ndarray = field(init=False, repr=False)  # labels in the order of scores
    _group: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.score, kind="stable")
        ordered = self.score[order]
        # Start of each run of equal scores: ties share one group.
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_ordered", np.asarray(self.label, np.float64)[order])
        object.__setattr__(self, "_group", starts)

    @property
    def size(self) -> int:
        return len(self.label)

    def value(self, weights: np.ndarray | None = None) -> float:
        if not self.size:
            return float("nan")
        weight = np.ones(self.size) if weights is None else weights[self._order]
        positive = weight * self._ordered
        negative = weight - positive
        if len(self._group) < self.size:  # ties
            positive, negative = (np.add.reduceat(x, self._group) for x in (positive, negative))
        up_to = np.cumsum(negative)
        pairs = positive.sum() * up_to[-1]
        return float(positive @ (up_to - 0.5 * negative) / pairs) if pairs > 0 else float("nan")


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
        total = weight.sum()
        return float(np.abs(gap).sum() / total) if total > 0 else float("nan")


@dataclass(frozen=True)
class MacroF1:
    """Mean of the F1 of both classes, for predicted classes in {0, 1}; NaN when a draw holds one class only.

    Of more than two `classes`, of those that a draw holds.
    """

    label: np.ndarray
    predicted: np.ndarray
    classes: int = 2
    better_is: str = "higher"

    @property
    def size(self) -> int:
        return len(self.label)

    def value(self, weights: np.ndarray | None = None) -> float:
        weight = np.ones(self.size) if weights is None else weights
        scores = []
        for cls in range(self.classes):
            is_true, is_predicted = self.label == cls, self.predicted == cls
            true, hit = weight[is_true].sum(), weight[is_true & is_predicted].sum()
            scores.append(2 * hit / (true + weight[is_predicted].sum()) if true else float("nan"))
        return float(np.mean(scores) if self.classes == 2 else np.nanmean(scores))


def ndcg(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """float64[users] of lists, with binary gains.

    hit: [users, k], whether each item of a list is relevant; relevant: int64[users], how many are to each user.
    """
    k = hit.shape[1]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0], np.cumsum(discount)])[np.minimum(relevant, k)]
    return (hit * discount).sum(axis=1) / np.maximum(ideal, 1e-12)
