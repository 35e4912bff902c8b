"""What labels samples where it knows more than the consumer does: a class each, found by name like a strategy.

A sample that keeps its anchor's label is the more wrong the harder it is. A teacher says what the label is where the
sample went, and how sure that is; `augment.runs.teaching` takes the one that is best on rows that it never saw, if it
beats the consumer at all.

A new one is one new file in `augment/teachers`, or an entry point of the group `sparring.teachers`. Every strong plain
model of a consumer (`Consumer.baselines`) is a teacher too, by its name there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel

from augment.base.errors import UsageError, suggest
from augment.contracts.modality import Classes, Modality
from augment.contracts.options import BaseOptions, checked, described
from augment.contracts.registry import every, find, group, modality_class, names

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer
    from augment.contracts.values import Candidates
    from augment.numeric.measures import Measure


PLAIN = "cross-fitted"  # what a plain model is, as a teacher


@dataclass(frozen=True)
class Room:
    """Where a teacher is made: real rows, and models to be trained on them."""

    train: pa.Table
    valid: pa.Table  # by which models are tuned; no teacher learns their labels
    modality: type[Modality]
    consumer: type[Consumer]
    make: Callable[[int], Consumer]  # the task's consumer by seed, untrained
    trained: Callable[[Mapping[str, tuple[Consumer, pa.Table]]], list[Consumer]]  # models on rows, by names of theirs
    plain: Callable[[int], Mapping[str, Consumer]]  # the strong plain models of that consumer by seed, untrained
    seed: int
    device: str


class Teacher(ABC):
    """options: an `Options`."""

    name: ClassVar[str]
    what: ClassVar[str]  # in one line, for people who choose
    needs: ClassVar[type] = Classes  # what a modality must be
    unseen: bool = False  # speaks of a training row, and of what is made of it, without having seen it
    Options: ClassVar[type[BaseModel]] = BaseOptions  # what a recipe may set

    def __init__(self, options: Any, called: str = "") -> None:
        """called: what a recipe and a sample's `label_source` call it, where that is not its name."""
        self.options, self.called = options, called or self.name

    @classmethod
    def unfit(cls, options: Any, consumer: type[Consumer]) -> str:
        """Why it cannot teach this consumer with these `Options`, in words; "" where it can."""
        return ""

    @abstractmethod
    def fit(self, room: Room) -> Teacher:
        """Raises SparringError where it cannot be made of these rows: it is left out then."""

    @abstractmethod
    def measures(self, rows: pa.Table) -> dict[str, Measure]:
        """The consumer's clean metrics, of what it says of real rows."""

    @abstractmethod
    def label(self, candidates: Candidates) -> Candidates:
        """The candidates with labels that are its own, and the `spread` of what its members say."""


def teacher_class(name: str) -> type[Teacher]:
    """The teacher of that name. Raises UsageError where there is none."""
    found = find("teachers", name)
    if not (isinstance(found, type) and issubclass(found, Teacher)):
        raise UsageError(f"{group('teachers')}: '{name}' is no class derived from {__name__}.Teacher")
    return found


def check(name: str, consumer: type[Consumer], options: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a teacher that is unknown, of other rows, or with wrong options."""
    if name not in (known := names("teachers")) and name not in (plain := consumer.baselines(0, "cpu")):
        raise UsageError(f"{where}: unknown teacher '{name}'{suggest(name, [*known, *plain])}")
    teacher, given = _named(name, options)
    if not issubclass(modality_class(consumer.modality), teacher.needs):
        raise UsageError(f"{where}: teacher '{name}' does not serve {consumer.modality}")
    place = f"{where}.teacher_options.{name}"
    if problem := teacher.unfit(checked(teacher.Options, given, place), consumer):
        raise UsageError(f"{place}: {problem}")


def build(name: str, options: Mapping[str, Any]) -> Teacher:
    """The teacher of a recipe that passed `check`."""
    teacher, given = _named(name, options)
    return teacher(checked(teacher.Options, given, f"teacher_options.{name}"), name)


def _named(name: str, options: Mapping[str, Any]) -> tuple[type[Teacher], Mapping[str, Any]]:
    """The teacher and its options; a plain model's name is one that is cross-fitted."""
    if name in names("teachers"):
        return teacher_class(name), options
    return teacher_class(PLAIN), {"of": name, **options}


def listing() -> list[dict[str, Any]]:
    """Every teacher: name, what it is, and its options with their prose; then the plain models of each consumer."""
    found = [{"name": name, "what": teacher.what, "options": {o.name: o.text for o in described(teacher.Options)}}
             for name, teacher in every("teachers").items()]  # fmt: skip
    for consumer, kind in every("consumers").items():
        if issubclass(modality_class(kind.modality), teacher_class(PLAIN).needs):
            found += [{"name": name, "what": f"a strong plain model of {consumer}, {PLAIN}", "options": {}}
                      for name in kind.baselines(0, "cpu")]  # fmt: skip
    return found


def explain() -> str:
    """Every option of every teacher: where it goes, what it means, and its default."""
    lines = []
    for name, teacher in every("teachers").items():
        lines += [f"[tasks.NAME.teacher_options.{name}]", f"# {teacher.what}"]
        lines += [*map(str, described(teacher.Options)), ""]
    return "\n".join(lines)
