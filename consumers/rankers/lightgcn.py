"""LightGCN (He et al., 2020): vectors are spread over the graph of who has what, and the mean of all layers counts."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from consumers.rankers.embedding import Embedding, EmbeddingOptions, Layers

LAYERS = 2


class LightGCN(Embedding):
    name = "lightgcn"

    class Options(EmbeddingOptions):
        """Of LightGCN."""

    def layers(self, inputs: csr_matrix) -> Layers:
        adjacency = _adjacency(inputs).to(self.device)

        def spread(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
            layers = [torch.cat([users, items])]
            for _ in range(LAYERS):
                layers.append(torch.sparse.mm(adjacency, layers[-1]))
            both = torch.stack(layers).split((len(users), len(items)), dim=1)
            return both[0], both[1]

        return spread


def _adjacency(inputs: csr_matrix) -> Tensor:
    """Symmetrically normalised bipartite adjacency, sparse."""
    users, items = inputs.shape
    rows, columns = inputs.nonzero()
    degree_user = np.maximum(np.asarray(inputs.sum(axis=1)).ravel(), 1)
    degree_item = np.maximum(np.asarray(inputs.sum(axis=0)).ravel(), 1)
    values = (1 / np.sqrt(degree_user[rows] * degree_item[columns])).astype(np.float32)
    there, back = np.stack([rows, columns + users]), np.stack([columns + users, rows])
    index = torch.from_numpy(np.concatenate([there, back], axis=1))
    value = torch.from_numpy(np.concatenate([values, values]))
    size = (users + items, users + items)
    return torch.sparse_coo_tensor(index, value, size, check_invariants=True).coalesce()
