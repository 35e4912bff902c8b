"""One version, from real rows to its verdict: train, generate, train on the mix, compare."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from augment.base.progress import say
from augment.contracts.consumer import Consumer
from augment.contracts.result import Attributed, Example
from augment.judging.arms import for_seeds, judge, strongest_baseline
from augment.judging.verdict import Verdict
from augment.publishing.stage import Stage
from augment.runs.attribution import attribute_if_it_can, trained_on
from augment.runs.new_items import exposure_alarms
from augment.runs.rounds import Generated, generate
from augment.runs.rows import Material
from augment.runs.steps import Steps
from augment.runs.task import Job
from augment.runs.teaching import Lesson, lesson
from augment.runs.weighing import chosen


@dataclass(frozen=True)
class Outcome:
    """All that is known of a version before it is published or rejected."""

    material: Material
    real: Consumer  # trained on real rows, by the first seed
    lesson: Lesson
    generated: Generated
    verdict: Verdict
    alarms: list[str]
    examples: list[Example]
    rows: int  # samples of this run
    attribution: dict[str, Attributed] | None = None  # where it was asked for
    undecoded: int = 0  # samples of the version that are vectors alone


def make_version(
    job: Job,
    steps: Steps,
    stage: Stage,
    material: Material,
    *,
    victim: Consumer | None = None,
    kept: pa.Table | None = None,
    stream: int = 0,
    attribute: bool = False,
) -> Outcome:
    """Train on real rows, generate, train on the mix, compare; then, if asked, say which strategy did it.

    victim: fitted on an earlier night; else it is the first model that is trained on the real rows. kept: samples of
    earlier nights that stay in the version. stream: sets a night's chance apart from other nights'.
    """
    arena = material.arena
    say(f"{job.name}: training {job.task.consumer} on {len(arena.train):,} real rows")

    def fit(seed: int) -> Consumer:
        return steps.model(f"real-{seed}", job.consumer, job.device,
                           lambda: job.make(seed).fit(arena.train, arena.valid))  # fmt: skip

    real = for_seeds(job.make, job.seeds, fit, job.engine.map)
    taken = set() if kept is None else set(kept["sample_id"].to_pylist())
    taught = lesson(job, material, real, steps)
    generated = generate(
        job, material, real[0], stage, steps, victim=victim, taken=taken, stream=stream, teacher=taught.teacher
    )
    samples = stage.read()
    if job.task.weights or job.task.sizes:
        samples = stage.replace(chosen(job, steps, arena, real, samples))
    mixed = samples if kept is None else pa.concat_tables([samples, kept])
    say(f"{job.name}: training on the mix, with {len(mixed):,} samples")
    mix = for_seeds(job.make_on_mix, job.seeds, trained_on(job, steps, arena, mixed), job.engine.map)
    baseline = strongest_baseline(job.consumer, job.seeds, arena, job.device, job.engine.map, real, taught.plain)
    say(f"{job.name}: evaluating on {len(arena.test):,} test rows")
    verdict = judge(real, mix, baseline, arena, job.task.verdict, job.recipe.seed)
    raised = job.modality.alarms(samples, arena.train, arena.valid)
    raised += exposure_alarms(verdict.mix[0], arena) if material.catalogue else []
    found = attribute_if_it_can(job, steps, arena, mixed, verdict.mix, generated.warnings) if attribute else None
    shown = job.modality.examples(samples, filter(None, (arena.train, material.unlabelled)))
    undecoded = mixed["decoded"].null_count
    return Outcome(material, real[0], taught, generated, verdict, raised, shown, len(samples), found, undecoded)
