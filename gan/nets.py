"""The anchor-conditioned residual generator and its critic."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.victim import Condition

SHARPNESS = 0.5  # Gumbel-softmax temperature: a sample follows one or two displacements, not the mean of all
REACH = 1.5  # the longest step, in lengths of the displacements it mixes


class Generator(nn.Module):
    """x' = project(x + Σ w_k Δ_k + δ): moves a real anchor along displacements that real rows really made.

    The Δ_k were observed on rows near the anchor. The network chooses which to follow (w, by attention, with noise),
    how far, and a small residual δ of at most `residual` times their mean length; both grow with the strength asked
    for.
    """

    def __init__(self, dim: int, segments: int, context: int, hidden: int, noise: int, residual: float, sphere: bool):
        super().__init__()
        self.noise, self.residual, self.sphere = noise, residual, sphere
        self.segment = nn.Embedding(segments, hidden)
        self.enter = nn.Linear(dim + context + noise + 1, hidden)
        self.body = nn.Linear(hidden, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(dim, hidden)
        self.length = nn.Linear(hidden, 1)
        self.delta = nn.Linear(hidden, dim)
        nn.init.zeros_(self.length.weight)  # starts at steps of .75 real lengths, and no residual
        nn.init.zeros_(self.length.bias)
        nn.init.zeros_(self.delta.weight)
        nn.init.zeros_(self.delta.bias)

    def forward(
        self, x: Tensor, condition: Condition, z: Tensor, gumbel: Tensor, deltas: Tensor, strength: Tensor
    ) -> Tensor:
        """float32[B, D] from x float32[B, D], z float32[B, noise], gumbel float32[B, K], deltas float32[B, K, D] and
        strength float32[B, 1]: how long the steps shall be, in lengths of the real ones."""
        state = self.enter(torch.cat([x, condition.context, z, strength], dim=1)) + self.segment(condition.segment)
        state = state + F.silu(self.body(F.silu(state)))
        reach = deltas.norm(dim=2)
        keys = self.key(deltas / reach.mean().clamp_min(1e-6))
        logits = torch.einsum("bh,bkh->bk", self.query(state), keys) / keys.shape[2] ** 0.5
        weight = torch.softmax((logits + gumbel) / SHARPNESS, dim=1)
        step = torch.einsum("bk,bkd->bd", weight, deltas)
        # A mix of displacements is shorter than any of them: give it back their length.
        length = (weight * reach).sum(dim=1, keepdim=True)
        step = F.normalize(step, dim=1) * length * strength * REACH * torch.sigmoid(self.length(state))
        delta = self.delta(state)
        delta = (
            delta / (1 + delta.norm(dim=1, keepdim=True)) * self.residual * strength * reach.mean(dim=1, keepdim=True)
        )
        moved = x + step + delta
        return F.normalize(moved, dim=1) if self.sphere else moved


class Critic(nn.Module):
    """Is x' a real perturbation of x? Norm-free; projection conditioning (Miyato & Koyama, 2018)."""

    def __init__(self, dim: int, segments: int, context: int, hidden: int):
        super().__init__()
        self.enter = nn.Linear(2 * dim, hidden)
        self.body = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)
        self.segment = nn.Embedding(segments, hidden)
        self.context = nn.Linear(context, hidden, bias=False)

    def forward(self, x: Tensor, moved: Tensor, condition: Condition) -> Tensor:
        """float32[B] scores, higher for what looks real."""
        state = self.enter(torch.cat([x, moved - x], dim=1))
        state = F.leaky_relu(state + self.body(F.leaky_relu(state, 0.2)), 0.2)
        projection = self.segment(condition.segment) + self.context(condition.context)
        return self.score(state)[:, 0] + (state * projection).mean(dim=1)
