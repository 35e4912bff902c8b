"""Rows for users of few interactions, staged beside the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from augment.base.progress import say
from augment.contracts.modality import Histories, Modality
from augment.contracts.tally import Tally
from augment.generation.new_users import made
from augment.generation.unmet_users import unmet
from augment.generation.weighted import Stamp
from augment.numeric.new_users import NEW_USERS, UNMET_USERS
from augment.publishing.stage import Stage
from augment.runs.new_items import staged
from augment.runs.rows import Material
from augment.runs.steps import Steps
from augment.runs.task import Job


def new_users(
    job: Job, material: Material, modality: Modality, stage: Stage, steps: Steps, warnings: list[str]
) -> dict[str, Tally]:
    """Stage a row for each user of few training rows, or of none but attributes; what was made, by strategy.

    Nothing where the task does not ask for them. Where none can be made, a warning says why.
    """
    wanted = job.task.new_users
    if wanted is None or not isinstance(modality, Histories):
        return {}
    say(f"{job.name}: new users")
    stamp = Stamp(job.name, job.digest, job.day, job.task.weight)
    train, seed = material.arena.train, job.recipe.seed
    found = staged(NEW_USERS, counted(made(stamp, wanted, modality, train, seed)), stage, steps, warnings)
    if material.people is not None:
        tables = unmet(stamp, wanted, modality, train, material.people, seed)
        found |= staged(UNMET_USERS, counted(tables), stage, steps, warnings)
    return found


def counted(tables: Iterator[pa.Table]) -> Callable[[Tally], Iterator[pa.Table]]:
    """The tables, whose rows are counted in a tally as they pass."""

    def make(tally: Tally) -> Iterator[pa.Table]:
        for table in tables:
            tally.wanted = tally.proposed = tally.kept = tally.kept + len(table)
            tally.novelty += table["novelty"].to_pylist()
            yield table

    return make
