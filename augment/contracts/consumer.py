"""Consumers are found by name through the entry-point group `sparring.consumers`; none is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from augment.numeric.measures import Measure
    from gan.victim import Victim


class Consumer(Protocol):
    """A model that trains on real rows, and on the mix when there is one.

    The constructor takes hyper-parameters only (keyword, each with a default, `seed` and `device` among
    them) and stores each under its own name, as scikit-learn's estimators do. One named `mutable`, tuple[str, ...] or
    None, is given the fields that the recipe's source names so: attacks may change no others.
    """

    modality: ClassVar[str]  # "text", "fields" or "behaviour"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]]  # keys "clean", "slices", "robust"; first clean is primary
    held_out_attacks: ClassVar[tuple[str, ...]]  # attacks by which nothing is ever chosen; optional
    rehearsed: ClassVar[tuple[str, ...]]  # metrics whose attacks samples are made of: no proof by themselves; optional
    tolerance: ClassVar[float]  # how much worse clean metrics may be where the recipe does not say; optional, 0.01
    deterministic: bool  # whether every seed gives the same model, so that one is enough; optional, by default not
    # For `sparring search`, both optional: hyper-parameter → values to try, and more of them for training on a mix.
    space: Mapping[str, tuple]
    mix_space: Mapping[str, tuple]

    def __init__(self, *, seed: int = 0, device: str = "cpu") -> None: ...

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Consumer:
        """Train on real rows, plus `mix` (published samples); choose its settings on `valid` alone.

        The same grid is searched with and without a mix, so both arms get the same tuning budget.
        """
        ...

    def predict(self, rows: pa.Table) -> np.ndarray:
        """float32[n] probabilities, or for a recommender float32[n, n_items] scores of the users in `rows`."""
        ...

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """Perturbed copies of test rows (several per `row_id`), used by verdicts, never by generation."""
        ...

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        """Every metric that `metrics` names, with what a paired bootstrap needs: users as units where they are known.

        A metric that these rows cannot answer has the value NaN.
        """
        ...

    def as_victim(self) -> Victim: ...

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """The learnt id embeddings that make the behaviour encoder: name → (values, float32[n, d]).

        Empty for a consumer of frozen text or image embeddings.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        ...

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Consumer: ...

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Consumer]:
        """Strong plain models, by name, for the table beside the verdict; each tunes itself on `valid`."""
        ...
