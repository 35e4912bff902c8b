"""SASRec: self-attention over what came before (Kang & McAuley, 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from consumers.sequences.network import Net, Network, NetworkOptions

HEADS = 2


class Block(nn.Module):
    """Attention to the places up to one's own, then a layer of each place; normalised before, added after."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.asks, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.back = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        count, length, dim = x.shape
        heads = self.asks(self.before(x)).view(count, length, 3, HEADS, dim // HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        share = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=share, is_causal=True)
        x = x + self._hide(self.out(found.transpose(1, 2).reshape(count, length, dim)))
        return x + self._hide(self.back(self._hide(F.gelu(self.wide(self.between(x))))))

    def _hide(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Attention(Net):
    def __init__(self, items: int, options: NetworkOptions) -> None:
        super().__init__(items, options.dim)
        self.place = nn.Embedding(options.longest, options.dim)
        nn.init.normal_(self.place.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(options.dim, options.dropout) for _ in range(options.layers))
        self.norm, self.dropout = nn.LayerNorm(options.dim), nn.Dropout(options.dropout)

    def forward(self, items: Tensor) -> Tensor:
        # Padding comes last, so that no place attends to it.
        x = self.item(items) * self.item.embedding_dim**0.5
        x = self.dropout(x + self.place(torch.arange(items.shape[1], device=items.device)))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class SASRec(Network):
    name = "sasrec"

    def net(self, items: int) -> Net:
        return Attention(items, self.options)
