"""Click models over categorical fields: logistic regression, DeepFM and DCNv2.

Each takes the concatenated field embeddings float32[B, F * dim] and, for the linear part, nothing else: a field's
bias is one more number of its embedding, so that a vector says all there is to say of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 64


class Logistic(nn.Module):
    """Sum of the fields' biases: logistic regression on one-hot fields, without the one-hot."""

    def __init__(self, fields: int, dim: int) -> None:
        super().__init__()
        self.fields = fields
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.view(len(vectors), self.fields, -1)[:, :, 0].sum(dim=1) + self.bias


class DeepFM(nn.Module):
    """Factorisation machine beside a network over the same embeddings (Guo et al., 2017)."""

    def __init__(self, fields: int, dim: int) -> None:
        super().__init__()
        self.linear = Logistic(fields, dim)
        self.deep = _mlp(fields * dim, 1)
        self.fields = fields

    def forward(self, vectors: Tensor) -> Tensor:
        factors = vectors.view(len(vectors), self.fields, -1)[:, :, 1:]
        pairs = (factors.sum(dim=1).square() - factors.square().sum(dim=1)).sum(dim=1) / 2
        return self.linear(vectors) + pairs + self.deep(vectors)[:, 0]


class DCNv2(nn.Module):
    """Explicit feature crosses beside a network (Wang et al., 2021, parallel form)."""

    CROSSES = 2

    def __init__(self, fields: int, dim: int) -> None:
        super().__init__()
        width = fields * dim
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(self.CROSSES))
        self.deep = _mlp(width, HIDDEN)
        self.out = nn.Linear(width + HIDDEN, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        crossed = vectors
        for cross in self.crosses:
            crossed = vectors * cross(crossed) + crossed
        return self.out(torch.cat([crossed, self.deep(vectors)], dim=1))[:, 0]


class OnFields(nn.Module):
    """A click model with its id table: codes int64[B, F] → logit float[B]. One table holds all fields."""

    def __init__(self, sizes: list[int], dim: int, head: type[nn.Module]) -> None:
        super().__init__()
        self.dim = dim
        self.table = nn.Embedding(sum(sizes), dim)
        nn.init.normal_(self.table.weight, std=0.05)
        self.head = head(len(sizes), dim)
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("starts", starts)

    def embed(self, codes: Tensor) -> Tensor:
        """float32[B, F * dim]."""
        return self.table(codes + self.starts).flatten(1)  # type: ignore[operator]

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(self.embed(codes))


HEADS: dict[str, type[nn.Module]] = {"logistic": Logistic, "deepfm": DeepFM, "dcnv2": DCNv2}


def _mlp(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, out), *([nn.ReLU()] if out > 1 else []))
