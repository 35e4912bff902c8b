"""The last block of an image encoder, tuned with a linear layer behind it, from the best such layer on frozen vectors.

First the layer alone, then both: tuned together from the start, a block that was good is bent to a layer that is not
yet (Kumar et al., 2022). Normalisations keep their statistics, and nothing is dropped out: labels are few.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from consumers.models.on_vectors import OnVectors
from consumers.training import loop as training
from consumers.training.adversarial import Adversary, Settings
from consumers.training.losses import LOSSES

if TYPE_CHECKING:
    from augment.pictures.halves import Trunk

BATCH = 32
ASKED = 64  # pictures at a time that are told, not learnt from
RATE = 1e-4  # of 1e-5, 3e-5, 1e-4, 3e-4 and 1e-3 the best on validation rows (clothing photos, 30 and 100 a class)
DECAY = 0.01


class LastBlock(nn.Module):
    """What a trunk makes of pictures, float32[B, C, h, w], → logits float32[B, K]; see `adversarial.Net`."""

    def __init__(self, tail: nn.Module, linear: nn.Module) -> None:
        super().__init__()
        self.tail, self.linear = tail, linear

    def embed(self, made: Tensor) -> Tensor:
        """Unit vectors float32[B, dim]."""
        return F.normalize(self.tail(made), dim=1)

    def head(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def forward(self, made: Tensor) -> Tensor:
        return self.head(self.embed(made))

    def train(self, mode: bool = True) -> LastBlock:
        super().train(mode)
        self.tail.eval()
        return self


class Pictures:
    """A column of normalised pictures: some places of it are what the trunk makes of these, float32[b, C, h, w]."""

    def __init__(self, pictures: Sequence[bytes], trunk: Trunk) -> None:
        self._pictures, self._trunk = pictures, trunk
        self.device = torch.device(trunk.encoder.device)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, places: Tensor) -> Tensor:
        return self._trunk.pictures([self._pictures[place] for place in places.tolist()])

    @torch.no_grad()
    def logits(self, net: nn.Module) -> Tensor:
        """float32[n, K], some pictures at a time."""
        return torch.cat([net(self[part]) for part in torch.arange(len(self)).split(ASKED)])


class Learnt(NamedTuple):
    """What is learnt from: soft labels float32[n, K], weights float32[n]."""

    pictures: Pictures
    label: Tensor
    weight: Tensor


def untuned(trunk: Trunk, linear: OnVectors) -> LastBlock:
    """The encoder's own block and a layer that was fitted to its vectors."""
    return LastBlock(trunk.tail(), copy.deepcopy(linear.body).requires_grad_(True)).to(trunk.encoder.device)


def tune(
    net: LastBlock, rows: Learnt, valid: tuple[Pictures, Tensor], settings: Settings, epochs: int, loss: str, seed: int
) -> LastBlock:
    """The epoch of the least validation loss; where none is better than what `net` begins with, that stays.

    settings: of adversarial training; copies are moved in the vectors that the block makes.
    """
    first, device = copy.deepcopy(net.state_dict()), rows.label.device
    classes, dim = net.linear.weight.shape  # type: ignore[misc]

    def valid_loss(net: nn.Module) -> float:
        return float(LOSSES[loss](valid[0].logits(net), valid[1]).mean())

    before = valid_loss(net)
    adversary = Adversary.of(settings, net, dim, seed, str(device), classes)
    found = training.fit(
        net, rows, valid_loss, epochs=epochs, batch=BATCH, lr=RATE, weight_decay=DECAY, seed=seed, loss=loss,
        adversary=adversary,
    )  # fmt: skip
    if not found < before:
        net.load_state_dict(first)
    return net.requires_grad_(False).eval()
