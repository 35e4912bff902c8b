"""One piece of work after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from augment.contracts.engine import Item, Made


class Inline:
    name = "inline"

    def map(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        for item in items:
            yield work(item)
