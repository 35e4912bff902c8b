"""GRU4Rec: a recurrent network over what came before (Hidasi et al., 2016), here with cross-entropy (Hidasi & Czapp,
2023)."""

from __future__ import annotations

from torch import Tensor, nn

from consumers.sequences.network import Net, Network, NetworkOptions


class Recurrent(Net):
    def __init__(self, items: int, options: NetworkOptions) -> None:
        super().__init__(items, options.dim)
        self.gru = nn.GRU(options.dim, options.dim, options.layers, batch_first=True)
        self.out, self.dropout = nn.Linear(options.dim, options.dim), nn.Dropout(options.dropout)

    def forward(self, items: Tensor) -> Tensor:
        found, _ = self.gru(self.dropout(self.item(items)))
        return self.out(self.dropout(found))


class GRU4Rec(Network):
    name = "gru4rec"

    def net(self, items: int) -> Net:
        return Recurrent(items, self.options)
