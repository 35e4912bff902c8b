"""What classifiers share: users, attacked rows, arrays of a network; and measures of those of two classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.nn import functional as F

from augment.numeric.columns import labels_of, whole
from augment.numeric.measures import Auc, CalibrationError, Clustered, MacroF1, Mean, Measure
from gan import attacks


def labels(rows: pa.Table) -> np.ndarray:
    return labels_of(rows["label"])


def hardened(label: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For models that know two classes alone, a soft label p is two rows: class 1 with weight p, class 0 with 1 − p.

    Places int64[m] of the rows, their classes bool[m] and weights float[m].
    """
    soft = (label > 0) & (label < 1)
    rows = np.concatenate([np.arange(len(label)), np.flatnonzero(soft)])
    hard = np.concatenate([label > 0, np.zeros(soft.sum(), bool)])
    return rows, hard, np.concatenate([np.where(soft, weight * label, weight), (weight * (1 - label))[soft]])


def log_odds(label: np.ndarray, weight: np.ndarray | None = None) -> float:
    share = float(np.clip(np.average(label, weights=weight), 1e-4, 1 - 1e-4))
    return float(np.log(share / (1 - share)))


def log_loss(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """float64[n], natural logarithm."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


class Users:
    """Who each of some rows is of: rows of one user (column `user_id`) are drawn together wherever users are known.

    A row whose user is missing is a user of its own.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._codes: np.ndarray | None = None
        if "user_id" in rows.column_names:
            codes = whole(rows["user_id"]).dictionary_encode().indices
            alone = pa.array(np.arange(len(rows)) + len(rows))
            self._codes = pc.if_else(codes.is_valid(), codes.cast(pa.int64()), alone).to_numpy(zero_copy_only=False)

    def drawn(self, measures: Mapping[str, Measure], at: np.ndarray | None = None) -> dict[str, Measure]:
        """The measures, drawn by user; `at`: the places of the rows that they are of, int64 or bool, else all."""
        if self._codes is None:
            return dict(measures)
        chosen = self._codes if at is None else self._codes[at]
        codes = np.unique(chosen, return_inverse=True)[1]
        return {name: Clustered(measure, codes) for name, measure in measures.items()}

    def places(self, row_ids: np.ndarray) -> np.ndarray:
        """int64[n]: where the rows of these ids are."""
        ids = whole(self._rows["row_id"])
        found = pc.index_in(pa.array(row_ids, ids.type), ids)
        return found.to_numpy(zero_copy_only=False).astype(np.int64)


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
    if len(np.unique(label)) < 2:  # no threshold is better than another
        return 0.5
    candidates = np.unique(np.quantile(probability, np.linspace(0.02, 0.98, 49)))
    return float(max(candidates, key=lambda t: macro_f1(label, probability, t).value()))


def attacked_rows(rows: pa.Table, most: int) -> np.ndarray:
    """int64[m]: places of the rows that attacks are made of, ascending; the same for every attack and every model.

    Drawn at random, with as large a share of each label as among all: a file may be sorted by anything.
    """
    chance = np.random.default_rng(0).random(len(rows))
    label = labels(rows)
    by_label = np.lexsort((chance, label if label.ndim == 1 else label.argmax(axis=1)))
    count = min(most, len(rows))
    return np.sort(by_label[np.arange(count) * len(rows) // max(1, count)])


def worst_of_pool(rows: pa.Table, probability: np.ndarray) -> tuple[Measure, np.ndarray]:
    """AUC when an adversary picks, for each test row, the variant this very model likes least; and the rows' ids.

    rows: several variants per `row_id`, each with the row's `label`.
    """
    label = labels(rows)
    ids, owner = np.unique(rows["row_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    loss = log_loss(label, probability)
    order = np.lexsort((-loss, owner))
    first = order[np.r_[True, owner[order][1:] != owner[order][:-1]]] if len(order) else order
    return Auc(label[first], probability[first]), ids


def attacked_measures(
    attacked: Mapping[str, pa.Table], predict: Callable[[pa.Table], np.ndarray], users: Users
) -> dict[str, Measure]:
    """Attack name → `auc_<name>`, worst of each row's variants; `users` of the rows that were attacked."""
    measures: dict[str, Measure] = {}
    for name, rows in attacked.items():
        probability = predict(rows) if len(rows) else np.empty(0, np.float32)
        measure, ids = worst_of_pool(rows, probability)
        measures |= users.drawn({f"auc_{name}": measure}, users.places(ids))
    return measures


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
