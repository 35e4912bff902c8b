"""Rows for the catalogue's new items, staged beside the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import Refused
from augment.base.progress import say
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Histories, Modality
from augment.contracts.tally import Tally
from augment.contracts.values import Arena
from augment.generation.new_items import made
from augment.generation.weighted import Stamp
from augment.numeric.measures import Measure
from augment.numeric.new_items import NEW_ITEMS
from augment.publishing.stage import Stage
from augment.runs.rows import Material
from augment.runs.steps import Steps
from augment.runs.task import Job

FLOOD = 2.0  # times what is asked for that new items may be shown, and as many times less


def exposure_alarms(metrics: Mapping[str, Measure], arena: Arena) -> list[str]:
    """Signs that a consumer shows new items far more, or less, often than test rows ask for them, in words."""
    shown = metrics["exposure_new@20"].value() if "exposure_new@20" in metrics else np.nan
    fresh = pc.invert(pc.is_in(arena.test["item_id"], pc.unique(arena.train["item_id"])))
    asked = pc.mean(fresh.cast(pa.float64())).as_py()
    said = f"new items have {shown:.0%} of all recommended places, and {asked:.0%} of test rows ask for them"
    if shown > FLOOD * asked:
        return [f"a flood: {said}; new_items.exposure sets another share"]
    if shown < asked / FLOOD:
        return [f"silence: {said}; new_items.exposure sets another share"]
    return []


def new_items(
    job: Job, material: Material, modality: Modality, victim: Consumer, stage: Stage, steps: Steps, warnings: list[str]
) -> dict[str, Tally]:
    """Stage a row for each item of the catalogue that has no training row; what was made, by the strategy's name.

    Nothing where the task has no catalogue. Where none can be made, a warning says why.
    """
    catalogue = material.catalogue
    if catalogue is None or not isinstance(modality, Histories):
        return {}
    say(f"{job.name}: new items, {len(catalogue):,} in the catalogue")

    stamp = Stamp(job.name, job.digest, job.day, job.task.weight)

    def make(tally: Tally) -> Iterator[pa.Table]:
        return made(stamp, job.task.new_items, catalogue, modality, victim, material.arena, job.recipe.seed, tally)

    return staged(NEW_ITEMS, make, stage, steps, warnings)


def staged(
    strategy: str, make: Callable[[Tally], Iterator[pa.Table]], stage: Stage, steps: Steps, warnings: list[str]
) -> dict[str, Tally]:
    """Stage rows of weighted neighbours; where they are refused, a warning says why."""
    try:
        tables, tally = steps.samples(strategy, make)
    except Refused as error:
        warnings.append(str(error))
        return {strategy: Tally(why=str(error))}
    for table in tables:
        stage.write(table)
    return {strategy: tally}
