"""A check holds one figure of a night to a limit: beyond it, a warning is said or the version is rejected.

A new check is one decorated function in a file of `augment/nights/checks`, or one that an entry point of the group
`sparring.checks` names. Recipes set its limit and its severity by its name, under `nightly.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from augment.base.errors import UsageError, suggest
from augment.contracts.registry import every
from augment.contracts.tally import Tally, rounded, shown
from augment.recipes.schema import Gates, Limit

Severity = Literal["off", "warn", "error"]


@dataclass(frozen=True)
class Night:
    """What is known of a task's night before it is published."""

    day_rows: int  # raw rows of the day
    window_rows: Sequence[int]  # of each day of the window before it, 0 where there are none
    counts: Mapping[str, int]  # split → good rows of the window
    quarantined: Mapping[str, int]  # reason → rows of the window, the poisoned among them
    poisoned: int  # rows by fake users or floods
    drift: Mapping[str, float]  # column → population stability index since the generator was fitted
    tallies: Mapping[str, Tally]  # strategy → what became of its proposals
    alarms: Sequence[str]  # of the samples, in words
    gates: Gates  # that the proposals had to pass

    @property
    def rows(self) -> int:
        """Of the window, good and bad."""
        return sum(self.counts.values()) + sum(self.quarantined.values())


# The figure; and, where there is something to say, what is behind it.
Measure = Callable[[Night], "float | tuple[float, str]"]


@dataclass(frozen=True)
class Check:
    """A figure and what it is held to."""

    name: str
    limit: float
    least: bool  # the figure must not be below its limit, else not above
    severity: Severity  # warn: said and counted; error: the version is rejected and kept for inspection
    what: str  # the figure is
    measure: Measure

    def __post_init__(self) -> None:
        object.__setattr__(self, "__module__", self.measure.__module__)  # as the registry tells whose it is

    def figure(self, night: Night) -> tuple[float, str]:
        """The figure, and what is behind it or ""."""
        found = self.measure(night)
        value, detail = found if isinstance(found, tuple) else (found, "")
        return float(value), detail

    def failure(self, value: float, detail: str) -> dict[str, Any] | None:
        """None where the figure is within its limit; else how far it is beyond, and what would let it through."""
        beyond = value < self.limit if self.least else value > self.limit
        if self.severity == "off" or not beyond:
            return None
        side = "below" if self.least else "above"
        mild = ', or severity = "warn"' if self.severity == "error" else ""
        reason = (
            f"{self.name}: {self.what}: {shown(value)}{detail and f' ({detail})'}, {side} "
            f"nightly.checks.{self.name}.limit = {shown(self.limit)} by {shown(abs(value - self.limit))}; "
            f"limit = {shown(rounded(value, down=self.least))}{mild} lets it through"
        )
        found = {"name": self.name, "value": value, "limit": self.limit, "severity": self.severity}
        return {**found, "reason": reason}


def check(
    name: str, *, limit: float, what: str, least: bool = False, severity: Severity = "warn"
) -> Callable[[Measure], Check]:
    """Make a check of a function of the night; limit and severity are those of a recipe that sets none.

    what: the figure is, in words that end no sentence.
    """
    return lambda measure: Check(name, float(limit), least, severity, what, measure)


def checks_of(limits: Mapping[str, Limit]) -> dict[str, Check]:
    """Every check by its name, with a recipe's limits. Raises UsageError for one that there is not."""
    found: dict[str, Check] = every("checks")
    for name in limits:
        if name not in found:
            raise UsageError(f"nightly.checks: unknown check '{name}'{suggest(name, found)}")
    given = {name: limit.model_dump(exclude_none=True) for name, limit in limits.items()}
    return {name: replace(one, **given.get(name, {})) for name, one in found.items()}


def explain() -> str:
    """What `sparring init --explain` says of each."""
    lines = ["[nightly.checks]", "# The checks that there are, each with the limit and severity of its own."]
    for name, one in checks_of({}).items():
        side = "least" if one.least else "most"
        lines.append(f'  {name}: {one.what}; at {side} {one.limit:g}. Severity: "{one.severity}".')
    return "\n".join(lines)
