"""What every model of sequences is: it fits arrays to sequences, and scores all items by what came before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from augment.contracts.options import BaseOptions
from augment.numeric.columns import whole
from augment.numeric.sequences import Sequences

Arrays = dict[str, np.ndarray]  # what a fitted model is saved as
Tried = Callable[[Callable[[Sequences], np.ndarray]], float]  # a function of scores → NDCG@20 on validation rows


@dataclass(frozen=True)
class Material:
    """What to train on, real sequences and those of the mix.

    shown: n sequences of items; wanted: what comes after the last item of each, one item, or several where a teacher
    named them; avoided: hard items of which none comes next, most often none; weights: float64[n], how much each
    counts. items: how many there are.
    """

    shown: Sequences
    wanted: Sequences
    avoided: Sequences
    weights: np.ndarray
    items: int

    @classmethod
    def of(cls, real: Sequences, mix: pa.Table | None, names: pa.Array) -> Material:
        """Of real sequences the last item is what is wanted after the others; those of fewer than two teach nothing."""
        last = real.ages == 0
        parts = [real.kept(~last)], [real.kept(last)], [real.kept(last & False)]
        weights = [np.ones(len(real))]
        if mix is not None:
            decoded = mix["decoded"].combine_chunks()
            for part, name in zip(parts, ("items", "targets", "negatives"), strict=True):
                part.append(Sequences.lists(pc.struct_field(decoded, name), names))
            weights.append(whole(mix["weight"]).to_numpy(zero_copy_only=False).astype(np.float64))
        shown, wanted, avoided = (_end_to_end(part) for part in parts)
        able = np.flatnonzero((shown.lengths > 0) & (wanted.lengths > 0))
        shown, wanted, avoided = (part.take(able) for part in (shown, wanted, avoided))
        return cls(shown, wanted, avoided, np.concatenate(weights)[able], len(names))

    @property
    def whole(self) -> Sequences:
        """What is shown and then what is wanted."""
        return Sequences.joined([np.concatenate(pair) for pair in zip(self.shown, self.wanted, strict=True)])


class SequenceModel(ABC):
    """A file of this folder holds one or more. chance: another seed is another model."""

    name: ClassVar[str]
    chance: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = BaseOptions

    def __init__(self, options: Any, seed: int = 0, device: str = "cpu") -> None:
        """options: of the type `Options`, or one derived from it."""
        self.options, self.seed, self.device = options, seed, device

    @abstractmethod
    def fit(self, material: Material, tried: Tried) -> Arrays:
        """What it has to choose it chooses by `tried`."""

    @abstractmethod
    def scores(self, arrays: Arrays, shown: Sequences) -> np.ndarray:
        """float32[n, I]: how likely each item comes next. A sequence may be empty, of none but its user's start."""


def _end_to_end(parts: list[Sequences]) -> Sequences:
    items = np.concatenate([part.items for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    return Sequences(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
