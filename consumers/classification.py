"""What the two classifiers share: losses, measures and the victim's view of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from augment.measures import Auc, CalibrationError, MacroF1, Mean, Measure
from gan import attacks
from gan.victim import Condition


class LogitVictim:
    """A frozen network as the generator sees it: softplus(−margin), the margin being the logit signed by the label.

    The logit is taken relative to `prior`, the training log-odds: with rare positives every negative would otherwise
    be too easy and every positive hopeless.
    """

    def __init__(self, logit: Callable[[Tensor], Tensor], dim: int, prior: float) -> None:
        self._logit, self.dim, self._prior = logit, dim, prior

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        logit = self._logit(embedding) - self._prior
        return condition.label * F.softplus(-logit) + (1 - condition.label) * F.softplus(logit)


def labels(rows: pa.Table) -> np.ndarray:
    return rows["label"].to_numpy().astype(np.float32)


def log_odds(label: np.ndarray, weight: np.ndarray | None = None) -> float:
    share = float(np.clip(np.average(label, weights=weight), 1e-4, 1 - 1e-4))
    return float(np.log(share / (1 - share)))


def log_loss(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """float64[n], natural logarithm."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def clean_measures(label: np.ndarray, probability: np.ndarray) -> dict[str, Measure]:
    return {
        "auc": Auc(label, probability),
        "logloss": Mean(log_loss(label, probability), "lower"),
        "ece": CalibrationError(label, probability),
    }


def macro_f1(label: np.ndarray, probability: np.ndarray, threshold: float) -> Measure:
    return MacroF1(label, (probability >= threshold).astype(np.float32))


def best_threshold(label: np.ndarray, probability: np.ndarray) -> float:
    """The probability threshold with the best macro-F1; for validation rows only."""
    candidates = np.unique(np.quantile(probability, np.linspace(0.02, 0.98, 49)))
    return float(max(candidates, key=lambda t: macro_f1(label, probability, t).value()))


def worst_of_pool(rows: pa.Table, probability: np.ndarray) -> Measure:
    """AUC when an adversary picks, for each test row, the variant this very model likes least.

    rows: several variants per `row_id`, each with the row's `label`.
    """
    label = labels(rows)
    _, owner = np.unique(rows["row_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    loss = log_loss(label, probability)
    order = np.lexsort((-loss, owner))
    first = order[np.r_[True, owner[order][1:] != owner[order][:-1]]]
    return Auc(label[first], probability[first])


def attacked_measures(
    attacked: Mapping[str, pa.Table], predict: Callable[[pa.Table], np.ndarray]
) -> dict[str, Measure]:
    """Attack name → `auc_<name>`, worst of each row's variants."""
    return {f"auc_{name}": worst_of_pool(rows, predict(rows)) for name, rows in attacked.items()}


def embedding_attacks(
    head: Callable[[Tensor], Tensor], x: Tensor, label: np.ndarray, radius: float
) -> dict[str, Measure]:
    """AUC when each embedding float32[n, D] is moved, by `radius` times its length, where this model's loss grows."""
    target, reach = torch.from_numpy(label).to(x.device), attacks.lengths(x, radius)

    def loss(moved: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(head(moved), target, reduction="none")

    moves = {"auc_pgd": attacks.pgd(loss, x, reach), "auc_apgd": attacks.apgd(loss, x, reach)}
    with torch.no_grad():
        return {name: Auc(label, torch.sigmoid(head(x + delta)).cpu().numpy()) for name, delta in moves.items()}


def state_arrays(net: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in net.state_dict().items()}


def load_arrays(net: torch.nn.Module, arrays: Mapping[str, Any]) -> None:
    net.load_state_dict({name: torch.from_numpy(np.array(arrays[name])) for name in net.state_dict()})
