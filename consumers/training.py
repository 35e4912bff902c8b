"""One minibatch loop for every network here: AdamW, early stopping on validation loss, the best epoch kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fit(
    net: nn.Module,
    rows: Sequence[Tensor],
    valid_loss: Callable[[nn.Module], float],
    *,
    epochs: int,
    batch: int,
    lr: float,
    weight_decay: float,
    seed: int,
    patience: int = 1,
) -> float:
    """Train `net` (inputs[B, …] → logit float[B]) on rows = (inputs[n, …], soft labels float[n], weights float[n]).

    Returns the best validation loss.

    Stops when `patience` epochs in a row brought no better validation loss; the best epoch's weights stay.
    All tensors live on the network's device: no batch is copied.
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
    random = torch.Generator().manual_seed(seed)
    inputs, label, weight = rows
    best, best_state, since = float("inf"), copy.deepcopy(net.state_dict()), 0
    for _ in range(epochs):
        net.train()
        for batch_rows in torch.randperm(len(inputs), generator=random).to(inputs.device).split(batch):
            losses = F.binary_cross_entropy_with_logits(net(inputs[batch_rows]), label[batch_rows], reduction="none")
            loss = (losses * weight[batch_rows]).sum() / weight[batch_rows].sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        net.eval()
        found = valid_loss(net)
        if found < best:
            best, best_state, since = found, copy.deepcopy(net.state_dict()), 0
        else:
            since += 1
            if since > patience:
                break
    net.load_state_dict(best_state)
    net.eval()
    return best
