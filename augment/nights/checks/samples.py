"""Checks of the samples that a night made."""

from __future__ import annotations

from augment.contracts.check import Night, check


@check("alarms", limit=0, what="alarms of the samples")
def alarms(night: Night) -> tuple[float, str]:
    """Collapse and the like, of modalities that watch for it."""
    return len(night.alarms), "; ".join(night.alarms)


@check("kept_share", limit=0.05, least=True, what="share of the proposals that pass the gates")
def kept_share(night: Night) -> tuple[float, str]:
    tallies = night.tallies
    kept, proposed = (sum(getattr(tally, n) for tally in tallies.values()) for n in ("kept", "proposed"))
    return kept / max(1, proposed), "; ".join(f"'{name}': {t.fate(night.gates)}" for name, t in tallies.items())
