"""Generate, gate and publish hard but plausible samples.

Names resolve on first use, so that `import augment` imports neither torch nor pyarrow.
"""

from importlib import import_module
from typing import Any

_HOME = {"Dataset": "publishing.dataset", "Recipe": "recipes.schema", "load": "recipes.loading", "run": "runs.run"}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'augment' has no attribute '{name}'")
    return getattr(import_module(f"augment.{_HOME[name]}"), name)
