"""Every error a user can cause, with the exit code the command line gives it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class SparringError(Exception):
    """A mistake with a remedy: the message is one line that says what is wrong, where, and what to do."""

    exit_code = 1


class UsageError(SparringError):
    """A recipe, option or name that cannot be used."""

    exit_code = 2


class NotOurs(UsageError):
    """The output folder belongs to another recipe, or no table can be there: nothing is written to it."""


class Refused(SparringError):
    """A gate or the verdict refused to publish."""

    exit_code = 3


class Locked(SparringError):
    """Another run holds the output."""

    exit_code = 4


class BadInput(SparringError):
    """Data that cannot be read, or of which too much is bad."""

    exit_code = 5


class Diverged(SparringError):
    """The generator's training diverged; the last good checkpoint is kept."""

    exit_code = 6


class NoSpace(SparringError):
    """The output cannot be written: the disk is full, or read-only."""

    exit_code = 7


class Unavailable(SparringError):
    """A database or object store is away: the same again, later, may well succeed."""

    exit_code = 8


class Ended(KeyboardInterrupt):
    """The system asks to end (SIGTERM), or the terminal is gone (SIGHUP): what ctrl-C stops, this stops likewise."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def check_type(value: Any, default: Any, where: str) -> None:
    """Raise UsageError for an option that is not what its default is; a whole number may stand for any number."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    kind, given = type(default), type(value)
    if kind in kinds and given is not kind and (kind, given) != (float, int):
        raise UsageError(f"{where} = {value!r} must be {kinds[kind]}")


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(sorted(known)) or 'none'}"
