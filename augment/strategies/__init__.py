"""Ways to propose samples. A strategy is one small file with one method to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from augment.anchors import Anchors, Bank
from augment.errors import UsageError, suggest
from augment.gates import Candidates
from augment.modalities import Modality
from augment.recipe import Generator
from gan.victim import Victim

# Name → module:class; a strategy is imported when a recipe asks for it.
STRATEGIES = {
    "gan": "augment.strategies.gan:Gan",
    "noise": "augment.strategies.noise:Noise",
}


@dataclass(frozen=True)
class Workshop:
    """What a strategy works with. Everything in it comes from training rows."""

    modality: Modality
    anchors: Anchors
    bank: Bank
    victim: Victim
    band: tuple[float, float]  # margins of the victim between which a sample should land
    settings: Generator
    folder: Path  # for checkpoints
    seed: int
    on_step: Callable[[int, int], None] | None = None


class Strategy(Protocol):
    def __init__(self, workshop: Workshop) -> None:
        """Whatever has to be learnt first is learnt here."""
        ...

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        """A few candidates for each of the anchors at int64[n]; the gates choose among them."""
        ...


def build(name: str, workshop: Workshop) -> Strategy:
    if name not in STRATEGIES:
        raise UsageError(f"unknown strategy '{name}'{suggest(name, STRATEGIES)}")
    module, cls = STRATEGIES[name].split(":")
    return getattr(import_module(module), cls)(workshop)
