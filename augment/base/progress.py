"""What a person at a terminal sees while long work runs; silent when standard error is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

T = TypeVar("T")


def track(iterable: Iterable[T], desc: str, unit: str, total: int | None = None) -> Iterable[T]:
    """Iterate with a bar that shows rate and time left; total: of items, where the iterable cannot tell."""
    from tqdm import tqdm

    return tqdm(iterable, desc=desc, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty())


@contextmanager
def bar(total: int, desc: str, unit: str = "step") -> Iterator[Any]:
    """A bar to `update(n)` by hand."""
    from tqdm import tqdm

    with tqdm(total=total, desc=desc, unit=unit, leave=False, disable=not sys.stderr.isatty()) as shown:
        yield shown


def say(message: str) -> None:
    """One line on standard error, whoever reads it: a person, or the log of a nightly job."""
    click.echo(message, err=True)
