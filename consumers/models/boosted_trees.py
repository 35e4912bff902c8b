"""Gradient-boosted trees as arrays: grown by scikit-learn, evaluated by torch, stored without pickle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from consumers.scoring.classification import hardened, log_odds

DEPTH = 5  # of every tree
BINS = 63  # of a feature: half the time of 255, and as good
AT_ONCE = 1 << 16  # rows × trees evaluated together: what the processor's cache holds


class Growth(NamedTuple):
    """How trees are grown. leaves: of a tree, at most. rate: the share of its correction that a tree adds.

    trees: grown; those after the best validation loss are cut. least: rows in a leaf. l2: penalty on a leaf's value.
    """

    leaves: int
    rate: float = 0.1
    trees: int = 100
    least: int = 20
    l2: float = 1.0


class Forest(nn.Module):
    """Complete binary trees of one depth, their inner nodes in heap order: x float32[B, D] → logit float32[B].

    A row goes left where x <= threshold. Its logit is `base` and the sum of its leaves.
    """

    feature: Tensor  # int64[T, 2^DEPTH − 1]
    threshold: Tensor  # float32, as many
    leaf: Tensor  # float64[T, 2^DEPTH]
    base: Tensor  # float64[1]

    def __init__(self, trees: int) -> None:
        super().__init__()
        self.register_buffer("feature", torch.zeros(trees, (1 << DEPTH) - 1, dtype=torch.int64))
        self.register_buffer("threshold", torch.full((trees, (1 << DEPTH) - 1), torch.inf))
        self.register_buffer("leaf", torch.zeros(trees, 1 << DEPTH, dtype=torch.float64))
        self.register_buffer("base", torch.zeros(1, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.base + leaves.sum(dim=1) for leaves in self.leaves(x)]).float()

    def leaves(self, x: Tensor) -> Iterator[Tensor]:
        """float64[b, T]: what each tree adds to each row's logit, some rows at a time."""
        count, inner = self.feature.shape
        trees = torch.arange(count, device=x.device)
        feature, threshold, leaf = self.feature.flatten(), self.threshold.flatten(), self.leaf.flatten()
        for part in x.split(max(1, AT_ONCE // max(1, count))):
            node = torch.zeros(len(part), count, dtype=torch.int64, device=x.device)
            for _ in range(DEPTH):
                at = node + trees * inner
                node = 2 * node + 1 + (part.gather(1, feature[at]) > threshold[at])
            yield leaf[node - inner + trees * (inner + 1)]

    def cut(self, trees: int) -> Forest:
        """The first trees alone."""
        out = Forest(trees)
        out.load_state_dict({n: x if n == "base" else x[:trees] for n, x in self.state_dict().items()})
        return out


def mean(forests: Sequence[Forest]) -> Forest:
    """One forest whose logit is the mean of theirs."""
    out = Forest(sum(len(f.leaf) for f in forests))
    for name in ("feature", "threshold", "leaf"):
        setattr(out, name, torch.cat([getattr(f, name) for f in forests]))
    out.leaf /= len(forests)
    out.base = torch.stack([f.base for f in forests]).mean()
    return out


def grow(
    x: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    valid: tuple[np.ndarray, np.ndarray],
    growth: Growth,
    seed: int,
) -> tuple[float, Forest]:
    """Trees fitted to rows x float32[n, D] with soft labels and weights, and their validation log loss.

    Rows of one class alone grow no tree.
    """
    rows, click, weight = hardened(label, weight)
    if click.all() or not click.any():
        constant = Forest(0)
        constant.base.fill_(log_odds(click, weight))
        return float(_losses_by_size(constant, *valid)[0]), constant
    fitted = HistGradientBoostingClassifier(
        max_leaf_nodes=growth.leaves, learning_rate=growth.rate, max_iter=growth.trees,
        min_samples_leaf=growth.least, l2_regularization=growth.l2,
        max_depth=DEPTH, max_bins=BINS, early_stopping=False, random_state=seed,
    ).fit(x[rows], click, sample_weight=weight)  # fmt: skip
    whole = _as_arrays(fitted)
    losses = _losses_by_size(whole, *valid)
    best = int(losses.argmin())
    return float(losses[best]), whole.cut(best)


def _losses_by_size(forest: Forest, x: np.ndarray, label: np.ndarray) -> np.ndarray:
    """float64[1 + T]: mean log loss by the first 0, 1, … T trees."""
    total, start = torch.zeros(1 + len(forest.leaf), dtype=torch.float64), 0
    for leaves in forest.leaves(torch.from_numpy(x)):
        logit = forest.base + torch.cat([leaves.new_zeros(len(leaves), 1), leaves.cumsum(dim=1)], dim=1)
        target = torch.from_numpy(label[start : start + len(leaves)]).double()[:, None].expand_as(logit)
        total += F.binary_cross_entropy_with_logits(logit, target, reduction="none").sum(dim=0)
        start += len(leaves)
    return (total / len(x)).numpy()


def _as_arrays(fitted: HistGradientBoostingClassifier) -> Forest:
    out = Forest(len(fitted._predictors))
    out.base.fill_(float(fitted._baseline_prediction.item()))
    for tree, (predictor,) in enumerate(fitted._predictors):
        _place(predictor.nodes, 0, out, tree, 0)
    return out


def _place(nodes: np.ndarray, at: int, out: Forest, tree: int, heap: int) -> None:
    """Put the subtree of node `at` at place `heap`; a leaf above the last floor fills all that is below it."""
    node, inner = nodes[at], out.feature.shape[1]
    if heap >= inner:
        out.leaf[tree, heap - inner] = float(node["value"])
        return
    if not node["is_leaf"]:
        out.feature[tree, heap] = int(node["feature_idx"])
        out.threshold[tree, heap] = _rounded_down(float(node["num_threshold"]))
    for side, child in enumerate(("left", "right")):
        _place(nodes, at if node["is_leaf"] else int(node[child]), out, tree, 2 * heap + 1 + side)


def _rounded_down(threshold: float) -> float:
    """The largest float32 that is not above: float32 numbers fall on the same side of both."""
    rounded = np.float32(threshold)
    return float(rounded if rounded <= threshold else np.nextafter(rounded, np.float32(-np.inf)))
