"""The generator and what it spars with: tensors only, nothing of shops.

Names resolve on first use, so that `import gan` does not import torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Condition": "victim",
    "Victim": "victim",
    "Material": "trainer",
    "Settings": "pair",
    "Trained": "trainer",
    "TrainingDiverged": "trainer",
    "train": "trainer",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gan' has no attribute '{name}'")
    return getattr(import_module(f"gan.{_HOME[name]}"), name)
