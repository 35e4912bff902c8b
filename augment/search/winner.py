"""The best trial, as a recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augment.base.files import write_whole
from augment.recipes.schema import Recipe
from augment.search.space import OBJECTIVES, Trial, aim_of


@dataclass
class Found:
    """What a search of one task found, on validation rows."""

    task: str
    plain: list[Trial]
    portfolio: list[Trial]
    best_plain: Trial
    best: Trial | None  # None: no portfolio was as good on clean data as the plain consumer
    warnings: list[str] = field(default_factory=list)

    def evidence(self) -> dict[str, Any]:
        return asdict(self) | {"objectives": OBJECTIVES}


def best_of(trials: list[Trial], plain: list[Trial], tolerance: float, clean: float) -> Trial | None:
    """The trial that gains most in robustness and slices, of those within half the verdict's tolerance of `clean`.

    Their scales differ, so gains count in spreads (standard deviations) of the plain trials. The largest sum lies on
    the Pareto front, and is the same trial whatever gains are counted from.
    """
    spreads = {name: float(np.std([t.values[name] for t in plain])) for name in ("robust", "slices")}
    units = {name: spread if spread > 1e-6 else 1.0 for name, spread in spreads.items()}
    able = [t for t in trials if t.values["clean"] >= clean - tolerance / 2]
    return max(able, key=lambda t: sum(t.values[name] / unit for name, unit in units.items()), default=None)


def winning_recipe(recipe: Recipe, found: list[Found]) -> Recipe:
    """The recipe with what the search found; a task for which nothing was found stays as it is."""
    tasks = dict(recipe.tasks)
    for result in found:
        if result.best is None or not result.best.made:
            continue
        task, best, made = tasks[result.task], result.best.choice, result.best.made
        samples = sum(made.values())
        strategy_options = {n: dict(v) for n, v in task.strategy_options.items() if n in made}
        for name, strength in best.strengths.items():
            if name in made:
                strategy_options.setdefault(name, {})["strength"] = strength
        gates = {"band": best.band, "min_label_agreement": best.agreement, "false_negative_share": best.filter}
        # What the trial trained on: samples of one round, by a generator that aims where the recipe's own did.
        generator = {"band": aim_of(task), "rounds": 1}
        options = task.options | result.best_plain.choice.options
        tasks[result.task] = task.model_copy(
            update={
                "strategies": {name: count / samples for name, count in made.items()},
                "strategy_options": strategy_options,
                "samples": samples,
                "weight": best.weight,
                "gates": task.gates.model_copy(update=gates),
                "generator": task.generator.model_copy(update=generator),
                "options": options,
                "mix_options": {k: v for k, v in best.options.items() if k not in options or options[k] != v},
            }
        )
    return recipe.model_copy(update={"tasks": tasks})


def write(recipe: Recipe, found: list[Found], path: Path) -> Path:
    """The winning recipe at `path`, and the evidence beside it, whose path is returned."""
    import tomli_w

    evidence = path.with_suffix(".evidence.json")
    content = winning_recipe(recipe, found).model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    said = "# Found by `sparring search` on validation rows; every trial is in " + evidence.name + "\n"
    write_whole(evidence, json.dumps([result.evidence() for result in found], indent=1).encode())
    write_whole(path, (said + tomli_w.dumps(content)).encode())
    return evidence
