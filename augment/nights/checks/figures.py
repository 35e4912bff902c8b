"""A night's figures against their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from augment.contracts.tally import rounded, shown
from augment.recipes.schema import Check, Checks

AT_LEAST = ("few_rows", "kept_share")  # the others must not be above their limit


@dataclass(frozen=True)
class Figures:
    """See `augment.recipes.schema.Checks` for what each is."""

    few_rows: float
    bad_rows: float
    drift: float
    poison: float
    alarms: float
    kept_share: float


WHAT = {
    "few_rows": "rows of the day, over the window's median day",
    "bad_rows": "share of the window's rows in quarantine",
    "drift": "population stability index since the generator was fitted",
    "poison": "share of the window's rows by fake users or floods",
    "alarms": "alarms of the samples",
    "kept_share": "share of the proposals that pass the gates",
}


def raised(figures: Figures, checks: Checks, details: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Those beyond their limits, with their severity and, in words, how far and what would let them through.

    details: name → what is behind the figure.
    """
    out = []
    for name, value in asdict(figures).items():
        check: Check = getattr(checks, name)
        beyond = value < check.limit if name in AT_LEAST else value > check.limit
        if beyond and check.severity != "off":
            more = (details or {}).get(name, "")
            found = {"name": name, "value": value, "limit": check.limit, "severity": check.severity}
            out.append({**found, "reason": _reason(name, value, check, more)})
    return out


def _reason(name: str, value: float, check: Check, detail: str) -> str:
    side = "below" if name in AT_LEAST else "above"
    setting = f"nightly.checks.{name}"
    enough = rounded(value, down=name in AT_LEAST)
    mild = ', or severity = "warn"' if check.severity == "error" else ""
    return (
        f"{name}: {WHAT[name]}: {shown(value)}{detail and f' ({detail})'}, {side} {setting}.limit = "
        f"{shown(check.limit)} by {shown(abs(value - check.limit))}; limit = {shown(enough)}{mild} lets it through"
    )
