"""Models that rank items for users, a file each, by name. `Recommender` gives them rows, tunes them, tests them.

A new one is one new file in this folder, called as its class's `name` says. One of another package is registered
under the entry-point group `sparring.rankers`: name = "module:class".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from augment.base.errors import UsageError
from augment.contracts.registry import in_folder, registered
from consumers.rankers.base import Arrays, Ranker, Rows


class Rankers(Mapping[str, type[Ranker]]):
    """Name → class, looked for when first asked; where two have one name, that of this folder counts."""

    @cached_property
    def _found(self) -> dict[str, type[Ranker]]:
        theirs = registered("rankers")
        for name, found in theirs.items():
            if not (isinstance(found, type) and issubclass(found, Ranker)):
                raise UsageError(f"sparring.rankers: '{name}' is no class derived from consumers.rankers.Ranker")
        return {**theirs, **in_folder(__name__)}

    def __getitem__(self, name: str) -> type[Ranker]:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


RANKERS = Rankers()

__all__ = ["RANKERS", "Arrays", "Ranker", "Rankers", "Rows"]
