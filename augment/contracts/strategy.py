"""Ways to propose samples: a class each, that says what it is, what it needs, which options it has, and proposes.

A new one is one new file in `augment/strategies`, or an entry point of the group `sparring.strategies`:

    class Jitter(Strategy):
        name = "jitter"
        what = "a little noise on the embedding"

        class Options(BaseOptions):
            size: float = Field(0.1, gt=0, description="Standard deviation of the noise.")

        def propose(self, anchors, rng):
            x = self.workshop.anchors.embedding[anchors]
            noise = rng.standard_normal(x.shape, np.float32) * np.float32(self.options.size)
            return self.workshop.candidates(anchors, x + noise, rng)

Each perturbation of a modality is a strategy of its name too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from augment.base.errors import UsageError, suggest
from augment.contracts.modality import Modality, Texts, Vectors
from augment.contracts.options import BaseOptions, checked, described
from augment.contracts.registry import every, find, group, modality_class, names
from augment.contracts.values import Anchors, Bank, Candidates, Labeller
from augment.numeric.vectors import cosine

if TYPE_CHECKING:
    from augment.recipes.schema import Generator
    from gan.victim import Victim


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
    teacher: Labeller | None = None  # who labels what is proposed

    @property
    def draws(self) -> int:
        """Candidates per anchor."""
        return self.settings.draws or self.modality.draws

    def candidates(
        self, anchor: np.ndarray, moved: np.ndarray, rng: np.random.Generator, label: np.ndarray | None = None
    ) -> Candidates:
        """The rows that moved vectors float32[n, D] decode to, with their own; `label` where it is not the anchor's.

        Where the recipe wants vectors alone, those as they were moved, of rows without contents.
        """
        if self.modality.normalised:
            moved = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        rows = self.anchors.rows.take(pa.array(anchor))
        if not self.settings.decode:
            return Candidates(anchor, cast(Vectors, self.modality).undecoded(rows), moved, label)
        rows, embedding = self.modality.decode(moved, rows, self.bank, rng)
        return Candidates(anchor, rows, embedding, label)

    def texts(self, anchor: np.ndarray) -> list[str]:
        """Of the anchors at int64[n], where rows are texts."""
        return self.anchors.rows["text"].take(pa.array(anchor)).to_pylist()

    def reworded(self, anchor: np.ndarray, texts: list[str], similarity: float) -> Candidates:
        """Candidates of other texts, texts[i] from the anchor at anchor[i].

        Those that say the same word for word, or whose cosine to the anchor is below `similarity`, are left out.
        """
        pairs = zip(texts, self.texts(anchor), strict=True)
        changed = np.flatnonzero([new != old and bool(new.strip()) for new, old in pairs])
        anchor, new = anchor[changed], pa.array([texts[i] for i in changed], pa.string())
        rows = cast(Texts, self.modality).with_text(self.anchors.rows.take(pa.array(anchor)), new)
        embedding = self.modality.encode(rows)
        near = np.flatnonzero(cosine(embedding, self.anchors.embedding[anchor]) >= similarity)
        return Candidates(anchor, rows, embedding).take(near)


class Strategy(ABC):
    """What has to be learnt first is learnt in the constructor, which raises Refused where nothing can be.

    A search varies an option `strength` from 0.5 to 1.5, if there is one.
    """

    name: ClassVar[str]
    what: ClassVar[str]  # in one line, for people who choose
    needs: ClassVar[type] = Modality  # what a modality must be: any, or `Classes`, `Texts`, `Histories`
    novel: ClassVar[bool] = True  # its samples must differ from every real row
    idle: ClassVar[str] = ""  # why it may propose nothing
    # File in the workshop's folder that later nights lend it → its name there where a new fit may start from it.
    keeps: ClassVar[Mapping[str, str]] = {}
    Options: ClassVar[type[BaseModel]] = BaseOptions  # what a recipe may set

    def __init__(self, workshop: Workshop, options: Any) -> None:
        """options: an `Options`."""
        self.workshop, self.options = workshop, options

    @classmethod
    def serves(cls, modality: type[Modality]) -> bool:
        return issubclass(modality, cls.needs)

    @classmethod
    def missing(cls, options: Any, modality: type[Modality]) -> str:
        """What to do before it can be used here with these `Options`; "" when it can.

        Raises ValueError, in words, for an option that means nothing to the modality.
        """
        return ""

    @abstractmethod
    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        """A few candidates for each of the anchors at int64[n]; the gates choose among them."""


def strategies() -> dict[str, type[Strategy]]:
    """Name → strategy: those of files and of other packages, then the perturbations of every modality."""
    named = {name: _strategy(name, found) for name, found in every("strategies").items()}
    return named | {kind: noise for kind, noise in _perturbations().items() if kind not in named}


def strategy_class(name: str) -> type[Strategy]:
    """The strategy of that name. Raises UsageError where there is none; no other package's is loaded to find it."""
    if name in (known := names("strategies")):
        return _strategy(name, find("strategies", name))
    if name in (made := _perturbations()):
        return made[name]
    raise UsageError(f"unknown strategy '{name}'{suggest(name, [*known, *made])}")


def check(name: str, modality: str, options: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a strategy that is unknown, of another task, not usable here, or with wrong options."""
    try:
        strategy = strategy_class(name)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    rows, place = modality_class(modality), f"{where}.strategy_options.{name}"
    if not strategy.serves(rows):
        *most, last = [*_serving(strategy)] or ["no rows that are known here"]
        serves = f"{', '.join(most)} and {last}" if most else last
        raise UsageError(f"{where}: strategy '{name}' serves {serves}, not {modality}; see `sparring strategies`")
    given = checked(strategy.Options, options, place)
    try:
        remedy = strategy.missing(given, rows)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None
    if remedy:
        raise UsageError(f"{where}: strategy '{name}' is not available here: {remedy}")


def build(name: str, workshop: Workshop, options: Mapping[str, Any]) -> Strategy:
    """The strategy of a recipe that passed `check`."""
    strategy = strategy_class(name)
    return strategy(workshop, checked(strategy.Options, options, f"strategy_options.{name}"))


def options_of(name: str) -> dict[str, Any]:
    """What a recipe may set of a strategy, with the defaults; None where it must."""
    return {option.name: option.default for option in described(strategy_class(name).Options)}


def listing() -> list[dict[str, Any]]:
    """Every strategy: name, what it is, the tasks it serves, its options (their defaults, prose), what is missing."""
    found = []
    for name, strategy in strategies().items():
        options, serves = described(strategy.Options), _serving(strategy)
        missing = _missing(strategy, list(serves.values()))
        found.append({"name": name, "what": strategy.what, "serves": list(serves),
                      "options": {o.name: o.default for o in options}, "prose": {o.name: o.text for o in options},
                      "available": not missing, "missing": missing})  # fmt: skip
    return found


def explain() -> str:
    """Every option of every strategy: where it goes, what it means, and its default."""
    lines = []
    for name, strategy in strategies().items():
        if options := described(strategy.Options):
            lines += [f"[tasks.NAME.strategy_options.{name}]", f"# {strategy.what}"]
            lines += [*map(str, options), ""]
    return "\n".join(lines)


def _strategy(name: str, found: Any) -> type[Strategy]:
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise UsageError(f"{group('strategies')}: '{name}' is no class derived from {__name__}.Strategy")
    return found


def _perturbations() -> dict[str, type[Strategy]]:
    """Noise of one kind, for each kind that some modality has."""
    noise, found = find("strategies", "noise"), dict[str, type[Strategy]]()
    for modality in every("modalities").values():
        for kind, about in modality.perturbations.items():
            found.setdefault(kind, noise.of(kind, about))
    return found


def _serving(strategy: type[Strategy]) -> dict[str, type[Modality]]:
    return {name: modality for name, modality in every("modalities").items() if strategy.serves(modality)}


def _missing(strategy: type[Strategy], modalities: list[type[Modality]]) -> str:
    """What to do before it can be used for rows of any kind, its options at their defaults."""
    if any(field.is_required() for field in strategy.Options.model_fields.values()):
        return ""
    remedies = [strategy.missing(strategy.Options(), modality) for modality in modalities]
    return "" if "" in remedies else (remedies or ["no kind of rows that is known here has what it needs"])[0]
