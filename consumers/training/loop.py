"""One minibatch loop for every network here: AdamW, early stopping on validation loss, the best epoch kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from consumers.training.adversarial import Adversary, Net, Rows
from consumers.training.losses import LOSSES, Loss


class Column(Protocol):
    """A tensor, or what gives some of its rows as one."""

    device: torch.device

    def __len__(self) -> int: ...

    def __getitem__(self, places: Tensor, /) -> Tensor: ...


def mean_loss(name: str, logit: Tensor, label: np.ndarray) -> float:
    """Of validation rows, by the loss that the model trains with: another may prefer another epoch."""
    return float(LOSSES[name](logit, torch.from_numpy(label).to(logit.device)).mean())


def backward(net: Net, rows: Sequence[Tensor], loss: Loss, adversary: Adversary | None = None) -> None:
    """Add one step's gradients to those of `net`: of the mean loss of rows, and of their perturbed copies.

    The clean rows go first: the gradient that this leaves in their embeddings is the direction in which copies are
    then moved, so that it costs no pass of its own. Both sum up in the embeddings before they go on into the table.
    """
    if adversary is not None and not adversary.due():
        adversary = None
    inputs, label, weight = rows
    embedded = net.embed(inputs)
    x = embedded.detach().requires_grad_()
    logit = net.head(x)
    total = weight.sum()
    ((loss(logit, label) * weight).sum() / total).backward(retain_graph=adversary is not None)
    if adversary is not None:  # some families compare with the clean rows' logits, whose graph was kept for them
        adversary.loss(Rows(inputs, x, label, weight, x.grad * total), logit, loss).backward()  # type: ignore[operator]
    if embedded.requires_grad:
        embedded.backward(x.grad)


def fit(
    net: nn.Module,
    rows: Sequence[Column],
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
    best, best_state, since = float("inf"), copy.deepcopy(net.state_dict()), 0
    for _ in range(epochs):
        net.train()
        for batch_rows in torch.randperm(len(rows[0]), generator=random).to(rows[0].device).split(batch):
            optimiser.zero_grad(set_to_none=True)
            step = [column[batch_rows] for column in rows]
            backward(net, step, LOSSES[loss], adversary)  # type: ignore[arg-type]
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
