"""What is known of a night: drift, age, poison, hardness, and the checks that it fails."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment.contracts.check import Night, checks_of
from augment.contracts.modality import Classes
from augment.contracts.result import NightFacts
from augment.contracts.values import classes
from augment.nights import fits
from augment.nights.partitions import samples_of
from augment.numeric.columns import labels_of
from augment.runs.task import Job
from augment.runs.version import Outcome
from augment.sources.ledger import Ledger


def facts_of(job: Job, day: date, ledger: Ledger, outcome: Outcome, chosen: fits.Choice, stay: list[str]) -> NightFacts:
    """ledger: of the source as the recipe has it; the job's own source is the window."""
    material, recipe, fit, drift = outcome.material, job.recipe, chosen.fit, chosen.drift
    then, now = _hardness(job, outcome, max((d for d in stay if d < str(day)), default=""))
    window = [ledger.day_rows(day - timedelta(days=i)) for i in range(1, recipe.nightly.window_days)]
    night = Night(
        day_rows=ledger.day_rows(day),
        window_rows=window,
        counts=material.splits.counts,
        quarantined=material.splits.quarantined,
        poisoned=material.poisoned,
        drift=drift,
        tallies=outcome.generated.tallies,
        alarms=outcome.alarms,
        gates=job.task.gates,
    )
    checks = checks_of(recipe.nightly.checks)
    figures = {name: check.figure(night) for name, check in checks.items()}
    failures = [checks[name].failure(*figure) for name, figure in figures.items()]
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
        "figures": {name: value for name, (value, _) in figures.items()},
        "checks": [failure for failure in failures if failure],
    }


def _hardness(job: Job, outcome: Outcome, yesterday: str) -> tuple[float | None, float | None]:
    """Mean loss on the last night's samples: of the victim they were made for, and of tonight's plain consumer."""
    samples = samples_of(job.dataset, [yesterday]) if yesterday else None
    if samples is None or not issubclass(job.modality, Classes):
        return None, None
    rows = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
    rows = job.modality.as_rows(rows, pq.read_schema(outcome.material.splits.train).names)
    said = outcome.real.predict(rows.append_column("embedding", samples["embedding"]))
    wanted = classes(labels_of(samples["label"]))
    now = float(-(wanted * np.log(np.clip(classes(said), 1e-7, 1 - 1e-7))).sum(axis=1).mean())
    return float(samples["hardness"].to_numpy().mean()), now
