"""A way from what an item is (its content) to how it will behave: which known items a new one is like, and how much.

A new one is one new file in `augment/maps`, or an entry point of the group `sparring.maps`:

    class Nearest(ContentMap):
        name = "nearest"
        what = "as the one item most like it"

        def fit(self, content, behaviour):
            self.content = content
            return self

        def weights(self, content):
            return np.eye(len(self.content), dtype=np.float32)[(content @ self.content.T).argmax(axis=1)]

Which map is taken is chosen on known items that are treated as new; see `augment.generation.new_items`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel

from augment.base.errors import UsageError, suggest
from augment.contracts.options import BaseOptions, checked, described
from augment.contracts.registry import every, find, group, names


class ContentMap(ABC):
    """options: an `Options`."""

    name: ClassVar[str]
    what: ClassVar[str]  # in one line, for people who choose
    grid: ClassVar[Sequence[Mapping[str, Any]]] = ({},)  # options worth trying where a recipe sets none
    Options: ClassVar[type[BaseModel]] = BaseOptions  # what a recipe may set

    def __init__(self, options: Any, seed: int = 0) -> None:
        self.options, self.seed = options, seed

    @abstractmethod
    def fit(self, content: np.ndarray, behaviour: np.ndarray) -> ContentMap:
        """Of known items: unit vectors float32[I, C] of what they are, and float32[I, D] of who takes them."""

    @abstractmethod
    def weights(self, content: np.ndarray) -> np.ndarray:
        """float32[n, I] for new items of unit vectors float32[n, C]: how much of each known one's score they get.

        Their scale means nothing: it is calibrated by how often new items are asked for.
        """


def map_class(name: str) -> type[ContentMap]:
    """The map of that name. Raises UsageError where there is none."""
    found = find("maps", name)
    if not (isinstance(found, type) and issubclass(found, ContentMap)):
        raise UsageError(f"{group('maps')}: '{name}' is no class derived from {__name__}.ContentMap")
    return found


def check(name: str, options: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a map that is unknown, or wrong options."""
    if name not in (known := names("maps")):
        raise UsageError(f"{where}.maps: unknown map '{name}'{suggest(name, known)}")
    checked(map_class(name).Options, options, f"{where}.map_options.{name}")


def settings(name: str, options: Mapping[str, Any], seed: int) -> list[ContentMap]:
    """The map with each of the options to choose from: those of its grid, or the recipe's alone."""
    kind = map_class(name)
    tried = [options] if options else kind.grid
    return [kind(checked(kind.Options, one, f"map_options.{name}"), seed) for one in tried]


def listing() -> list[dict[str, Any]]:
    """Every map: name, what it is, and its options with their prose."""
    return [{"name": name, "what": kind.what, "options": {o.name: o.text for o in described(kind.Options)}}
            for name, kind in every("maps").items()]  # fmt: skip
