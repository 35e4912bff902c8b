"""One minibatch loop for every network here: AdamW, early stopping on validation loss, the best epoch kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from consumers.training.adversarial import Adversary, Rows
from consumers.training.losses import LOSSES


def mean_loss(name: str, logit: Tensor, label: np.ndarray) -> float:
    """Of validation rows, by the loss that the model trains with: another may prefer another epoch."""
    return float(LOSSES[name](logit, torch.from_numpy(label).to(logit.device)).mean())


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
    loss: str = "cross-entropy",
    adversary: Adversary | None = None,
) -> float:
    """Train `net` (see `adversarial.Net`) on rows = (inputs[n, …], soft labels float[n], weights float[n]).

    loss: a name in LOSSES. adversary: adds the loss of perturbed rows to each step.
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
            seen = inputs[batch_rows]
            step = Rows(seen, net.embed(seen), label[batch_rows], weight[batch_rows])  # type: ignore[operator]
            logit = net.head(step.x)  # type: ignore[operator]
            total = (LOSSES[loss](logit, step.label) * step.weight).sum() / step.weight.sum()
            if adversary is not None:
                total = total + adversary.loss(step, logit, LOSSES[loss])
            optimiser.zero_grad(set_to_none=True)
            total.backward()
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
