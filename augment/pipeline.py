"""One run: recipe → sources → victim → generator → gates → staged samples → both arms → verdict → published or not.

Each step is one function; read `_run_task` from top to bottom to follow a row from its file to the verdict.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augment import alarms, report
from augment.dataset import Dataset, Stage, locked
from augment.errors import Refused, UsageError
from augment.generate import Tally
from augment.job import Job, Material, digest, open_job, read, resolve_device, work_folder
from augment.manifest import Manifest
from augment.plugins import Consumer
from augment.progress import bar, say
from augment.recipe import Recipe
from augment.studio import Studio
from augment.study import fit_seeds, judge, robustness, strongest_baseline
from augment.verdict import Comparison, Verdict

RUNNING = ".run-"  # prefix of a run's scratch folder


def run(recipe: Recipe, *, device: str = "auto", threads: int | None = None) -> dict[str, Any]:
    """Bring every task of the recipe up to date, and say what became of each.

    Returns the run result that `sparring run --json` prints. Raises Locked when another run holds the output,
    and what the steps raise: UsageError, BadInput, Refused, gan.TrainingDiverged.
    """
    started = time.monotonic()
    device = resolve_device(device, threads)
    output = Path(recipe.output)
    jobs = {name: Job(recipe, name, device) for name in recipe.tasks}
    with locked(output):
        for left in output.glob(f"{RUNNING}*"):
            shutil.rmtree(left)  # by a run that was killed: the lock says that none is running
        tasks = {name: _run_task(job) for name, job in jobs.items()}
        statuses = {task["status"] for task in tasks.values()}
        status = next(s for s in ("published", "rejected", "unchanged") if s in statuses)
        run_digest = digest({name: job.digest for name, job in jobs.items()})
        page = output / f"report-{run_digest}.html"
        result: dict[str, Any] = {"run": run_digest, "status": status, "tasks": tasks, "report": str(page)}
        result["seconds"] = round(time.monotonic() - started, 1)
        if status != "unchanged" or not page.exists():
            report.write(result, page)
    return result


def _run_task(job: Job) -> dict[str, Any]:
    if found := job.dataset.find(job.digest):
        return {**found.manifest.result, "status": "unchanged", "version": found.version}
    with work_folder(job, RUNNING) as work, job.dataset.stage(job.digest) as stage:
        material = read(job, work)
        arena = material.arena
        say(f"{job.name}: training {job.task.consumer} on {len(arena.train):,} real rows")
        real = fit_seeds(job.make, job.seeds, arena, None)
        generated = generate(job, material, real[0], stage, work)
        samples = stage.read()
        say(f"{job.name}: training on the mix, with {len(samples):,} samples")
        mix = fit_seeds(job.make_on_mix, job.seeds, arena, samples)
        baseline = strongest_baseline(job.consumer, job.seeds, arena, job.device)
        say(f"{job.name}: evaluating on {len(arena.test):,} test rows")
        verdict = judge(real, mix, baseline, arena, job.task.verdict, job.recipe.seed)
        raised = alarms.signs(samples, arena.train, arena.valid).raised if job.consumer.modality == "behaviour" else []
        return _conclude(job, material, generated, stage, verdict, raised)


def _conclude(
    job: Job, material: Material, generated: Generated, stage: Stage, verdict: Verdict, raised: list[str]
) -> dict[str, Any]:
    """Publish or reject the stage, and say why."""
    splits, tallies = material.splits, generated.tallies
    kept = sum(t.kept for t in tallies.values())
    refused: Counter[str] = sum((t.refused for t in tallies.values()), Counter())
    status = "published" if verdict.accepted else "rejected"
    result = {
        "status": status,
        "reason": verdict.reason,
        "path": str(job.folder),
        "rows": kept,
        "kept_share": round(kept / max(1, sum(t.proposed for t in tallies.values())), 4),
        "real_rows": splits.counts,
        "anchors": generated.anchors,
        "quarantined": sum(splits.quarantined.values()),
        "quarantine": splits.quarantined,
        "verdict": {name: _plain(comparison) for name, comparison in verdict.comparisons.items()},
        "seeds": len(job.seeds),
        "strategies": {name: _summary(tally) for name, tally in tallies.items()},
        "gates": dict(refused),
        "alarms": raised,
        "histograms": {"hardness": _histogram(generated.real_hardness, tallies)},
        "encoder": ", ".join(generated.encoders),
        "rounds": generated.rounds,
    }
    manifest = Manifest(
        run=job.digest,
        task=job.name,
        status=status,
        settings=job.settings,
        inputs=job.inputs,
        encoders=generated.encoders,
        dim=generated.dim,
        seed=job.recipe.seed,
        packages=job.versions,
        gates=job.task.gates.model_dump(mode="json"),
        result=result,
        files=stage.files,
        parent=job.dataset.current(),
    )
    job.dataset.keep_quarantine(job.digest, splits.quarantine)
    if verdict.accepted:
        return {**result, "version": job.dataset.publish(stage, manifest)}
    job.dataset.reject(stage, manifest)
    return {**result, "version": None}


@dataclass(frozen=True)
class Generated:
    encoders: list[str]  # one per round: a victim's id tables are its own
    dim: int
    tallies: dict[str, Tally]
    anchors: int
    real_hardness: np.ndarray  # of the anchors themselves, for the report
    rounds: int


def generate(job: Job, material: Material, victim: Consumer, stage: Stage, work: Path) -> Generated:
    """Propose, judge and stage samples, in rounds: each further one spars with a victim trained on the mix so far.

    Stops before a round when the last one left the robust metrics on validation rows no better.
    Sees training and validation rows only. Raises Refused when too few proposals pass the gates.
    """
    task = job.task
    tallies: dict[str, Tally] = {name: Tally() for name in task.strategies}
    encoders: list[str] = []
    rounds = task.generator.rounds
    studio = Studio(job, material, victim, work)
    best = robustness(victim, material.arena, task.verdict) if rounds > 1 else 0.0
    hardness = studio.real_hardness()
    for number in range(rounds):
        if number:
            say(f"{job.name}: round {number + 1}, a new victim on the mix so far")
            victim = job.make_on_mix(job.seeds[0]).fit(material.arena.train, material.arena.valid, stage.read())
            found = robustness(victim, material.arena, task.verdict)
            if found <= best:
                say(f"{job.name}: the last round brought nothing on validation rows; no more rounds")
                break
            best = found
            studio = Studio(job, material, victim, _subfolder(work, f"round{number}"))
        encoders.append(studio.modality.encoder)
        _one_round(job, studio, stage, tallies, number)
    return Generated(encoders, studio.modality.dim, tallies, len(studio.anchors), hardness, len(encoders))


def _one_round(job: Job, studio: Studio, stage: Stage, tallies: dict[str, Tally], number: int) -> None:
    task = job.task
    total = sum(task.strategies.values()) * task.generator.rounds
    for place, (name, share) in enumerate(task.strategies.items()):
        wanted = round(task.samples * share / total)
        say(f"{job.name}: {name}, {wanted:,} samples wanted")
        tally = Tally()
        with bar(wanted, name, "sample") as shown:
            for table in studio.samples(name, wanted, tally, place + number * len(task.strategies)):
                stage.write(table)
                shown.update(len(table))
        if tally.kept < task.gates.min_kept_share * max(1, tally.proposed):
            raise Refused(f"{job.name}: the gates kept {tally.kept} of {tally.proposed} proposals by '{name}'")
        tallies[name].add(tally)


def _subfolder(work: Path, name: str) -> Path:
    folder = work / name
    folder.mkdir(exist_ok=True)
    return folder


def generate_only(
    recipe: Recipe, name: str, folder: Path, *, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """Write gated samples of one task as Parquet shards into `folder`: no verdict, nothing published."""
    job = open_job(recipe, name, device, threads)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose a new folder")
    with work_folder(job) as work, Dataset(work / "stage").stage(job.digest) as stage:
        material = read(job, work)
        victim = job.make(job.seeds[0]).fit(material.arena.train, material.arena.valid)
        generated = generate(job, material, victim, stage, work)
        folder.mkdir(parents=True, exist_ok=True)
        for shard in stage.files:
            shutil.copy(stage.root / shard.path, folder)
    strategies = {name: _summary(tally) for name, tally in generated.tallies.items()}
    return {
        "path": str(folder),
        "rows": sum(t.kept for t in generated.tallies.values()),
        "strategies": strategies,
    }


def train(recipe: Recipe, name: str, folder: Path, *, version: str = "current", device: str = "auto",
          threads: int | None = None) -> dict[str, Any]:  # fmt: skip
    """Train a task's consumer on its real rows and a published version of its mix, and save it to `folder`."""
    job = open_job(recipe, name, device, threads)
    published = job.dataset.version(version)
    samples = job.dataset.read(published.version).to_table()
    with work_folder(job) as work:
        arena = read(job, work).arena
        job.make_on_mix(job.recipe.seed).fit(arena.train, arena.valid, samples).save(folder)
    (folder / "mix.json").write_text(
        json.dumps({"path": str(job.folder), "version": published.version, "run": published.run})
    )
    return {
        "model": str(folder),
        "mix_version": published.version,
        "rows": len(arena.train),
        "samples": len(samples),
    }


def evaluate(
    recipe: Recipe, name: str, folder: Path, *, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """The metrics of a saved model on the task's test rows."""
    job = open_job(recipe, name, device, threads)
    model = job.consumer.load(folder, job.device)
    with work_folder(job) as work:
        arena = read(job, work).arena
        measures = model.evaluate(arena.test, arena.attacked)
    metrics = {metric: {"value": m.value(), "better_is": m.better_is} for metric, m in measures.items()}
    return {"model": str(folder), "rows": len(arena.test), "metrics": metrics}


def _plain(comparison: Comparison) -> dict[str, Any]:
    """As JSON has it: what could not be measured (one class only, say) is null."""
    found = asdict(comparison)
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def _summary(tally: Tally) -> dict[str, Any]:
    median = {
        n: float(np.median(v)) if v else None for n, v in (("hardness", tally.hardness), ("novelty", tally.novelty))
    }
    return {
        "proposed": tally.proposed,
        "kept": tally.kept,
        "false_negatives_dropped": tally.false_negatives,
        "hardness_median": median["hardness"],
        "novelty_median": median["novelty"],
    }


def _histogram(real: np.ndarray, tallies: dict[str, Tally]) -> dict[str, list[float]]:
    """Shares of real anchors and of samples by the victim's loss."""
    made = np.concatenate([t.hardness for t in tallies.values()])
    edges = np.linspace(0, float(np.quantile(np.concatenate([real, made]), 0.99)) or 1.0, 25)
    counts = {name: np.histogram(v, edges)[0] / max(1, len(v)) for name, v in (("real", real), ("mix", made))}
    return {"edges": edges.tolist(), **{name: share.tolist() for name, share in counts.items()}}
