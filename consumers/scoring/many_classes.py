"""What a classifier of K classes is measured by: soft labels and probabilities are float32[n, K]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from augment.numeric.columns import labels_of
from augment.numeric.measures import CalibrationError, MacroF1, Mean, Measure
from consumers.scoring.classification import Users
from gan import attacks
from gan.losses import cross_entropy


def clean_measures(label: np.ndarray, probability: np.ndarray) -> dict[str, Measure]:
    """accuracy; macro_f1; logloss; ece, of the confidence in the class that is predicted (Guo et al., 2017)."""
    right, predicted = hits(label, probability), probability.argmax(axis=1)
    return {
        "accuracy": Mean(right),
        "macro_f1": MacroF1(label.argmax(axis=1), predicted, label.shape[1]),
        "logloss": Mean(log_loss(label, probability), "lower"),
        "ece": CalibrationError(right, probability.max(axis=1)),
    }


def hits(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """float64[n]: 1 where the class that is predicted is the label's likeliest."""
    return (label.argmax(axis=1) == probability.argmax(axis=1)).astype(np.float64)


def log_loss(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """float64[n], natural logarithm."""
    return -(label * np.log(np.clip(probability.astype(np.float64), 1e-7, 1))).sum(axis=1)


def attacked_measures(
    attacked: Mapping[str, pa.Table], predict: Callable[[pa.Table], np.ndarray], users: Users
) -> dict[str, Measure]:
    """Attack name → `accuracy_<name>`: a row is told right if it is in its every variant; and `accuracy_<name>_mean`,
    how many of its variants are.

    attacked: several variants per `row_id`. users: of the rows that were attacked.
    """
    measures: dict[str, Measure] = {}
    for name, rows in attacked.items():
        ids, owner = np.unique(rows["row_id"].to_numpy(zero_copy_only=False), return_inverse=True)
        right = hits(labels_of(rows["label"]), predict(rows)) if len(rows) else np.empty(0)
        worst = np.ones(len(ids))
        np.minimum.at(worst, owner, right)
        found = {f"accuracy_{name}": Mean(worst), f"accuracy_{name}_mean": Mean(_by(owner, right))}
        measures |= users.drawn(found, users.places(ids))
    return measures


def _by(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64[m]: the mean of values float64[n] by owner int64[n], each of which has some."""
    return np.bincount(owner, values) / np.bincount(owner)


def embedding_attacks(
    logit: Callable[[Tensor], Tensor], x: Tensor, label: np.ndarray, radius: float
) -> dict[str, Measure]:
    """Accuracy when each embedding float32[n, D] is moved, by `radius` times its length, where this model's loss grows.

    logit: float32[B, D] → float32[B, K].
    """
    target, reach = torch.from_numpy(label).to(x.device), attacks.lengths(x, radius)

    def loss(moved: Tensor) -> Tensor:
        return cross_entropy(logit(moved), target)

    moves = {"accuracy_pgd": attacks.pgd(loss, x, reach), "accuracy_apgd": attacks.apgd(loss, x, reach)}
    with torch.no_grad():
        return {name: Mean(hits(label, logit(x + delta).cpu().numpy())) for name, delta in moves.items()}
