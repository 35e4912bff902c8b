"""A night's figures against their limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from augment.recipe import Check, Checks

AT_LEAST = ("few_rows", "kept_share")  # the others must not be above their limit


@dataclass(frozen=True)
class Figures:
    """See `augment.recipe.Checks` for what each is."""

    few_rows: float
    bad_rows: float
    drift: float
    poison: float
    alarms: float
    kept_share: float


def raised(figures: Figures, checks: Checks) -> list[dict[str, Any]]:
    """Those beyond their limits, with their severity."""
    out = []
    for name, value in asdict(figures).items():
        check: Check = getattr(checks, name)
        beyond = value < check.limit if name in AT_LEAST else value > check.limit
        if beyond and check.severity != "off":
            out.append({"name": name, "value": value, "limit": check.limit, "severity": check.severity})
    return out
