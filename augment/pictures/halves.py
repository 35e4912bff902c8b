"""An image encoder in two: a trunk that stays frozen, and the last block with all behind it, which may learn further.

What the trunk makes of a picture is computed once and kept, so that an epoch of tuning costs the last block alone.
"""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from augment.base.errors import UsageError
from augment.pictures.encoders import AT_ONCE, HEADS
from augment.pictures.lite import Lite0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from augment.pictures.encoders import ImageEncoder

MOST = 2 << 30  # bytes of the file that keeps what a trunk made: 110,000 pictures of EfficientNet-Lite0


class Trunk:
    """All of an encoder but its last block; pictures go in as they are, batches of what it makes of them come out.

    Kept in half precision in a file without a name, which goes with the process: memory is bounded by a batch, and a
    picture beyond `MOST` is computed whenever it is asked for.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        """Raises UsageError for an encoder that is no chain of blocks."""
        self.encoder = encoder
        self.net, self._tail = _halves(encoder)
        self._file, self._place = tempfile.TemporaryFile(), dict[bytes, int]()  # noqa: SIM115
        self._shape = self.pixels(torch.zeros(1, 3, encoder.side, encoder.side, device=encoder.device)).shape[1:]

    def tail(self) -> nn.Module:
        """A copy of the rest, to be trained: what the trunk made, float[B, C, h, w] → float[B, dim]."""
        return copy.deepcopy(self._tail).requires_grad_(True)

    def pixels(self, pixels: Tensor) -> Tensor:
        """What it makes of pictures float[B, 3, H, W] in [0, 1]; gradients flow back to the pixels."""
        return self.net(self.encoder.standardised(pixels))

    def pictures(self, pictures: Sequence[bytes]) -> Tensor:
        """float32[B, C, h, w] of a batch of normalised pictures, rounded to half precision."""
        keys = [hashlib.blake2b(content, digest_size=16).digest() for content in pictures]
        fresh = {key: content for key, content in zip(keys, pictures, strict=True) if key not in self._place}
        found, names = dict[bytes, Tensor](), list(fresh)
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            with torch.no_grad():
                made = self.net(self.encoder.squares([fresh[key] for key in some])).half().cpu()
            found |= dict(zip(some, made, strict=True))
        for key in keys:
            if key in self._place:
                found[key] = self._kept(key)
            else:
                self._keep(key, found[key])
        return torch.stack([found[key] for key in keys]).float().to(self.encoder.device)

    def _keep(self, key: bytes, made: Tensor) -> None:
        size = 2 * made.numel()
        if size * (len(self._place) + 1) <= MOST:
            os.pwrite(self._file.fileno(), made.contiguous().numpy().tobytes(), size * len(self._place))
            self._place[key] = len(self._place)

    def _kept(self, key: bytes) -> Tensor:
        size = 2 * self._shape.numel()
        raw = os.pread(self._file.fileno(), size, size * self._place[key])
        return torch.frombuffer(bytearray(raw), dtype=torch.float16).view(self._shape)


def _halves(encoder: ImageEncoder) -> tuple[nn.Module, nn.Module]:
    """Before the last block of a chain of layers, and from there on: one after the other, they are the encoder."""
    links = _chain(encoder.net)
    convolutions = [sum(isinstance(part, nn.Conv2d) for part in link.modules()) for link in links]
    block = min(2, max(convolutions, default=0))  # one alone is no block, unless there is no more
    last = max((n for n, count in enumerate(convolutions) if count >= max(1, block)), default=0)
    trunk, tail = nn.Sequential(*links[:last]), nn.Sequential(*links[last:])
    probe = torch.linspace(-1, 1, 3 * encoder.side**2, device=encoder.device).view(1, 3, encoder.side, encoder.side)
    try:
        with torch.no_grad():
            same = block and torch.allclose(tail(trunk(probe)), encoder.net(probe), rtol=1e-4, atol=1e-5)
    except Exception:  # whatever a layer says of what another should have had
        same = False
    if not same:
        raise UsageError(
            f"encoder '{encoder.name}' has no last block that can be told from the rest: efficientnet-lite0 and "
            "torchvision's resnet, regnet, efficientnet, mobilenet_v3 and vgg have"
        )
    return trunk.eval(), tail.eval()


def _chain(net: nn.Module) -> list[nn.Module]:
    """Its layers in the order in which pictures go through, where that is the order of its parts."""
    if isinstance(net, Lite0):
        return net.chain()
    links: list[nn.Module] = []
    for part in net.children():
        links += part.children() if isinstance(part, nn.Sequential) else [part]
    flat = next((n for n, link in enumerate(links) if isinstance(link, nn.Linear)), len(links))
    pooled = any(hasattr(net, head) for head in HEADS)  # torchvision's flatten between pooling and classifier
    return [*links[:flat], *([nn.Flatten()] if pooled else []), *links[flat:]]
