"""One run: recipe → sources → victim → generator → gates → staged samples → both arms → verdict → published or not.

Each step is one function; read `_run_task` from top to bottom to follow a row from its file to the verdict.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment import alarms, report, spaces
from augment.apart import apart
from augment.dataset import Stage
from augment.errors import Diverged, Refused, SparringError
from augment.job import Job, Material, clear_work, digest, read, resolve_device
from augment.lock import held
from augment.manifest import Manifest, Shard
from augment.plugins import Consumer
from augment.progress import bar, say
from augment.recipe import Recipe
from augment.steps import Steps
from augment.studio import Studio
from augment.study import fit_seeds, for_seeds, judge, robustness, strongest_baseline
from augment.tally import Tally
from augment.verdict import Comparison, Verdict

RUNNING = ".run-"  # prefix of the folder of a run's finished steps


def run(recipe: Recipe, *, device: str = "auto", threads: int | None = None) -> dict[str, Any]:
    """Bring every task of the recipe up to date, and say what became of each.

    Returns the run result that `sparring run --json` prints. Raises Locked when another run holds the output,
    and what the steps raise: UsageError, BadInput, Unavailable, Refused, Diverged. One task that fails stops no other:
    the first failure is raised when all else is done.
    """
    started = time.monotonic()
    device = resolve_device(device, threads)
    output = Path(recipe.output)
    jobs = {name: Job(recipe, name, device) for name in recipe.tasks}
    with held(recipe):
        clear_left(output, jobs.values())
        tasks: dict[str, Any] = {}
        failures: list[Exception] = []
        for name, job in jobs.items():
            with apart(tasks, failures, name):
                tasks[name] = _run_task(job)
        statuses = {task["status"] for task in tasks.values()}
        status = next(s for s in ("published", "rejected", "unchanged", "failed") if s in statuses)
        run_digest = digest({name: job.digest for name, job in jobs.items()})
        page = output / f"report-{run_digest}.html"
        result: dict[str, Any] = {"run": run_digest, "status": status, "tasks": tasks, "report": str(page)}
        result["seconds"] = round(time.monotonic() - started, 1)
        if status != "unchanged" or not page.exists():
            report.write(result, page)
    if failures:
        others = [f"{name}: {task['status']}" for name, task in tasks.items() if task["status"] != "failed"]
        say("; ".join([*others, f"report: {page}"]))
        raise failures[0]
    return result


def _run_task(job: Job) -> dict[str, Any]:
    if found := job.dataset.find(job.digest):
        return {**found.manifest.result, "status": "unchanged", "version": found.version}
    try:
        with steps_of(job) as steps, job.dataset.stage(job.digest) as stage:
            material = read(job, steps.scratch("splits"), steps.ngrams)
            steps.keep_ngrams(material.ngrams)
            return conclude(job, stage, make_version(job, steps, stage, material))
    except Refused as error:  # the other tasks go on
        return refusal(job, str(error))


def clear_left(output: Path, jobs: Iterable[Job]) -> None:
    """Remove what killed runs left, but for steps that these jobs can go on from. Call it under the lock."""
    clear_work(output)
    wanted = {f"{RUNNING}{job.digest}" for job in jobs}
    for left in output.glob(f"{RUNNING}*"):
        if left.name not in wanted:
            shutil.rmtree(left)


@contextmanager
def steps_of(job: Job) -> Iterator[Steps]:
    """The finished steps of this very run, if it was killed before; gone when it ends, well or in a known error.

    A generator that diverged leaves its last good checkpoint there until another run starts.
    """
    folder = Path(job.recipe.output) / f"{RUNNING}{job.digest}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield Steps(folder)
    except Diverged:
        raise
    except SparringError:  # it would end the same way again
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Outcome:
    """All that is known of a version before it is published or rejected."""

    material: Material
    real: Consumer  # trained on real rows, by the first seed
    generated: Generated
    verdict: Verdict
    alarms: list[str]


def make_version(
    job: Job,
    steps: Steps,
    stage: Stage,
    material: Material,
    *,
    victim: Consumer | None = None,
    kept: pa.Table | None = None,
    stream: int = 0,
) -> Outcome:
    """Train on real rows, generate, train on the mix, compare.

    victim: fitted on an earlier night; else it is the first model that is trained on the real rows. kept: samples of
    earlier nights that stay in the version. stream: sets a night's chance apart from other nights'.
    """
    arena = material.arena
    say(f"{job.name}: training {job.task.consumer} on {len(arena.train):,} real rows")

    def fit(seed: int) -> Consumer:
        return steps.model(f"real-{seed}", job.consumer, job.device,
                           lambda: job.make(seed).fit(arena.train, arena.valid))  # fmt: skip

    real = for_seeds(job.make, job.seeds, fit)
    taken = set() if kept is None else set(kept["sample_id"].to_pylist())
    generated = generate(job, material, real[0], stage, steps, victim=victim, taken=taken, stream=stream)
    samples = stage.read()
    mixed = samples if kept is None else pa.concat_tables([samples, kept])
    say(f"{job.name}: training on the mix, with {len(mixed):,} samples")
    mix = fit_seeds(job.make_on_mix, job.seeds, arena, mixed)
    baseline = strongest_baseline(job.consumer, job.seeds, arena, job.device)
    say(f"{job.name}: evaluating on {len(arena.test):,} test rows")
    verdict = judge(real, mix, baseline, arena, job.task.verdict, job.recipe.seed)
    raised = alarms.signs(samples, arena.train, arena.valid).raised if job.consumer.modality == "behaviour" else []
    return Outcome(material, real[0], generated, verdict, raised)


def conclude(job: Job, stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """Publish or reject the stage, and say why."""
    result = summary(job, outcome)
    manifest = manifest_of(job, outcome, result, stage.files)
    job.dataset.keep_quarantine(job.digest, outcome.material.splits.quarantine)
    if outcome.verdict.accepted:
        spaces.keep(job.dataset.root, outcome.material.ngrams)
        return {**result, "version": job.dataset.publish(stage, manifest)}
    job.dataset.reject(stage, manifest)
    return {**result, "version": None}


def summary(job: Job, outcome: Outcome) -> dict[str, Any]:
    """What a run prints for its task, but for the version."""
    splits, generated, verdict = outcome.material.splits, outcome.generated, outcome.verdict
    tallies = generated.tallies
    kept = sum(t.kept for t in tallies.values())
    refused: Counter[str] = sum((t.refused for t in tallies.values()), Counter())
    status = "published" if verdict.accepted else "rejected"
    return {
        "status": status,
        "reason": verdict.reason,
        "advice": verdict.advice,
        "path": str(job.folder),
        "rows": kept,
        "kept_share": round(kept / max(1, sum(t.proposed for t in tallies.values())), 4),
        "real_rows": splits.counts,
        "anchors": generated.anchors,
        "quarantined": sum(splits.quarantined.values()),
        "quarantine": splits.quarantined,
        "verdict": {name: _plain(comparison) for name, comparison in verdict.comparisons.items()},
        "seeds": len(job.seeds),
        "strategies": {name: tally.summary(job.task.gates) for name, tally in tallies.items()},
        "gates": dict(refused),
        "warnings": generated.warnings,
        "alarms": outcome.alarms,
        "histograms": {"hardness": _histogram(generated.real_hardness, tallies)},
        "encoder": ", ".join(generated.encoders),
        "rounds": generated.rounds,
    }


def manifest_of(job: Job, outcome: Outcome, result: dict[str, Any], files: list[Shard]) -> Manifest:
    return Manifest(
        run=job.digest,
        task=job.name,
        status=result["status"],
        settings=job.settings,
        inputs=job.inputs,
        encoders=outcome.generated.encoders,
        dim=outcome.generated.dim,
        seed=job.recipe.seed,
        packages=job.versions,
        gates=job.task.gates.model_dump(mode="json"),
        result=result,
        files=files,
        parent=job.dataset.current(),
    )


def refusal(job: Job, reason: str) -> dict[str, Any]:
    """The result of a task that a gate ended before there was anything to compare."""
    nothing = {"edges": [0.0, 1.0], "real": [0.0], "mix": [0.0]}
    counts = dict.fromkeys(("rows", "kept_share", "anchors", "quarantined", "rounds"), 0)
    empty: dict[str, Any] = {name: {} for name in ("real_rows", "quarantine", "verdict", "strategies", "gates")}
    none: dict[str, Any] = {name: [] for name in ("alarms", "warnings")}
    return {"status": "rejected", "reason": reason, "path": str(job.folder), **counts, **empty, **none,
            "seeds": len(job.seeds), "histograms": {"hardness": nothing}, "encoder": "", "version": None}  # fmt: skip


@dataclass(frozen=True)
class Generated:
    encoders: list[str]  # one per round: a victim's id tables are its own
    dim: int
    tallies: dict[str, Tally]
    anchors: int
    real_hardness: np.ndarray  # of the anchors themselves, for the report
    rounds: int
    warnings: list[str]


def generate(
    job: Job, material: Material, real: Consumer, stage: Stage, steps: Steps, *, victim: Consumer | None = None,
    taken: Collection[str] = (), stream: int = 0,
) -> Generated:  # fmt: skip
    """Propose, judge and stage samples, in rounds: each further one spars with a victim trained on the mix so far.

    real: trained on the real rows by the first seed; the first victim, where no other is given. A round that leaves
    the robust metrics on validation rows no better is the last one, and its samples go; those of the first stay, for
    the verdict. A strategy of which too few proposals pass the gates is left out, with a warning. Sees training and
    validation rows only. Raises Refused when every strategy is.
    """
    task, arena, rounds = job.task, material.arena, job.task.generator.rounds
    tallies: dict[str, Tally] = {name: Tally() for name in task.strategies}
    encoders: list[str] = []
    warnings: list[str] = []
    studio = Studio(job, material, victim or real, _subfolder(steps.folder, "round0"), taken)
    hardness = studio.real_hardness()

    def trained(mix: pa.Table | None) -> tuple[Consumer, float]:
        model = job.make_on_mix(job.seeds[0]).fit(arena.train, arena.valid, mix)
        return model, robustness(model, arena, task.verdict)

    gained, best = True, 0.0
    if rounds > 1:
        # What the mix's options bring alone (adversarial training, say) is no gain of the samples.
        best = trained(None)[1] if task.mix_options else robustness(real, arena, task.verdict)
    for number in range(rounds):
        if number:
            taken = {*taken, *stage.read()["sample_id"].to_pylist()}
            studio = Studio(job, material, victim or real, _subfolder(steps.folder, f"round{number}"), taken)
        staged = len(stage.files)
        made = _one_round(job, studio, stage, steps, number, stream)
        said = [f"'{name}' is left out: {tally.fate(task.gates)}" for name, tally in made.items() if not tally.kept]
        if not number and len(said) == len(made):
            raise Refused(f"{job.name}: {'; '.join(said)}")
        if rounds > 1:
            say(f"{job.name}: round {number + 1} of at most {rounds}: training on the mix so far")
            victim, found = trained(stage.read())
            gained, best = found > best, found
        if number and not gained:
            stage.drop(stage.files[staged:])
        else:
            encoders.append(studio.modality.encoder)
            warnings += [f"round {number + 1}: {line}" if rounds > 1 else line for line in said]
            for name, tally in made.items():
                tallies[name].add(tally)
        if not gained:
            say(f"{job.name}: it brought nothing on validation rows; no more rounds")
            break
    warnings += _short(tallies)
    for line in warnings:
        say(f"{job.name}: warning: {line}")
    return Generated(encoders, studio.modality.dim, tallies, len(studio.anchors), hardness, len(encoders), warnings)


def _short(tallies: Mapping[str, Tally]) -> list[str]:
    """That fewer samples were made than wanted: nobody else gets the share of a strategy that could not fill it."""
    made, wanted = (sum(getattr(tally, n) for tally in tallies.values()) for n in ("kept", "wanted"))
    few = [f"'{name}' {t.kept:,} of {t.wanted:,}" for name, t in tallies.items() if t.kept < t.wanted]
    return [f"{made:,} of the {wanted:,} samples wanted were made: {', '.join(few)}"] if few else []


def _one_round(job: Job, studio: Studio, stage: Stage, steps: Steps, number: int, stream: int) -> dict[str, Tally]:
    """Stage a round's samples; those of a strategy that is left out are not, and its tally has none kept."""
    task = job.task
    total = sum(task.strategies.values()) * task.generator.rounds
    tallies = {}
    for place, (name, share) in enumerate(task.strategies.items()):
        wanted = round(task.samples * share / total)
        say(f"{job.name}: {name}, {wanted:,} samples wanted")
        chance = place + number * len(task.strategies) + stream

        def make(tally: Tally, name: str = name, wanted: int = wanted, chance: int = chance) -> Iterator[pa.Table]:
            with bar(wanted, name, "sample") as shown:
                for table in studio.samples(name, wanted, tally, chance):
                    shown.update(len(table))
                    yield table

        tables, tallies[name] = steps.samples(f"samples-{number}-{place}", make)
        if tallies[name].too_few(task.gates):
            tallies[name].drop()
            continue
        for table in tables:
            stage.write(table)
    return tallies


def _subfolder(work: Path, name: str) -> Path:
    folder = work / name
    folder.mkdir(exist_ok=True)
    return folder


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {key: finite(value) for key, value in asdict(comparison).items()}


def finite(value: Any) -> Any:
    """As JSON has it: what could not be measured (one class only, say) is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _histogram(real: np.ndarray, tallies: dict[str, Tally]) -> dict[str, list[float]]:
    """Shares of real anchors and of samples by the victim's loss."""
    made = np.concatenate([t.hardness for t in tallies.values()])
    edges = np.linspace(0, float(np.quantile(np.concatenate([real, made]), 0.99)) or 1.0, 25)
    counts = {name: np.histogram(v, edges)[0] / max(1, len(v)) for name, v in (("real", real), ("mix", made))}
    return {"edges": edges.tolist(), **{name: share.tolist() for name, share in counts.items()}}
