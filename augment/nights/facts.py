"""What is known of a night: drift, age, poison, hardness, and the checks that it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment.contracts.modality import Classes
from augment.contracts.result import NightFacts
from augment.nights import fits
from augment.nights.checks.figures import Figures, raised
from augment.nights.partitions import samples_of
from augment.nights.window import ledger_of
from augment.runs.task import Job
from augment.runs.version import Outcome


def facts_of(job: Job, day: date, outcome: Outcome, chosen: fits.Choice, stay: list[str]) -> NightFacts:
    material, recipe, fit, drift = outcome.material, job.recipe, chosen.fit, chosen.drift
    then, now = _hardness(job, outcome, max((d for d in stay if d < str(day)), default=""))
    ledger = ledger_of(recipe, job.task.source)
    window = [ledger.day_rows(day - timedelta(days=i)) for i in range(1, recipe.nightly.window_days)]
    usual = float(np.median([rows for rows in window if rows] or [0]))
    rows = sum(material.splits.counts.values())
    bad = sum(material.splits.quarantined.values())
    kept = sum(t.kept for t in outcome.generated.tallies.values())
    figures = Figures(
        few_rows=ledger.day_rows(day) / usual if usual else 1.0,
        bad_rows=(bad - material.poisoned) / max(1, rows + bad),
        drift=max(drift.values(), default=0.0),
        poison=material.poisoned / max(1, rows + bad),
        alarms=float(len(outcome.alarms)),
        kept_share=kept / max(1, sum(t.proposed for t in outcome.generated.tallies.values())),
    )
    gates, quarantined = job.task.gates, material.splits.quarantined
    details = {
        "few_rows": f"{ledger.day_rows(day):,} rows",
        "bad_rows": _worst(quarantined),
        "drift": max(drift, key=lambda name: drift[name], default=""),
        "poison": f"{material.poisoned:,} rows: {_worst(quarantined)}",
        "alarms": "; ".join(outcome.alarms),
        "kept_share": "; ".join(f"'{name}': {t.fate(gates)}" for name, t in outcome.generated.tallies.items()),
    }
    return {
        "day": str(day),
        "days": [*stay, str(day)],
        "fit": fit.folder.name if fit else fits.name_of(job, day),
        "refit": fit is None,
        "why": chosen.why,
        "generator_age_days": (day - date.fromisoformat(fit.day)).days if fit else 0,
        "drift": {name: round(index, 6) for name, index in drift.items()},
        "poisoned": material.poisoned,
        "hardness_of_yesterdays_samples": now,
        "hardness_when_made": then,
        "figures": asdict(figures),
        "checks": raised(figures, recipe.nightly.checks, details),
    }


def _worst(quarantined: Mapping[str, int]) -> str:
    """The commonest reasons for which rows are in quarantine."""
    worst = sorted(quarantined.items(), key=lambda reason: -reason[1])[:3]
    return ", ".join(f"{reason} {count:,}" for reason, count in worst)


def _hardness(job: Job, outcome: Outcome, yesterday: str) -> tuple[float | None, float | None]:
    """Mean loss on the last night's samples: of the victim they were made for, and of tonight's plain consumer."""
    samples = samples_of(job.dataset, [yesterday]) if yesterday else None
    if samples is None or not issubclass(job.modality, Classes):
        return None, None
    rows = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
    rows = job.modality.as_rows(rows, pq.read_schema(outcome.material.splits.train).names)
    p = np.clip(outcome.real.predict(rows.append_column("embedding", samples["embedding"])), 1e-7, 1 - 1e-7)
    y = samples["label"].to_numpy()
    now = float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    return float(samples["hardness"].to_numpy().mean()), now
