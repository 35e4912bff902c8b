"""Multinomial logistic regression on soft labels, by L-BFGS: the log loss is convex, so no seed matters."""

from __future__ import annotations

import torch
from torch import Tensor

from gan.losses import cross_entropy

ITERATIONS = 200


def fit(
    x: Tensor, label: Tensor, weight: Tensor, c: float, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Weights float32[K, D] and biases float32[K] that minimise Σ weight · cross-entropy + ‖weights‖² / 2c.

    x: float32[n, D]. label: float32[n, K], shares of K classes. weight: float32[n]. c: inverse L2 strength, as
    scikit-learn has it. start: what another c gave, from where it is not far.
    """
    mean = x.mean(dim=0)  # taken out: vectors of an encoder have much in common, along which steps would be tiny
    centred, total = x - mean, weight.sum()
    if start is None:
        coef, bias = (torch.zeros(label.shape[1], size, device=x.device) for size in (x.shape[1], 1))
    else:
        coef, bias = start[0].clone(), (start[1] + start[0] @ mean)[:, None]
    coef.requires_grad_(), bias.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [coef, bias], max_iter=ITERATIONS, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        losses = cross_entropy(centred @ coef.T + bias[:, 0], label)
        loss = ((losses * weight).sum() + coef.square().sum() / (2 * c)) / total
        loss.backward()
        return loss

    optimiser.step(closure)
    found, offset = coef.detach(), bias.detach()[:, 0]
    return found, offset - found @ mean
