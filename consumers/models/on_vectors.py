"""A network on frozen vectors: one linear layer, or one hidden layer."""

from __future__ import annotations

import torch
from torch import nn


class OnVectors(nn.Module):
    """Vectors float32[B, dim] to logits: float32[B], or float32[B, classes] of more than one."""

    def __init__(self, dim: int, classes: int = 1, hidden: int = 0) -> None:
        """hidden: width of the hidden layer; 0 for none."""
        super().__init__()
        self.dim = dim
        self.body: nn.Module = (
            nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, classes))
            if hidden
            else nn.Linear(dim, classes)
        )

    def embed(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors

    def head(self, vectors: torch.Tensor) -> torch.Tensor:
        logit = self.body(vectors)
        return logit[:, 0] if logit.shape[1] == 1 else logit

    forward = head


def seeded(dim: int, classes: int, hidden: int, seed: int, device: str) -> OnVectors:
    """Its first weights are the seed's; torch's own stream stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OnVectors(dim, classes, hidden).to(device)
