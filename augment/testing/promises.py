"""What all suites share: how promises become tests, a plug-in's registration, and what a model of options promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from unittest.mock import patch

from pydantic import BaseModel

from augment.base.errors import SparringError, UsageError
from augment.contracts import registry
from augment.contracts.options import checked


def tests_of(promises: type, cases: Mapping[str, Any]) -> type:
    """The class of tests that keeps every promise for each case, by its id; a test's argument `case` is the case.

    Raises UsageError without pytest.
    """
    try:
        import pytest
    except ModuleNotFoundError:
        raise UsageError("pytest is not installed, which runs the suites: pip install 'sparring[test]'") from None
    made = type(promises.__name__, (promises,), {"__module__": promises.__module__})
    return pytest.mark.parametrize("case", list(cases.values()), ids=list(cases))(made)


def skip(why: str) -> NoReturn:
    """Leave the running test out."""
    import pytest

    pytest.skip(why)


def error_of(kind: type[SparringError], work: Callable[[], Any]) -> str:
    """The one line of the error of a kind that the work must raise."""
    said = ""
    try:
        work()
    except kind as error:
        said = str(error)
    assert said, f"nothing is refused, where {kind.__name__} must be raised"
    assert "\n" not in said, f"an error is one line, not {said!r}"
    return said


@dataclass(frozen=True)
class _Point:
    """An entry point that is loaded already."""

    group: str
    name: str
    plug_in: Any
    value: str = "registered by a test"

    def load(self) -> Any:
        return self.plug_in


@contextmanager
def registered(kind: str, *plug_ins: Any) -> Iterator[None]:
    """Within it, plug-ins of a kind ("strategies", …) are found by their `name`, as an installed package's are."""
    own, real = [_Point(registry.group(kind), plug_in.name, plug_in) for plug_in in plug_ins], registry.entry_points

    def entry_points(**wanted: str) -> list[Any]:
        mine = [point for point in own if all(getattr(point, key) == value for key, value in wanted.items())]
        return [*mine, *real(**wanted)]

    with patch.object(registry, "entry_points", entry_points):
        yield


def check_described(options: type[BaseModel]) -> None:
    """Each option says what it means, and each number where it ends."""
    validated = options.__pydantic_decorators__.field_validators.values()
    by_hand = {name for validator in validated for name in validator.info.fields}
    for name, field in options.model_fields.items():
        assert field.description, f"option '{name}' has no description"
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert field.metadata or name in by_hand, f"option '{name}' is a number without a range (gt, ge, lt, le)"


def check_refused(options: type[BaseModel], given: Mapping[str, Any] | None = None) -> None:
    """A name that is no option is an error, which suggests the nearest; `given`: options that must be."""
    name = next(iter(options.model_fields), "strength")
    said = error_of(UsageError, lambda: checked(options, {**(given or {}), f"{name}_": 1}, "here"))
    assert f"unknown option '{name}_'" in said, f"'{name}_' is no option, and the error is: {said}"
    assert not options.model_fields or f"did you mean '{name}'?" in said, said


def check_prose(what: str, about: str) -> None:
    """Words that a table of plug-ins can show."""
    assert isinstance(about, str), f"{what} is text"
    assert about.strip() == about != "", f"{what} says something"
    assert "\n" not in about, f"{what} is one line"
    assert not about.endswith("."), f"{what} is no sentence with a full stop"
