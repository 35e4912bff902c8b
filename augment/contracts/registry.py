"""Plug-ins by name: ours by the file they are in, anyone else's by entry point.

A new plug-in is one new file in its folder, or one entry point of another package: nothing that is there is edited, and
nothing but this module imports a folder of plug-ins.
"""

from __future__ import annotations

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from augment.base.errors import UsageError, suggest

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer
    from augment.contracts.engine import Engine
    from augment.contracts.modality import Modality
    from augment.contracts.source import SourceKind
    from augment.recipes.source import Source

# Kind of plug-in → our folder of them. Consumers import us, so ours too come by entry point.
FOLDERS = {
    "checks": "augment.nights.checks",
    "consumers": None,
    "engines": "augment.engines",
    "maps": "augment.maps",
    "modalities": "augment.modalities",
    "sources": "augment.sources.kinds",
    "strategies": "augment.strategies",
    "teachers": "augment.teachers",
}


def group(kind: str) -> str:
    """The entry-point group in which other packages register plug-ins of a kind."""
    return f"sparring.{kind}"


def every(kind: str) -> dict[str, Any]:
    """Name → plug-in: ours in the order of their files, then those that other packages register."""
    found = dict(_ours(kind))
    return found | {name: _load(kind, name) for name in _registered(kind) if name not in found}


def find(kind: str, name: str) -> Any:
    """The plug-in of that name. Raises UsageError where no file and no installed package has one."""
    if name in (ours := _ours(kind)):
        return ours[name]
    if name in _registered(kind):
        return _load(kind, name)
    one = {"checks": "check", "modalities": "modality", "strategies": "strategy"}.get(kind, kind.removesuffix("s"))
    raise UsageError(f"no {one} is registered as '{name}' under {group(kind)}{suggest(name, names(kind))}")


def names(kind: str) -> list[str]:
    """Of all plug-ins of a kind; nothing of another package is loaded."""
    ours = _ours(kind)
    return [*ours, *(name for name in _registered(kind) if name not in ours)]


def consumer_class(name: str) -> type[Consumer]:
    """The consumer of that name; raises what `find` does."""
    return find("consumers", name)


def modality_class(name: str) -> type[Modality]:
    """The modality of that name; raises what `find` does."""
    return find("modalities", name)


def engine(name: str) -> Engine:
    """The engine of that name, ready to work; raises what `find` does."""
    return find("engines", name)()


def source_kind(source: Source) -> SourceKind:
    """Who reads it: another package's kind of the name that its URL begins with, else that of ours whose options it
    has. Raises UsageError for a kind that cannot be loaded."""
    registered = _registered("sources") if source.scheme else ()
    theirs = [_load("sources", name) for name in registered if name == source.scheme]
    return next(kind for kind in [*theirs, *_ours("sources").values()] if kind.owns(source))()


@cache
def _ours(kind: str) -> dict[str, Any]:
    folder = FOLDERS[kind]
    return {} if folder is None else in_folder(folder)


def in_folder(folder: str) -> dict[str, Any]:
    """What the files of a package define: whatever has a `name` of its own, by that name."""
    found = {}
    for info in pkgutil.iter_modules(import_module(folder).__path__):
        module = import_module(f"{folder}.{info.name}")
        for value in vars(module).values():
            here = getattr(value, "__module__", None) == module.__name__
            if here and isinstance(vars(value).get("name"), str) and not inspect.isabstract(value):
                found[value.name] = value
    return found


def registered(kind: str) -> dict[str, Any]:
    """Name → plug-in that another package registers."""
    return {name: _load(kind, name) for name in _registered(kind)}


def _registered(kind: str) -> list[str]:
    return sorted({point.name for point in entry_points(group=group(kind))})


def _load(kind: str, name: str) -> Any:
    (point, *_) = entry_points(group=group(kind), name=name)
    try:
        return point.load()
    except Exception as error:  # whatever another package's import does
        raise UsageError(f"{group(kind)}: '{name}' ({point.value}) cannot be loaded: {error}") from error
