"""What a check promises: a figure of any night, and a failure on the right side of its limit alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from augment.contracts.check import Check, Night
from augment.contracts.tally import Tally
from augment.recipes.schema import Gates
from augment.testing.promises import check_prose, tests_of

ORDINARY = Night(
    day_rows=500,
    window_rows=[500] * 6,
    counts={"train": 2400, "valid": 300, "test": 300},
    quarantined={"duplicate": 6},
    poisoned=0,
    drift={"device": 0.05},
    tallies={"noise": Tally(wanted=60, proposed=120, kept=60)},
    alarms=[],
    gates=Gates(),
)
NOTHING = replace(ORDINARY, day_rows=0, window_rows=[], counts={}, quarantined={}, drift={}, tallies={})


@dataclass(frozen=True)
class Case:
    check: Check
    bad: Night
    good: Night


def suite(check: Check, bad: Mapping[str, Any], good: Mapping[str, Any] | None = None) -> type:
    """The tests of a check that must fail on a night with `bad` and pass on one with `good`.

    bad, good: what differs from an ordinary night, `ORDINARY`; see `augment.contracts.check.Night`.
    """
    case = Case(check, replace(ORDINARY, **bad), replace(ORDINARY, **(good or {})))
    return tests_of(CheckPromises, {check.name: case})


class CheckPromises:
    def test_it_says_what_it_is(self, case: Case) -> None:
        assert case.check.name.isidentifier(), "recipes name it in `nightly.checks`: letters, digits and _"
        assert math.isfinite(case.check.limit), "`limit` is a number"
        assert case.check.severity in ("off", "warn", "error"), "`severity` is off, warn or error"
        check_prose("what", case.check.what)

    def test_any_night_has_a_figure(self, case: Case) -> None:
        for night in (ORDINARY, NOTHING, case.good, case.bad):
            value, detail = case.check.figure(night)
            assert math.isfinite(value), f"the figure is a number, not {value}, also of a night without rows"
            assert isinstance(detail, str), "what is behind the figure is text"

    def test_a_good_night_passes_and_a_bad_one_does_not(self, case: Case) -> None:
        warned = replace(case.check, severity="warn")
        assert warned.failure(*warned.figure(case.good)) is None, "it fails on the good night"
        assert warned.failure(*warned.figure(case.bad)), "it passes on the bad night"

    def test_it_fails_beyond_its_limit_alone(self, case: Case) -> None:
        warned, limit = replace(case.check, severity="warn"), case.check.limit
        beyond, within = (limit - 1, limit + 1) if case.check.least else (limit + 1, limit - 1)
        assert warned.failure(limit, "") is None, "the limit itself passes"
        assert warned.failure(within, "") is None, "it fails on the wrong side: see `least`"
        failed = warned.failure(beyond, "")
        assert failed, "it passes beyond its limit"
        assert failed["reason"].startswith(f"{case.check.name}: "), "the reason begins with the check's name"
        assert replace(case.check, severity="off").failure(beyond, "") is None, "one that is off never fails"
