"""Matrix factorisation and LightGCN, with softmax or BPR loss over the whole catalogue at once."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

LAYERS = 2  # of LightGCN
TEMPERATURE = 0.15  # of the softmax over cosine similarities
USERS = 256  # per step
NEGATIVES = 64  # per positive, BPR


def train_factors(
    inputs: csr_matrix,
    targets: csr_matrix,
    weights: np.ndarray,
    negatives: csr_matrix | None,
    *,
    graph: bool,
    loss: str,
    dim: int,
    l2: float,
    epochs: int,
    lr: float,
    seed: int,
    device: str,
) -> tuple[np.ndarray, np.ndarray]:
    """User and item factors float32[U, dim], float32[I, dim].

    inputs are the edges that LightGCN propagates over (He et al., 2020), targets what each user must rank high, weights
    float[U] how much a user counts, negatives items that a user must rank low (they get their score doubled in weight).
    """
    users, items = targets.shape
    random = torch.Generator().manual_seed(seed)
    table = (0.1 * torch.randn(users + items, dim, generator=random)).to(device).requires_grad_(True)
    adjacency = _adjacency(inputs).to(device) if graph else None
    optimiser = torch.optim.Adam([table], lr=lr)
    weight = torch.from_numpy(weights.astype(np.float32)).to(device)
    for _ in range(epochs):
        for batch in torch.randperm(users, generator=random).split(USERS):
            rows = batch.numpy()
            wanted = torch.from_numpy(targets[rows].toarray()).to(device)
            avoided = torch.from_numpy(negatives[rows].toarray()).to(device) if negatives is not None else None
            user, item = _propagated(table, adjacency, users)
            term = _softmax if loss == "softmax" else _bpr
            losses = term(user[batch], item, wanted, avoided, random)
            total = (losses * weight[batch]).sum() / weight[batch].sum() + l2 * table.square().mean()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            optimiser.step()
    with torch.no_grad():
        user, item = _propagated(table, adjacency, users)
        if loss == "softmax":
            user, item = F.normalize(user, dim=1), F.normalize(item, dim=1)
    return user.detach().cpu().numpy(), item.detach().cpu().numpy()


def _softmax(user: Tensor, item: Tensor, wanted: Tensor, avoided: Tensor | None, random: torch.Generator) -> Tensor:
    """float[B]: softmax loss over the whole catalogue, on cosine similarities (Wu et al., 2024)."""
    logits = F.normalize(user, dim=1) @ F.normalize(item, dim=1).T / TEMPERATURE
    if avoided is not None:
        logits = logits + avoided * 0.6931  # log 2: a hard negative counts twice in the denominator
    return -(F.log_softmax(logits, dim=1) * wanted).sum(dim=1) / wanted.sum(dim=1).clamp_min(1)


def _bpr(user: Tensor, item: Tensor, wanted: Tensor, avoided: Tensor | None, random: torch.Generator) -> Tensor:
    """float[B]: Bayesian personalised ranking (Rendle et al., 2009) against uniform draws, never own positives."""
    scores = user @ item.T
    drawn = torch.randint(item.shape[0], (NEGATIVES,), generator=random).to(scores.device)
    allowed = 1 - wanted[:, drawn]
    if avoided is not None:
        drawn = torch.arange(item.shape[0], device=scores.device)
        allowed = avoided + (1 - wanted) * NEGATIVES / item.shape[0]
    mean_positive = (scores * wanted).sum(dim=1) / wanted.sum(dim=1).clamp_min(1)
    margins = mean_positive[:, None] - scores[:, drawn]
    return (F.softplus(-margins) * allowed).sum(dim=1) / allowed.sum(dim=1).clamp_min(1)


def _propagated(table: Tensor, adjacency: Tensor | None, users: int) -> tuple[Tensor, Tensor]:
    if adjacency is not None:
        layers = [table]
        for _ in range(LAYERS):
            layers.append(torch.sparse.mm(adjacency, layers[-1]))
        table = torch.stack(layers).mean(dim=0)
    return table[:users], table[users:]


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
