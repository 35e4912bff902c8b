"""Click models over categorical fields: logistic regression, DeepFM and DCNv2.

Each takes the concatenated field vectors float32[B, F * (dim + known)]: `dim` learnt numbers, then `known` fixed
statistics of the value. A field's bias is one more learnt number, so that a vector says all there is to say of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 64


class Logistic(nn.Module):
    """Sum of the fields' biases: logistic regression on one-hot fields, without the one-hot, and on statistics."""

    def __init__(self, fields: int, dim: int, known: int = 0) -> None:
        super().__init__()
        self.fields, self.dim = fields, dim
        self.bias = nn.Parameter(torch.zeros(1))
        self.slopes = nn.Parameter(torch.zeros(fields, known))

    def forward(self, vectors: Tensor) -> Tensor:
        vectors = vectors.view(len(vectors), self.fields, -1)
        known = (vectors[:, :, self.dim :] * self.slopes).sum(dim=(1, 2))
        return vectors[:, :, 0].sum(dim=1) + known + self.bias


class DeepFM(nn.Module):
    """Factorisation machine beside a network over the same embeddings (Guo et al., 2017)."""

    def __init__(self, fields: int, dim: int, known: int = 0) -> None:
        super().__init__()
        self.linear = Logistic(fields, dim, known)
        self.deep = mlp(fields * (dim + known), 1)
        self.fields, self.dim = fields, dim

    def forward(self, vectors: Tensor) -> Tensor:
        factors = vectors.view(len(vectors), self.fields, -1)[:, :, 1 : self.dim]
        pairs = (factors.sum(dim=1).square() - factors.square().sum(dim=1)).sum(dim=1) / 2
        return self.linear(vectors) + pairs + self.deep(vectors)[:, 0]


class DCNv2(nn.Module):
    """Explicit feature crosses beside a network (Wang et al., 2021, parallel form)."""

    CROSSES = 2

    def __init__(self, fields: int, dim: int, known: int = 0) -> None:
        super().__init__()
        width = fields * (dim + known)
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(self.CROSSES))
        self.deep = mlp(width, HIDDEN)
        self.out = nn.Linear(width + HIDDEN, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        crossed = vectors
        for cross in self.crosses:
            crossed = vectors * cross(crossed) + crossed
        return self.out(torch.cat([crossed, self.deep(vectors)], dim=1))[:, 0]


class OnFields(nn.Module):
    """A click model with its id table: codes int64[B, F] → logit float[B]. One table holds all fields.

    statistics: float32[k, sum(sizes), known], fixed numbers of each value beside its learnt ones. The first of the k
    tables is what models are asked with; a training row that must not see itself reads table i by the code
    code + i * sum(sizes). Code 0 reads the first, as the unknown value says the same in all.
    """

    statistics: Tensor | None
    starts: Tensor

    def __init__(self, sizes: list[int], dim: int, head: type[nn.Module], statistics: Tensor | None = None) -> None:
        super().__init__()
        known = 0 if statistics is None else statistics.shape[2]
        self.width = len(sizes) * (dim + known)
        self.table = nn.Embedding(sum(sizes), dim)
        nn.init.normal_(self.table.weight, std=0.05)
        self.head = head(len(sizes), dim, known)
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("starts", starts)
        self.register_buffer("statistics", None if statistics is None else statistics.flatten(0, 1))

    def embed(self, codes: Tensor) -> Tensor:
        """float32[B, width]."""
        learnt = self.table(codes % len(self.table.weight) + self.starts)
        if self.statistics is None:
            return learnt.flatten(1)
        return torch.cat([learnt, self.statistics[codes + self.starts]], dim=2).flatten(1)

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(self.embed(codes))

    def freeze(self) -> None:
        """End of training: of the statistics, keep what models are asked with."""
        if self.statistics is not None:
            self.statistics = self.statistics[: len(self.table.weight)].clone()

    def vectors(self) -> Tensor:
        """float32[sum(sizes), dim + known], what each value of each field puts into a row's vector."""
        learnt = self.table.weight.detach()
        return learnt if self.statistics is None else torch.cat([learnt, self.statistics], dim=1)


HEADS: dict[str, type[nn.Module]] = {"logistic": Logistic, "deepfm": DeepFM, "dcnv2": DCNv2}


def mlp(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, out), *([nn.ReLU()] if out > 1 else []))
