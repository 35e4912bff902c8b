"""Who labels samples: the best teacher on rows that it never saw, if it beats the consumer by more than chance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
import pyarrow as pa

from augment.base.errors import SparringError
from augment.base.progress import say, track
from augment.contracts.consumer import Consumer
from augment.contracts.result import Taught
from augment.contracts.teacher import Room, Teacher, build
from augment.contracts.values import Arena
from augment.judging.verdict import Comparison, compare
from augment.numeric.measures import Measure
from augment.runs.rows import Material
from augment.runs.steps import TEACHER, Steps
from augment.runs.task import Job

OWN = "cross-fitted"  # the consumer itself, of rows that it never saw


@dataclass(frozen=True)
class Lesson:
    """teacher: None where samples keep their anchors' labels. plain: what teachers trained on all rows."""

    teacher: Teacher | None = None
    tried: dict[str, Taught] = field(default_factory=dict)
    why: str = ""
    plain: Sequence[Consumer] = ()


def lesson(job: Job, material: Material, real: Sequence[Consumer], steps: Steps) -> Lesson:
    """Make the task's teachers and choose one.

    A teacher that is cross-fitted is compared on training and validation rows with the consumer cross-fitted likewise,
    another on validation rows with `real`, the consumer's models of all seeds. It is taken if the consumer's first
    clean metric is better by more than the interval of that difference, and no other is worse by more than theirs; of
    several, the one that gains most. Test rows are not looked at.
    """
    if not job.task.teachers:
        return Lesson()
    plain: list[Consumer] = []
    room = room_of(job, material.arena, steps, plain)
    rival = cache(partial(_rival, room, real))
    tried: dict[str, Taught] = {}
    made: dict[str, Teacher] = {}
    for name in job.task.teachers:
        say(f"{job.name}: teacher '{name}'")
        try:
            teacher = build(name, job.task.teacher_options.get(name, {})).fit(room)
        except SparringError as error:
            tried[name] = Taught(0, {}, f"cannot be made: {error}", taken=False)
            continue
        made[name], tried[name] = teacher, _compared(job, teacher, *rival(teacher.unseen))
    better = [name for name in made if not tried[name].reason]
    primary = job.consumer.metrics["clean"][0]
    if not better:
        why = "samples keep their anchors' labels: no teacher beats the consumer"
        say(f"{job.name}: {why}")
        return Lesson(None, tried, why, plain)
    best = max(better, key=lambda name: abs(tried[name].metrics[primary]["diff"]))
    tried[best].taken = True
    found = tried[best].metrics[primary]
    why = f"'{best}' labels: {primary} {found['diff']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}] to the consumer"
    say(f"{job.name}: {why}, on {tried[best].rows:,} rows that neither saw")
    return Lesson(made[best], tried, why, plain)


def room_of(job: Job, arena: Arena, steps: Steps, plain: list[Consumer]) -> Room:
    """Where the task's teachers are made; each model that is trained there is kept as a step.

    Those of all training rows are added to `plain`.
    """

    def trained(models: Mapping[str, tuple[Consumer, pa.Table]]) -> list[Consumer]:
        def one(name: str) -> Consumer:
            model, rows = models[name]
            place = TEACHER + re.sub(r"[^\w.-]", "_", name)
            return steps.model(place, type(model), job.device, lambda: model.fit(rows, arena.valid))

        found = list(track(job.engine.map(one, models), "teachers", "model", len(models)))
        plain.extend(m for m, (_, rows) in zip(found, models.values(), strict=True) if rows is arena.train)
        return found

    return Room(arena.train, arena.valid, job.modality, job.consumer, job.make, trained,
                lambda seed: job.consumer.baselines(seed, job.device), job.recipe.seed, job.device)  # fmt: skip


def _rival(room: Room, real: Sequence[Consumer], unseen: bool) -> tuple[pa.Table, list[dict[str, Measure]]]:
    """The rows that a teacher is compared on, and what the consumer measures there; see `lesson`."""
    if not unseen:
        return room.valid, [model.evaluate(room.valid, {}) for model in real]
    shared = [name for name in room.train.column_names if name in room.valid.column_names]
    rows = pa.concat_tables([room.train.select(shared), room.valid.select(shared)])
    return rows, [build(OWN, {"deals": 1}).fit(room).measures(rows)]


def _compared(job: Job, teacher: Teacher, rows: pa.Table, ours: Sequence[Mapping[str, Measure]]) -> Taught:
    """With the reason why it is not to be taken, if there is one."""
    clean = job.consumer.metrics["clean"]
    theirs = {name: measure for name, measure in teacher.measures(rows).items() if name in clean}
    mine: list[Mapping[str, Measure]] = [{name: one[name] for name in theirs} for one in ours]
    settings = job.task.verdict
    found = compare(mine, [theirs] * len(mine), mine, "", draws=settings.draws, confidence=settings.confidence,
                    seed=job.recipe.seed)  # fmt: skip
    metrics = {name: {"consumer": c.real, "teacher": c.mix, "diff": c.diff, "low": c.low, "high": c.high}
               for name, c in found.items() if c.measured}  # fmt: skip
    return Taught(len(rows), metrics, _doubt(found, clean[0], job.task.verdict.clean), taken=False)


def _doubt(found: Mapping[str, Comparison], primary: str, clean: Sequence[str]) -> str:
    """Why a teacher is not to be believed, or ""."""
    first = found.get(primary)
    if first is None or not first.measured:
        return f"{primary} cannot be measured"
    if first.gain("worst") <= 0:
        return f"{primary} {first.diff:+.4f} is no more than chance" if first.gain() > 0 else f"{primary} is no better"
    worse = [name for name in clean if name in found and found[name].measured and _worse(found[name])]
    return f"{worse[0]} is worse" if worse else ""


def _worse(one: Comparison) -> bool:
    """Beyond its interval."""
    best = one.high if one.better_is == "higher" else -one.low
    return bool(np.isfinite(best) and best < 0)
