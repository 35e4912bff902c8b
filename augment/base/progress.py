"""What is seen while long work runs: bars on a terminal, elsewhere (the log of a nightly job) one line a minute.

All of it on standard error: what a command prints is the answer alone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import click

T = TypeVar("T")
PERIOD = 60.0  # seconds between two lines


def track(iterable: Iterable[T], desc: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a `bar`; total: of items, where the iterable cannot tell."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with bar(total, desc, unit) as shown:
        for item in iterable:
            yield item
            shown.update()


@contextmanager
def bar(total: int | None, desc: str, unit: str = "step") -> Iterator[Any]:
    """A bar to `update(n)` by hand, with rate and time left."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=desc, unit=unit, leave=False) as shown:
            yield shown
    else:
        with _LINES.opened(_Counted(total, desc, unit)) as counted:
            yield counted


def say(message: str) -> None:
    """One line on standard error, whoever reads it: a person, or the log of a nightly job.

    Where it cannot be written, as to a log on a full disk, the work goes on.
    """
    with suppress(OSError):
        click.echo(message, err=True)


class _Counted:
    """What a bar would show, in words."""

    def __init__(self, total: int | None, desc: str, unit: str) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.done, self.start = 0, time.monotonic()

    def update(self, n: int = 1) -> None:
        self.done += n

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        passed = time.monotonic() - self.start
        words = f"{self.desc}: {self.done:,}{of} {self.unit}s in {_time(passed)}"
        if self.total is None or not 0 < self.done < self.total:
            return words
        return f"{words}, {_time(passed / self.done * (self.total - self.done))} left"


class _Lines:
    """The open bars, the outermost first, and the thread that says them once a minute while there are any."""

    def __init__(self) -> None:
        self._open: list[_Counted] = []
        self._lock = threading.Lock()
        self._none = threading.Event()

    @contextmanager
    def opened(self, one: _Counted) -> Iterator[_Counted]:
        with self._lock:
            if not self._open:
                self._none = threading.Event()
                threading.Thread(target=self._speak, args=(self._none,), daemon=True).start()
            self._open.append(one)
        try:
            yield one
        finally:
            with self._lock:
                self._open.remove(one)
                if not self._open:
                    self._none.set()

    def _speak(self, none: threading.Event) -> None:
        while not none.wait(PERIOD):
            say("; ".join(map(str, tuple(self._open))))


_LINES = _Lines()


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
