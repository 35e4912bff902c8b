"""Models that rank items for users, a file each, by name. `Recommender` gives them rows, tunes them, tests them.

A new one is one new file in this folder, called as its class's `name` says. One of another package is registered
under the entry-point group `sparring.rankers`: name = "module:class".
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from augment.base.errors import UsageError
from consumers.rankers.base import Arrays, Ranker, Rows

GROUP = "sparring.rankers"


class Rankers(Mapping[str, type[Ranker]]):
    """Name → class, looked for when first asked; where two have one name, that of this folder counts."""

    @cached_property
    def _found(self) -> dict[str, type[Ranker]]:
        others = {point.name: point for point in entry_points(group=GROUP)}
        return {name: _loaded(name, point) for name, point in others.items()} | dict(_own())

    def __getitem__(self, name: str) -> type[Ranker]:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _own() -> Iterator[tuple[str, type[Ranker]]]:
    """Of each file here the ranker that is called as it is; files of what rankers share have none."""
    for module in pkgutil.iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Ranker) and getattr(value, "name", "") == module.name:
                yield module.name, value


def _loaded(name: str, point: EntryPoint) -> type[Ranker]:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"ranker '{name}' ({GROUP}): {point.value} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Ranker)):
        raise UsageError(f"ranker '{name}' ({GROUP}): {point.value} is no class derived from consumers.rankers.Ranker")
    return found


RANKERS = Rankers()

__all__ = ["RANKERS", "Arrays", "Ranker", "Rankers", "Rows"]
