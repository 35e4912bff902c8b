"""An engine does one piece of work for each of many items, such as the trainings of an arm: here, or on many machines.

A new engine is one new file in `augment/engines`, or an entry point of the group `sparring.engines`: a class that is
made without arguments. Recipes name it as `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Protocol, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # what asks for work knows no more of an engine


class Engine(Protocol):
    name: ClassVar[str]

    def map(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        """`work` of each item, in the order of the items; raises what the work does.

        Results must be those of a plain loop. The work is a closure that draws all chance from seeds that it knows, but
        some of ours sets torch's global seed for a moment: one process does one piece of it at a time. Who asks may
        stop early: results that nobody takes need not be made.
        """
        ...
