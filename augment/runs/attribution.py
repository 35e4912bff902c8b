"""Which strategy did it: what the verdict's metrics lose when the samples of one strategy are left out.

For each strategy the consumer is trained again on the mix without its samples, by the verdict's seeds and with the same
tuning, and compared with the one trained on the whole mix, on the same test rows and attacks, paired. Nothing takes the
place of what is left out: the smaller mix is what the version would be without the strategy.

It comes after the verdict and never changes it: test rows are read once by each model, and nothing is chosen by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from augment.base.files import digest
from augment.base.progress import say, track
from augment.contracts.consumer import Consumer
from augment.contracts.result import Attributed, Effect, LeftOut
from augment.contracts.values import Arena
from augment.judging.arms import differing, for_seeds, on_test
from augment.judging.verdict import Comparison, Measures, compare, holm
from augment.publishing import spaces
from augment.publishing.manifest import Version
from augment.recipes.schema import VerdictSettings
from augment.runs.apart import reason_of
from augment.runs.rows import read
from augment.runs.steps import Steps, steps_of
from augment.runs.task import Job


def trained_on(job: Job, steps: Steps, arena: Arena, samples: pa.Table) -> Callable[[int], Consumer]:
    """By seed, the consumer trained on real rows and these samples; kept, so that a killed run goes on after it.

    It is kept under what the samples are: a night that goes on may find others of earlier nights beside its own.
    """
    name = digest([samples[column].to_pylist() for column in ("sample_id", "label", "weight")])
    return lambda seed: steps.model(
        f"mix-{name}-{seed}", job.consumer, job.device,
        lambda: job.make_on_mix(seed).fit(arena.train, arena.valid, samples),
    )  # fmt: skip


def attribute(
    job: Job, steps: Steps, arena: Arena, samples: pa.Table, mix: Sequence[Measures]
) -> dict[str, Attributed]:
    """Strategy → its share of the samples, and what they bring.

    samples: the whole mix. mix: evaluations on the test rows of the models trained on it, one for each seed.
    """
    found = _shares(samples)
    if len(found) == 1:
        say(f"{job.name}: every sample is of {', '.join(found)}: the verdict says what it brings")
        return found
    seeds = differing(job.make_on_mix, job.seeds)
    say(
        f"{job.name}: which strategy did it: training without the samples of {', '.join(found)} in turn, "
        f"{len(found)} × {len(seeds)} seed{'s' * (len(seeds) > 1)} = {len(found) * len(seeds)} models"
    )
    arms = [(name, seed) for name in found for seed in seeds]

    def fitted(arm: tuple[str, int]) -> Consumer:
        others = samples.filter(pc.not_equal(samples["strategy"], arm[0]))
        return trained_on(job, steps, arena, others)(arm[1])

    without: dict[str, list[Measures]] = {name: [] for name in found}
    models = track(job.engine.map(fitted, arms), "attributing", "model", len(arms))
    for (name, _), model in zip(arms, models, strict=True):
        without[name] += on_test([model], arena)
    for name, measures in without.items():
        without[name] = measures * (len(job.seeds) // len(seeds))
    for name, metrics in _compared(job, mix, without).items():
        found[name]["metrics"] = metrics
    return found


def attribute_if_it_can(
    job: Job, steps: Steps, arena: Arena, samples: pa.Table, mix: Sequence[Measures], warnings: list[str]
) -> dict[str, Attributed] | None:
    """`attribute`; a training that fails is a warning, and costs no version whose verdict is known."""
    try:
        return attribute(job, steps, arena, samples, mix)
    except Exception as error:
        warnings.append(f"which strategy did it is not known: {reason_of(error)}")
        say(f"{job.name}: warning: {warnings[-1]}")
        return None


def attribute_again(job: Job, version: Version) -> dict[str, Attributed]:
    """Of a version, or rejected run, of this job that is there already: the models of its mix are trained again."""
    with steps_of(job) as steps:
        ngrams = steps.ngrams or spaces.load_local(job.dataset.root, version.manifest.encoders)
        material = read(job, steps.scratch("splits"), ngrams)
        steps.keep_ngrams(material.ngrams)
        arena, samples = material.arena, job.dataset.samples_of(version)
        say(f"{job.name}: training on the mix, with {len(samples):,} samples")
        mix = for_seeds(job.make_on_mix, job.seeds, trained_on(job, steps, arena, samples), job.engine.map)
        return attribute(job, steps, arena, samples, on_test(mix, arena))


def _shares(samples: pa.Table) -> dict[str, Attributed]:
    """Of each strategy that has samples, by name; nothing compared yet."""
    table = samples.group_by("strategy").aggregate([("weight", "count"), ("weight", "sum")]).sort_by("strategy")
    weight = pc.sum(samples["weight"]).as_py()
    return {
        row["strategy"]: {
            "samples": row["weight_count"],
            "share": round(row["weight_count"] / len(samples), 4),
            "weight_share": round(row["weight_sum"] / weight, 4),
            "metrics": {},
        }
        for row in table.to_pylist()
    }


def _compared(
    job: Job, mix: Sequence[Measures], without: Mapping[str, Sequence[Measures]]
) -> dict[str, dict[str, LeftOut]]:
    """What each strategy brings to the metrics that the recipe names, where test rows answer.

    Many are asked at once, and some would differ by chance: Holm's procedure (1979) says which do.
    """
    settings = job.task.verdict
    asked: dict[tuple[str, str], Comparison] = {}
    for name, measures in without.items():
        arms = [[_named(settings, one) for one in arm] for arm in (measures, mix)]
        found = compare(
            arms[0], arms[1], arms[1], "", draws=settings.draws, confidence=settings.confidence, seed=job.recipe.seed
        )
        asked |= {(name, metric): c for metric, c in found.items() if c.measured}
    clear = holm({key: c.p for key, c in asked.items()}, 1 - settings.confidence)
    out: dict[str, dict[str, LeftOut]] = {name: {} for name in without}
    for (name, metric), c in asked.items():
        out[name][metric] = {
            "mix": c.mix, "without": c.real, "diff": c.diff, "low": c.low, "high": c.high, "p": c.p,
            "better_is": c.better_is, "effect": _effect(c, (name, metric) in clear),
        }  # fmt: skip
    return out


def _effect(c: Comparison, clear: bool) -> Effect:
    if not (clear or c.low > 0 or c.high < 0):
        return "no difference beyond chance"
    if c.gain() > 0:
        return "helps" if clear else "may help"
    return "hurts" if clear else "may hurt"


def _named(settings: VerdictSettings, measures: Measures) -> Measures:
    return {name: measures[name] for name in (*settings.clean, *settings.improve) if name in measures}
