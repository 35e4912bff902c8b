"""Samples proposed, judged and staged, in rounds: each further one spars with a victim trained on the mix so far."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from augment.base.errors import Refused
from augment.base.progress import bar, say
from augment.contracts.consumer import Consumer
from augment.contracts.tally import Tally
from augment.contracts.values import Arena, Labeller
from augment.generation.studio import Studio
from augment.judging.arms import robustness
from augment.publishing.stage import Stage
from augment.runs.new_items import new_items
from augment.runs.new_users import new_users
from augment.runs.rows import Material
from augment.runs.steps import Steps
from augment.runs.task import Job

ALONE = (
    "samples whose vectors were moved are vectors alone, as `generator.decode` asks: their `decoded` is null, and who "
    "reads contents passes over them"
)


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
    taken: Collection[str] = (), stream: int = 0, teacher: Labeller | None = None,
) -> Generated:  # fmt: skip
    """Propose, judge and stage samples, in rounds: each further one spars with a victim trained on the mix so far.

    real: trained on the real rows by the first seed; the first victim, where no other is given. teacher: labels the
    samples of every round. A round that leaves the robust metrics on validation rows no better is the last one, and its
    samples go; those of the first stay, for the verdict. A strategy of which too few proposals pass the gates is left
    out, with a warning. Sees training and validation rows only. Raises Refused when every strategy is.
    """
    task, arena, rounds = job.task, material.arena, job.task.generator.rounds
    encoders: list[str] = []
    warnings: list[str] = []
    studio = Studio(job.order, material.real, victim or real, _subfolder(steps.folder, "round0"), taken, teacher)
    hardness = studio.real_hardness()
    tallies = {name: Tally() for name in task.strategies}
    tallies |= new_items(job, material, studio.modality, victim or real, stage, steps, warnings)
    tallies |= new_users(job, material, studio.modality, stage, steps, warnings)
    gained, best = True, 0.0
    if rounds > 1:
        # What the mix's options bring alone (adversarial training, say) is no gain of the samples.
        best = _trained(job, arena, None)[1] if task.mix_options else robustness(real, arena, task.verdict)
    for number in range(rounds):
        if number:
            taken, work = {*taken, *stage.read()["sample_id"].to_pylist()}, _subfolder(steps.folder, f"round{number}")
            studio = Studio(job.order, material.real, victim or real, work, taken, teacher)
        staged = len(stage.files)
        made = _one_round(job, studio, stage, steps, number, stream)
        said = [f"'{name}' is left out: {tally.fate(task.gates)}" for name, tally in made.items() if not tally.kept]
        if not number and said and len(said) == len(made):
            raise Refused(f"{job.name}: {'; '.join(said)}")
        if rounds > 1:
            say(f"{job.name}: round {number + 1} of at most {rounds}: training on the mix so far")
            victim, found = _trained(job, arena, stage.read())
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
    warnings += _short(tallies) if task.generator.decode else [*_short(tallies), ALONE]
    for line in warnings:
        say(f"{job.name}: warning: {line}")
    return Generated(encoders, studio.modality.dim, tallies, len(studio.anchors), hardness, len(encoders), warnings)


def _trained(job: Job, arena: Arena, mix: pa.Table | None) -> tuple[Consumer, float]:
    """The consumer trained on the mix so far, and how robust it is on validation rows."""
    model = job.make_on_mix(job.seeds[0]).fit(arena.train, arena.valid, mix)
    return model, robustness(model, arena, job.task.verdict)


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
