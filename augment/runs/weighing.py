"""How many samples, and how much each counts, where a recipe leaves it open: what pays on validation rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from augment.base.progress import say
from augment.contracts.consumer import Consumer
from augment.contracts.sample import weighed
from augment.contracts.values import Arena
from augment.judging.arms import for_seeds
from augment.judging.verdict import compare
from augment.numeric.measures import Measure
from augment.recipes.schema import VerdictSettings
from augment.runs.attribution import trained_on
from augment.runs.steps import Steps
from augment.runs.task import Job


def chosen(job: Job, steps: Steps, arena: Arena, real: Sequence[Consumer], samples: pa.Table) -> pa.Table:
    """The samples, as many of them and with the weight whose mix gains most on validation rows and attacks on them.

    Tried are all pairs of the recipe's `sizes` and `weights`. A metric's gain counts in half widths of its own
    interval, by the choice of rows and of seeds: so that of what is measured well counts most, and metrics of different
    scales can be added. A pair by which a clean metric is worse beyond its interval is passed over while there is
    another.
    """
    settings, found = job.task.verdict, {}
    before = [_measured(model, arena, settings) for model in real]
    for size, weight in itertools.product(job.task.sizes or [1.0], job.task.weights or [job.task.weight]):
        mix = weighed(part_of(samples, size), weight)
        say(f"{job.name}: training on the mix, {len(mix):,} samples at weight {weight:g}")
        models = for_seeds(job.make_on_mix, job.seeds, trained_on(job, steps, arena, mix), job.engine.map)
        after = [_measured(model, arena, settings) for model in models]
        found[size, weight] = _gains(before, after, settings, job.recipe.seed)
    sound = [pair for pair, (_, worse) in found.items() if not worse] or list(found)
    best = max(sound, key=lambda pair: found[pair][0])
    gains = ", ".join(f"{size:g} at {weight:g}: {gain:+.2f}" for (size, weight), (gain, _) in found.items())
    said = f"{best[0]:g} of the samples at weight {best[1]:g}"
    say(f"{job.name}: {said} (gains on validation rows, in half widths of their intervals: {gains})")
    return weighed(part_of(samples, best[0]), best[1])


def part_of(samples: pa.Table, size: float) -> pa.Table:
    """The first share `size` of each strategy's samples, at least one; rows of items and of users stay whole."""
    names = samples["strategy"].combine_chunks().dictionary_encode()
    codes, whole = names.indices.to_numpy(), samples["neighbour_weights"].is_valid().to_numpy()
    kept = whole.copy()
    for code in range(len(names.dictionary)):
        own = np.flatnonzero((codes == code) & ~whole)
        kept[own[: math.ceil(size * len(own))]] = True
    return samples.filter(pa.array(kept))


def _measured(model: Consumer, arena: Arena, settings: VerdictSettings) -> dict[str, Measure]:
    """The clean metrics that the recipe names, and all robust ones that validation rows answer."""
    wanted = {*settings.clean, *settings.improve, *model.metrics["robust"]}
    measures = model.evaluate(arena.valid, arena.attacked_valid)
    return {name: measure for name, measure in measures.items() if name in wanted}


def _gains(before: list[Any], after: list[Any], settings: VerdictSettings, seed: int) -> tuple[float, bool]:
    """Mean gain of clean and of robust metrics together, and whether a clean one is worse beyond its interval."""
    compared = compare(before, after, before, "", draws=settings.draws, confidence=settings.confidence, seed=seed)
    gains = {name: c.gain() / max(1e-9, (c.high - c.low) / 2) for name, c in compared.items() if c.measured}
    clean = [gain for name, gain in gains.items() if name in settings.clean]
    robust = [gain for name, gain in gains.items() if name not in settings.clean]
    total = sum(float(np.mean(group)) for group in (clean, robust) if group)
    return total, any(gain < -1 for gain in clean)
