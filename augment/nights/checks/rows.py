"""Checks of the rows that a night was given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from augment.contracts.check import Night, check


@check("few_rows", limit=0.3, least=True, what="rows of the day, over the window's median day")
def few_rows(night: Night) -> tuple[float, str]:
    usual = float(np.median([rows for rows in night.window_rows if rows] or [0]))
    return night.day_rows / usual if usual else 1.0, f"{night.day_rows:,} rows"


@check("bad_rows", limit=0.02, what="share of the window's rows in quarantine")
def bad_rows(night: Night) -> tuple[float, str]:
    """Without those of `poison`."""
    bad = sum(night.quarantined.values()) - night.poisoned
    return bad / max(1, night.rows), _worst(night.quarantined)


@check("drift", limit=0.25, what="population stability index since the generator was fitted")
def drift(night: Night) -> tuple[float, str]:
    """Of the column that drifted most."""
    return max(night.drift.values(), default=0.0), max(night.drift, key=lambda name: night.drift[name], default="")


@check("poison", limit=0.05, severity="error", what="share of the window's rows by fake users or floods")
def poison(night: Night) -> tuple[float, str]:
    return night.poisoned / max(1, night.rows), f"{night.poisoned:,} rows: {_worst(night.quarantined)}"


def _worst(quarantined: Mapping[str, int]) -> str:
    """The commonest reasons for which rows are in quarantine."""
    worst = sorted(quarantined.items(), key=lambda reason: -reason[1])[:3]
    return ", ".join(f"{reason} {count:,}" for reason, count in worst)
