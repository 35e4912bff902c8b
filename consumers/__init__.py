"""The models that train on the mix, and `open_mix`, which reads it.

Names resolve on first use, so that `import consumers` does not import torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Category": "category",
    "ClickModel": "ctr",
    "Clip": "clip",
    "Image": "image",
    "NextItem": "sequence",
    "Recommender": "recommender",
    "Sentiment": "sentiment",
    "new_item_pairs": "reading.new_items",
    "new_item_scores": "reading.new_items",
    "new_user_scores": "reading.new_users",
    "open_mix": "reading.mix",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'consumers' has no attribute '{name}'")
    return getattr(import_module(f"consumers.{_HOME[name]}"), name)
