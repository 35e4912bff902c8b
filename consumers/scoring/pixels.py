"""An attack on the pixels of pictures, through the encoder to the classifier's loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from augment.pictures.decoding import decoded
from gan import attacks
from gan.losses import cross_entropy

if TYPE_CHECKING:
    from augment.pictures.encoders import ImageEncoder

REACH = 2 / 255  # of each pixel: nothing that an eye sees
FAR = 8 / 255  # what hardly any eye sees
STEPS = 4
AT_ONCE = 8  # pictures: gradients of a convolution take memory


def right_under_pixels(
    encoder: ImageEncoder, logit: Callable[[Tensor], Tensor], pictures: list[bytes], label: np.ndarray,
    reach: float = REACH,
) -> np.ndarray:  # fmt: skip
    """float64[n]: whether each picture's class is told after projected gradient descent on its pixels (Madry, 2018).

    logit: pictures float32[B, 3, side, side] in [0, 1], the squares that the encoder sees, → float32[B, K]. pictures:
    normalised. label: float32[n, K]. A pixel of such a square is moved by `reach` at most.
    """
    shape, right = (3, encoder.side, encoder.side), []
    for start in range(0, len(pictures), AT_ONCE):
        part = [decoded(content)[None].to(encoder.device) for content in pictures[start : start + AT_ONCE]]
        x = torch.cat([encoder.squared(one.float() / 255) for one in part]).flatten(1)
        target = torch.from_numpy(label[start : start + AT_ONCE]).to(encoder.device)

        def said(pixels: Tensor) -> Tensor:
            return logit(pixels.clamp(0, 1).view(-1, *shape))

        box = torch.full((len(x), 1), reach * x.shape[1] ** 0.5, device=x.device)
        moved = x + attacks.pgd(lambda p, y=target: cross_entropy(said(p), y), x, box, STEPS, "linf")  # type: ignore[misc]
        with torch.no_grad():
            right.append((said(moved).argmax(dim=1) == target.argmax(dim=1)).double().cpu().numpy())
    return np.concatenate(right) if right else np.empty(0)
