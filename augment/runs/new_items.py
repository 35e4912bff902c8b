"""Rows for the catalogue's new items, staged beside the samples."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from augment.base.errors import Refused
from augment.base.progress import say
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Histories, Modality
from augment.contracts.tally import Tally
from augment.generation.new_items import made
from augment.numeric.new_items import NEW_ITEMS
from augment.publishing.stage import Stage
from augment.runs.rows import Material
from augment.runs.steps import Steps
from augment.runs.task import Job


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

    def make(tally: Tally) -> Iterator[pa.Table]:
        for table in made(job.name, job.digest, job.day, job.task.weight, job.task.new_items, catalogue, modality,
                          victim, material.arena, job.recipe.seed):  # fmt: skip
            tally.wanted = tally.proposed = tally.kept = tally.kept + len(table)
            tally.novelty += table["novelty"].to_pylist()
            yield table

    try:
        tables, tally = steps.samples(NEW_ITEMS, make)
    except Refused as error:
        warnings.append(str(error))
        return {NEW_ITEMS: Tally(why=str(error))}
    for table in tables:
        stage.write(table)
    return {NEW_ITEMS: tally}
