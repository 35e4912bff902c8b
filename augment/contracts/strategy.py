"""Ways to propose samples. A strategy is one small file with one method to write."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from augment.base.errors import UsageError, check_type, suggest

if TYPE_CHECKING:  # so that listing the strategies imports no torch
    from augment.contracts.modality import Modality
    from augment.contracts.values import Anchors, Bank, Candidates
    from augment.recipes.schema import Generator
    from gan.victim import Victim

TEXT, FIELDS, BEHAVIOUR = "text", "fields", "behaviour"
ALL = (TEXT, FIELDS, BEHAVIOUR)
AT_MOST = {"rate": 1.0, "similarity": 1.0, "confidence": 0.5}  # the greatest value of an option
ZERO = {("gan", "strength"), ("self-training", "confidence")}  # options that may be 0; all others are above it


@dataclass(frozen=True)
class Entry:
    """A strategy as recipes name it; its module is imported when a recipe asks for it."""

    place: str  # module:class
    what: str
    modalities: tuple[str, ...] = ALL
    fixed: Mapping[str, str] = field(default_factory=dict)  # constructor arguments that this name stands for
    extra: str = ""  # of this project, that installs `package`
    package: str = ""  # to import
    novel: bool = True  # its samples must differ from every real row
    idle: str = ""  # why it may propose nothing

    def missing(self, options: Mapping[str, Any]) -> str:
        """What to do before it can be used here with these options; "" when it can.

        What a package does not tell (data, an engine), the function `missing` of its module does.
        """
        if self.package and find_spec(self.package) is None:
            return f"pip install 'sparring[{self.extra}]'"
        probe = getattr(import_module(self.place.split(":")[0]), "missing", None)
        return probe({**self.fixed, **options}) if probe else ""


def _gradient(kind: str, what: str) -> Entry:
    return Entry("augment.strategies.gradient:Gradient", what, fixed={"kind": kind})


def _noise(kind: str, what: str, modality: str, novel: bool = True) -> Entry:
    return Entry("augment.strategies.noise:Noise", what, (modality,), {"kind": kind}, novel=novel)


def _negatives(kind: str, what: str) -> Entry:
    return Entry("augment.strategies.negatives:Negatives", what, (BEHAVIOUR,), {"kind": kind})


def _neighbours(kind: str, what: str) -> Entry:
    place = "augment.strategies.mixing:Oversampling"
    return Entry(place, what, (TEXT, FIELDS), {"kind": kind}, extra="mixing", package="imblearn")


STRATEGIES: dict[str, Entry] = {
    "gan": Entry("augment.strategies.gan:Gan", "the conditional GAN: learnt moves along real displacements"),
    "fgm": _gradient("fgm", "fast gradient method (Miyato et al., 2017)"),
    "pgd": _gradient("pgd", "projected gradient descent in the L2 ball (Madry et al., 2018)"),
    "pgd-linf": _gradient("pgd-linf", "projected gradient descent in the L-infinity box"),
    "freelb": _gradient("freelb", "every step of an ascent from a random start (Zhu et al., 2020)"),
    "vat": _gradient("vat", "virtual adversarial direction, needs no label (Miyato et al., 2018)"),
    "noise": Entry("augment.strategies.noise:Noise", "a blend of the task's real perturbations below"),
    "gaussian": Entry("augment.strategies.noise:Gaussian", "Gaussian noise on the embedding"),
    "typos": _noise("typos", "swapped, dropped, doubled, mistyped characters", TEXT),
    "spacing": _noise("spacing", "words run together or split", TEXT),
    "look-alike": _noise("look-alike", "letters replaced by signs that look alike", TEXT),
    "word-drop": _noise("word-drop", "words left out", TEXT),
    "homophones": _noise("homophones", "Chinese characters replaced by others that sound the same", TEXT),
    "masking": _noise("masking", "30% of the fields missing", FIELDS),
    "swaps": _noise("swaps", "one or two fields swapped for near or popular values", FIELDS),
    "item-drop": _noise("item-drop", "a part of the history hidden", BEHAVIOUR),
    "item-insert": _noise("item-insert", "near items slipped into the history", BEHAVIOUR),
    "item-reorder": _noise("item-reorder", "the history reordered, for consumers of its order", BEHAVIOUR, novel=False),
    "pseudo-interactions": _noise("pseudo-interactions", "items alike become targets, in the tail", BEHAVIOUR),
    "synonym": Entry(
        "augment.strategies.synonym:Synonym",
        "words replaced by synonyms (WordNet, Cilin or your own file)",
        (TEXT,),
        idle="no text has a word with a synonym, or `similarity` asks for more than the changed texts have",
    ),
    "back-translation": Entry(
        "augment.strategies.back_translation:BackTranslation",
        "there and back through Apertium or a MarianMT model",
        (TEXT,),
        idle="texts come back word for word, or `similarity` asks for more than the translations have",
    ),
    "mixup": Entry("augment.strategies.mixing:Mixup", "convex mixes of two rows (Zhang et al., 2018)", (TEXT, FIELDS)),
    "smote": _neighbours("smote", "minority rows between neighbours (Chawla et al., 2002)"),
    "adasyn": _neighbours("adasyn", "the same, more where it is hard (He et al., 2008)"),
    "uniform-negatives": _negatives("uniform", "negatives drawn evenly"),
    "popular-negatives": _negatives("popularity", "negatives drawn as often as they occur"),
    "dns": _negatives("dns", "the hardest of a few drawn negatives (Zhang et al., 2013)"),
    "dns-mn": _negatives("dns-mn", "one of the N hardest of M drawn negatives (Shi et al., 2023)"),
    "mixgcf": _negatives("mixgcf", "negatives mixed with the target, then snapped (Huang et al., 2021)"),
    "self-training": Entry(
        "augment.strategies.self_training:SelfTraining",
        "unlabelled rows as they are, with cross-fitted soft labels",
        (TEXT, FIELDS),
        novel=False,
        idle="the source keeps no row without label (`unlabelled`), or none is as sure as `confidence` asks",
    ),
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

    @property
    def draws(self) -> int:
        """Candidates per anchor."""
        return self.settings.draws

    def candidates(self, anchor: np.ndarray, moved: np.ndarray, label: np.ndarray | None = None) -> Candidates:
        """Moved vectors float32[n, D] with the real rows they decode to; `label` where it is not the anchor's."""
        import pyarrow as pa

        from augment.contracts.values import Candidates

        if self.modality.normalised:
            moved = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        rows, embedding = self.modality.decode(moved, self.anchors.rows.take(pa.array(anchor)), self.bank)
        return Candidates(anchor, rows, embedding, label)


class Strategy(Protocol):
    """The constructor takes the workshop, and options (str, int, float, bool) that recipes may set.

    Whatever has to be learnt first is learnt there.
    """

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        """A few candidates for each of the anchors at int64[n]; the gates choose among them."""
        ...


def check(name: str, modality: str, options: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a strategy that is unknown, of another task, not usable here, or with wrong options."""
    if name not in STRATEGIES:
        raise UsageError(f"{where}: unknown strategy '{name}'{suggest(name, STRATEGIES)}")
    entry = STRATEGIES[name]
    if modality not in entry.modalities:
        serves = " and ".join(entry.modalities)
        raise UsageError(f"{where}: strategy '{name}' serves {serves}, not {modality}; see `sparring strategies`")
    known, place = options_of(name), f"{where}.strategy_options.{name}"
    for option, value in options.items():
        if option not in known:
            raise UsageError(f"{place}: unknown option '{option}'{suggest(option, known)}")
        check_type(value, known[option], f"{place}: {option}")
        if not isinstance(value, str):
            _check_range(name, option, value, f"{place}: {option}")
    kinds = [n for n, e in STRATEGIES.items() if e.place == entry.place and e.fixed and modality in e.modalities]
    if (kind := options.get("kind")) and kind not in kinds:
        raise UsageError(f"{place}: unknown kind '{kind}'{suggest(kind, kinds)}")
    if remedy := entry.missing({**known, **options}):
        raise UsageError(f"{where}: strategy '{name}' is not available here: {remedy}")


def _check_range(name: str, option: str, value: float, place: str) -> None:
    zero, most = (name, option) in ZERO, AT_MOST.get(option, math.inf)
    if not ((value > 0 or (zero and value == 0)) and value <= most and math.isfinite(value)):
        limit = f" and at most {most:g}" if option in AT_MOST else ""
        raise UsageError(f"{place} = {value!r} must be {'at least' if zero else 'above'} 0{limit}")


def listing() -> list[dict[str, Any]]:
    """Every strategy: name, what it is, the tasks it serves, its options with their defaults, what is missing."""
    found = []
    for name, entry in STRATEGIES.items():
        options = options_of(name)
        missing = entry.missing(options)
        serves = list(entry.modalities)
        found.append({"name": name, "what": entry.what, "serves": serves, "options": options,
                      "available": not missing, "missing": missing})  # fmt: skip
    return found


def build(name: str, workshop: Workshop, options: Mapping[str, Any]) -> Strategy:
    """The strategy of a recipe that passed `check`."""
    entry = STRATEGIES[name]
    return _class(entry)(workshop, **entry.fixed, **options)


def options_of(name: str) -> dict[str, Any]:
    """What a recipe may set of a strategy: its constructor's parameters, with their defaults."""
    entry = STRATEGIES[name]
    parameters = inspect.signature(_class(entry)).parameters
    return {name: p.default for name, p in parameters.items() if name != "workshop" and name not in entry.fixed}


def _class(entry: Entry) -> Any:
    module, cls = entry.place.split(":")
    return getattr(import_module(module), cls)
