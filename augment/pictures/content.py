"""What the files of a column become before anything works with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version


class BadContent(ValueError):
    """Why a file is not what its column holds: in words, as the quarantine has it, one of a few."""


@dataclass(frozen=True)
class Content:
    role: str  # of the column
    most: int  # bytes of a file
    limits: tuple[object, ...]  # and whatever else decides what is made of one
    packages: tuple[str, ...]  # that make it: other versions may make something else
    made: Callable[[bytes], bytes]  # what is small and safe to work with; raises BadContent

    @cached_property
    def rules(self) -> str:
        """All that what is made of a file depends on, but for its bytes."""
        return repr((self.role, self.limits, [(name, _version(name)) for name in self.packages]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # an extra, without which some files are read all the same
        return ""
