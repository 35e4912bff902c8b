"""Models that rank what comes next, a file each, by name. `NextItem` gives them material, and asks them."""

from __future__ import annotations

from augment.contracts.registry import in_folder
from consumers.sequences.base import Arrays, Material, SequenceModel

MODELS: dict[str, type[SequenceModel]] = in_folder(__name__)

__all__ = ["MODELS", "Arrays", "Material", "SequenceModel"]
