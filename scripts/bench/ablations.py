"""What each part of the generator is worth: review sentiment with 300 labels, one part left out at a time.

    python scripts/bench/ablations.py --data FOLDER --set clothing --out ablations-clothing.json

Every arm has the same settings (those of the shipped portfolio), chosen on no row of this benchmark, and takes part
without self-training's unperturbed rows, so that the samples alone make the difference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import arms
import pyarrow as pa
import sentiment
import torch

from augment.base.progress import say
from augment.generation.maker import Tally
from augment.generation.studio import Studio
from augment.numeric.measures import Measure
from augment.runs.rows import Material
from augment.runs.task import Job
from augment.search.pools import weighed
from augment.search.space import Choice
from consumers import Sentiment

LABELS = 300
CHOICE = Choice({"gan": 1.0}, size=0.5, weight=0.5, band=(-4.0, 4.0), agreement=0.7, options={"C": 1.0})
ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # generator settings, gates
    "whole": ({}, {}),
    "without the bank": ({"grounded": False}, {}),
    "without the critic": ({"critic_weight": 0.0}, {}),
    "without the band": ({"victim_weight": 0.0}, {"band": (-30.0, 30.0)}),
    "without label agreement": ({}, {"min_label_agreement": 0.0}),
    "hardest of 16 instead of any": ({"draws": 16}, {"keep": "hardest"}),
}


def main() -> None:
    parser = sentiment.arguments(__doc__)
    parser.set_defaults(seeds=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as work:
        job, material = sentiment.open_set(options, Path(work))
        measured: dict[str, list[dict[str, Measure]]] = {}
        for seed in range(options.seeds):
            arena, unlabelled = sentiment.with_labels(material.arena, LABELS, seed)
            few = replace(material, arena=arena, unlabelled=unlabelled)
            victim = Sentiment().fit(arena.train, arena.valid)
            plain = Sentiment(C=1.0).fit(arena.train, arena.valid)
            measured.setdefault("no samples (C = 1)", []).append(plain.evaluate(arena.test, material.arena.attacked))
            for number, (name, (generator, gates)) in enumerate(ARMS.items()):
                folder = Path(work) / f"{seed}-{number}"
                folder.mkdir()
                mix = _mix(_changed(job, seed, generator, gates), few, victim, folder)
                model = Sentiment(C=1.0).fit(arena.train, arena.valid, mix)
                measured.setdefault(name, []).append(model.evaluate(arena.test, material.arena.attacked))
            say(f"seed {seed}: " + "; ".join(f"{n} {m[-1]['auc_pool'].value():.4f}" for n, m in measured.items()))
    results = sentiment.compared(measured, {}, reference="whole")
    title = f"Ablations, sentiment, {options.name}, {LABELS} labels, {options.seeds} seeds; differences to the whole"
    arms.finish(results, sentiment.METRICS, options, title)


def _changed(job: Job, seed: int, generator: Mapping[str, Any], gates: Mapping[str, Any]) -> Job:
    task = job.task.model_copy(
        update={
            "strategies": {"gan": 1.0},
            "generator": job.task.generator.model_copy(update=dict(generator)),
            "gates": job.task.gates.model_copy(
                update={"band": CHOICE.band, "min_label_agreement": CHOICE.agreement, **gates}
            ),
        }
    )
    recipe = job.recipe.model_copy(update={"seed": seed, "tasks": {job.name: task}})
    return Job(recipe, job.name, job.device)


def _mix(job: Job, material: Material, victim: Sentiment, folder: Path) -> Any:
    tables = list(Studio(job.order, material.real, victim, folder).samples("gan", job.task.samples // 2, Tally(), 0))
    return weighed(pa.concat_tables(tables), CHOICE.weight)


if __name__ == "__main__":
    main()
