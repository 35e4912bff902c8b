"""A click model of boosted trees on target statistics, with a gradient for those who attack it.

Trees are flat almost everywhere, so their gradient is that of a small network that has learnt to answer like them (a
substitute model: Papernot et al., 2017), while the answer itself is the trees' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from consumers.data import target_statistics
from consumers.models import boosted_trees
from consumers.models.boosted_trees import Forest, Growth
from consumers.models.clicks import mlp

GRID = (Growth(leaves=4), Growth(leaves=8), Growth(leaves=16))
FORESTS = 5  # each on folds of its own, so that their mean does not hang on how rows were dealt out
TAUGHT = 10_000  # rows, and as many perturbed ones, from which the substitute learns
LESSONS, LESSON, RATE = 5, 128, 3e-3  # epochs, batch and learning rate of the substitute
TOUCHED = 0.2  # share of the fields that are hidden, and as many swapped, in a perturbed row


class Clicks(NamedTuple):
    """Rows to train on: codes int64[n, F], soft labels and weights float32[n]; anchor int64[n] is the place of the
    real row that a row is or was made from, or −1."""

    codes: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    anchor: np.ndarray

    def with_copies(self, copies: Clicks) -> Clicks:
        return Clicks(*(np.concatenate(pair) for pair in zip(self, copies, strict=True)))


class OnStatistics(nn.Module):
    """The trees with their table of statistics: codes int64[B, F] → logit float[B]."""

    statistics: Tensor
    starts: Tensor

    def __init__(self, sizes: list[int], trees: int) -> None:
        super().__init__()
        self.width = len(sizes) * target_statistics.WIDTH
        self.register_buffer("statistics", torch.zeros(sum(sizes), target_statistics.WIDTH))
        self.register_buffer("starts", torch.tensor([0, *sizes[:-1]]).cumsum(0))
        self.forest = Forest(trees)
        self.substitute = mlp(self.width, 1)

    def embed(self, codes: Tensor) -> Tensor:
        """float32[B, width]."""
        return self.statistics[codes + self.starts].flatten(1)

    def head(self, x: Tensor) -> Tensor:
        """The trees' logit, with the substitute's gradient."""
        exact = self.forest(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return exact
        smooth = self.substitute(x)[:, 0]
        return smooth + (exact - smooth).detach()

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(self.embed(codes))

    def vectors(self) -> Tensor:
        """float32[sum(sizes), WIDTH]."""
        return self.statistics


def fit(
    rows: Clicks, real: int, valid: tuple[np.ndarray, np.ndarray], sizes: list[int], grid: Sequence[Growth], seed: int
) -> OnStatistics:
    """The first `real` rows are real: statistics are theirs alone. A row made from one reads them as that one does.

    valid: codes and labels, by which the setting of `grid` and the number of trees are chosen.
    """
    starts = np.cumsum([0, *sizes[:-1]])

    def grown(growth: Growth, number: int) -> tuple[float, Forest]:
        fold = target_statistics.assigned(real, [seed, number])
        tables = target_statistics.fit(rows.codes[:real], sizes, rows.label[:real], fold)
        table = target_statistics.of_copies(fold, rows.anchor)
        x = tables[table[:, None], rows.codes + starts].reshape(len(table), -1)
        on_valid = tables[0, valid[0] + starts].reshape(len(valid[0]), -1)
        return boosted_trees.grow(x, rows.label, rows.weight, (on_valid, valid[1]), growth, seed)

    tried = [(*grown(growth, 0), growth) for growth in grid]
    _, first, chosen = min(tried, key=lambda found: found[0])
    forest = boosted_trees.mean([first, *(grown(chosen, number)[1] for number in range(1, FORESTS))])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = OnStatistics(sizes, len(forest.leaf))
    net.forest = forest
    tables = target_statistics.fit(rows.codes[:real], sizes, rows.label[:real], np.ones(real, np.int64))
    net.statistics.copy_(torch.from_numpy(tables[0]))
    _teach(net, torch.from_numpy(rows.codes[:real]), seed)
    return net.eval()


def _teach(net: OnStatistics, codes: Tensor, seed: int) -> None:
    """The substitute learns the trees' logits on real rows and on copies with fields hidden and swapped."""
    random = torch.Generator().manual_seed(seed)
    codes = codes[torch.randperm(len(codes), generator=random)[:TAUGHT]]
    chance = torch.rand(codes.shape, generator=random)
    other = codes.gather(0, torch.randint(len(codes), codes.shape, generator=random))
    copies = torch.where(chance < 2 * TOUCHED, other, codes).masked_fill(chance < TOUCHED, 0)
    x = net.embed(torch.cat([codes, copies]))
    target = net.forest(x)
    optimiser = torch.optim.AdamW(net.substitute.parameters(), lr=RATE)
    for _ in range(LESSONS):
        for batch in torch.randperm(len(x), generator=random).split(LESSON):
            loss = F.mse_loss(net.substitute(x[batch])[:, 0], target[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
