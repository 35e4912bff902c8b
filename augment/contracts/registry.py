"""Plug-ins by name: consumers through the entry-point group `sparring.consumers`; none is imported here."""

from __future__ import annotations

from importlib.metadata import entry_points

from augment.base.errors import UsageError, suggest
from augment.contracts.consumer import Consumer

GROUP = "sparring.consumers"


def consumer_class(name: str) -> type[Consumer]:
    """The consumer registered as `name`.

    Raises UsageError when no installed package registers it.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name in found:
        return found[name].load()
    raise UsageError(f"no consumer is registered as '{name}' under {GROUP}{suggest(name, found)}")
