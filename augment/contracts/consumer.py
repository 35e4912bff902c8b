"""Consumers are found by name through the entry-point group `sparring.consumers`; none is imported here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from augment.base.errors import UsageError, check_type, suggest
from augment.contracts.options import Described, checked, described

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from augment.numeric.measures import Measure
    from gan.victim import Victim


class Looked(Protocol):
    """What `sparring init` found in a file that fits a consumer."""

    @property
    def roles(self) -> Mapping[str, str]:
        """Role → column."""
        ...

    @property
    def mutable(self) -> Sequence[str] | None:
        """Fields whose change leaves what is asked the same."""
        ...

    @property
    def products(self) -> str:
        """The source that is its catalogue, or "" where there is none."""
        ...

    @property
    def people(self) -> str:
        """The source of what its users declare of themselves, or "" where there is none."""
        ...

    @property
    def script(self) -> str:
        """Of the texts: latin, chinese or other."""
        ...


class Consumer(Protocol):
    """A model that trains on real rows, and on the mix when there is one. What derives from it has its defaults.

    The constructor takes hyper-parameters only (keyword, each with a default), `seed` and `device`, and stores each
    under its own name, as scikit-learn's estimators do. One named `mutable`, tuple[str, ...] or None, is given the
    fields that the recipe's source names so: attacks may change no others. One named `encoder`, str, is given the name
    of the task's.

    Options: a pydantic model of the hyper-parameters, without those four (see `contracts.options`); without it,
    the constructor's signature says what there is, and a default of what type it is. Where one option decides which
    others there are, a class method `options_for(given)` gives the model for some of them, and `option_models()` all
    such models by when they hold, "" for those that always do. All three are optional.
    """

    modality: ClassVar[str]  # "text", "images", "fields", "behaviour" or "sequences"
    multiclass: ClassVar[bool]  # labels are shares of the K classes that the source names; optional, by default not
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
        """float32[n] probabilities, float32[n, K] of K classes, or of a recommender the scores of the users in `rows`:
        float32[n, n_items].
        """
        ...

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """Perturbed copies of test rows (several per `row_id`), used by verdicts, never by generation.

        A table without `row_id` is no copy but what an attack is made with, such as the rows of fake users. By default
        there is none.
        """
        return {}

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        """Every metric that `metrics` names, with what a paired bootstrap needs: users as units where they are known.

        A metric that these rows cannot answer has the value NaN.
        """
        ...

    def as_victim(self) -> Victim: ...

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """The learnt id embeddings that make the behaviour encoder: name → (values, float32[n, d]).

        Empty, as by default, for a consumer of frozen text or image embeddings.
        """
        return {}

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        ...

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Consumer: ...

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        """Lines of TOML that `sparring init` writes into a task: a portfolio that needs no search, and a verdict.

        And `samples`, where they are not to be 5,000.
        """
        ...

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Consumer]:
        """Strong plain models, by name, for the table beside the verdict; each tunes itself on `valid`.

        At least one: by default the model itself, its options at their defaults.
        """
        return {"at its defaults": cls(seed=seed, device=device)}


def options_of(consumer: type[Consumer], given: Mapping[str, Any] | None = None) -> list[Described]:
    """The hyper-parameters that a recipe may set beside those `given`; without prose where there is no model."""
    if model := _model(consumer, given or {}):
        return described(model)
    apart = ("seed", "device", "mutable", "encoder")
    signature = inspect.signature(consumer).parameters
    return [Described(name, one.default, "") for name, one in signature.items() if name not in apart]


def explain(consumers: Mapping[str, type[Consumer]]) -> str:
    """What `sparring init --explain` says of the options of consumers, by name."""
    lines = []
    for name, consumer in consumers.items():
        for when, options in explained(consumer).items():
            lines += [f"[tasks.NAME.options]  # consumer {name}{when and f', {when}'}", *map(str, options), ""]
    return "\n".join(lines)


def explained(consumer: type[Consumer]) -> dict[str, list[Described]]:
    """Every hyper-parameter with its prose, by when it can be set, "" for those that always can."""
    models = getattr(consumer, "option_models", None)
    return {when: described(model) for when, model in models().items()} if models else {"": options_of(consumer)}


def check_options(consumer: type[Consumer], given: Mapping[str, Any], where: str) -> None:
    """Raise UsageError, in one line that begins with `where`, for options that the consumer does not take."""
    if model := _model(consumer, given):
        checked(model, given, where)
        return
    known = {option.name: option.default for option in options_of(consumer)}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{where}: unknown option '{name}'{suggest(name, known)}")
        check_type(value, known[name], f"{where}: {name}")


def _model(consumer: type[Consumer], given: Mapping[str, Any]) -> Any:
    chosen = getattr(consumer, "options_for", None)
    return chosen(given) if chosen else getattr(consumer, "Options", None)
