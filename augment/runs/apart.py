"""One task's failure is its own: the others go on, and the first failure is raised when all else is done."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from augment.base.errors import SparringError
from augment.base.progress import say
from augment.contracts.result import TaskResult


@contextmanager
def apart(tasks: dict[str, TaskResult], failures: list[Exception], *names: str) -> Iterator[None]:
    """Whatever is raised here is noted as the failure of the tasks `names`; one that has ended keeps its status.

    Of what nobody foresaw the traceback is kept too, for the log.
    """
    try:
        yield
    except Exception as error:
        failures.append(error)
        say(f"{', '.join(names) or 'what belongs to all tasks'}: failed: {reason_of(error)}")
        for name in names:
            found = tasks.setdefault(name, TaskResult.failed(reason_of(error)))
            if not isinstance(error, SparringError):
                found.traceback = traceback_of(error)


def reason_of(error: BaseException) -> str:
    """One line."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped before it was done"
    said = " ".join(str(error).split())
    if isinstance(error, SparringError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
