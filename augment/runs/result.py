"""What a run says of a task: for machines, for the manifest and for the report."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from augment.contracts.result import Compared, TaskResult
from augment.contracts.tally import Tally
from augment.judging.verdict import Comparison
from augment.publishing.manifest import Manifest, Shard, Version
from augment.runs.task import Job
from augment.runs.version import Outcome


def summary(job: Job, outcome: Outcome) -> TaskResult:
    """What a run prints for its task, but for the version."""
    splits, generated, verdict = outcome.material.splits, outcome.generated, outcome.verdict
    tallies = generated.tallies
    kept = sum(t.kept for t in tallies.values())
    refused: Counter[str] = sum((t.refused for t in tallies.values()), Counter())
    status = "published" if verdict.accepted else "rejected"
    return TaskResult(
        status=status,
        reason=verdict.reason,
        advice=verdict.advice,
        path=str(job.folder),
        rows=outcome.rows,
        undecoded=outcome.undecoded or None,
        kept_share=round(kept / max(1, sum(t.proposed for t in tallies.values())), 4),
        real_rows=splits.counts,
        anchors=generated.anchors,
        quarantined=sum(splits.quarantined.values()),
        quarantine=splits.quarantined,
        verdict={name: _plain(comparison) for name, comparison in verdict.comparisons.items()},
        seeds=len(job.seeds),
        strategies={name: tally.summary(job.task.gates) for name, tally in tallies.items()},
        gates=dict(refused),
        warnings=generated.warnings,
        alarms=outcome.alarms,
        histograms={"hardness": _histogram(generated.real_hardness, tallies)},
        encoder=", ".join(generated.encoders),
        teachers={name: asdict(taught) for name, taught in outcome.lesson.tried.items()} or None,
        labels=outcome.lesson.why or None,
        rounds=generated.rounds,
        examples=outcome.examples or None,
        attribution=outcome.attribution,
    )


def manifest_of(job: Job, outcome: Outcome, result: TaskResult, files: list[Shard]) -> Manifest:
    return Manifest(
        run=job.digest,
        task=job.name,
        status=result.status,
        settings=job.settings,
        inputs=job.inputs,
        encoders=outcome.generated.encoders,
        dim=outcome.generated.dim,
        seed=job.recipe.seed,
        packages=job.versions,
        gates=job.task.gates.model_dump(mode="json"),
        result={name: value for name, value in result.as_json().items() if name != "version"},
        files=files,
        parent=job.dataset.current(),
    )


def refusal(job: Job, reason: str) -> TaskResult:
    """The result of a task that a gate ended before there was anything to compare."""
    nothing = {"edges": [0.0, 1.0], "real": [0.0], "mix": [0.0]}
    return TaskResult("rejected", reason, path=str(job.folder), seeds=len(job.seeds), histograms={"hardness": nothing})


def as_before(job: Job, done: Version) -> TaskResult:
    """What this very run ended in before: nothing is done again, and what was made current since then stays."""
    result = TaskResult.stored(done.manifest.result, status="unchanged", version=done.version)
    if done.version is None or (current := job.dataset.current()) is None:
        return result
    samples = job.dataset.version(current).manifest.files
    if not any(shard.path.startswith(f"{job.digest}/") for shard in samples):
        result.reason = (
            f"published as version {done.version}, of which current version {current} holds no samples; "
            f"`sparring rollback {job.folder} {done.version}` brings them back"
        )
    return result


def _plain(comparison: Comparison) -> Compared:
    return cast(Compared, {key: finite(value) for key, value in asdict(comparison).items()})


def finite(value: Any) -> Any:
    """As JSON has it: what could not be measured (one class only, say) is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _histogram(real: np.ndarray, tallies: dict[str, Tally]) -> dict[str, list[float]]:
    """Shares of real anchors and of samples by the victim's loss."""
    made = np.concatenate([t.hardness for t in tallies.values()])
    edges = np.linspace(0, float(np.quantile(np.concatenate([real, made]), 0.99)) or 1.0, 25)
    counts = {name: np.histogram(v, edges)[0] / max(1, len(v)) for name, v in (("real", real), ("mix", made))}
    return {"edges": edges.tolist(), **{name: share.tolist() for name, share in counts.items()}}
