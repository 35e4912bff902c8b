"""What a search may choose, and the trials that choose it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from augment.base.errors import UsageError
from augment.contracts.consumer import Consumer
from augment.contracts.strategy import options_of
from augment.recipes.schema import Recipe, Task

SHARES = (0.0, 0.25, 0.5, 1.0)

STRENGTHS = (0.5, 1.0, 1.5)

SIZES = (0.25, 0.5, 1.0)  # of the recipe's `samples`

WEIGHTS = (0.1, 0.25, 0.5, 1.0)

BANDS = ((-0.5, 1.5), (-2.0, 2.5), (-4.0, 4.0), (-6.0, 0.5), (-6.0, 6.0))

AGREEMENTS = (0.5, 0.7, 0.85)

FILTERS = (0.0, 0.02, 0.05, 0.1)  # share of a user's likeliest items that are no negatives

OBJECTIVES = ("clean", "robust", "slices")


@dataclass(frozen=True)
class Choice:
    """One trial's portfolio; without shares, no mix at all."""

    shares: dict[str, float] = field(default_factory=dict)
    strengths: dict[str, float] = field(default_factory=dict)
    size: float = 1.0
    weight: float = 1.0
    band: tuple[float, float] = (-6.0, 6.0)
    agreement: float = 0.5
    filter: float = 0.05
    options: dict[str, Any] = field(default_factory=dict)  # of the consumer


@dataclass(frozen=True)
class Trial:
    number: int
    choice: Choice
    values: dict[str, float]  # objective → mean over seeds on validation rows, higher is better
    made: dict[str, int] = field(default_factory=dict)  # strategy → samples that it trained on


def widened(recipe: Recipe, name: str) -> Recipe:
    """The recipe with gates that let through all that a trial may choose from."""
    if name not in recipe.tasks:
        raise UsageError(f"recipe '{recipe.name}' has no task '{name}'; it has {', '.join(recipe.tasks)}")
    task = recipe.tasks[name]
    # The generator keeps the recipe's own aim: what it makes for a trial is what it makes for the winner.
    generator = task.generator.model_copy(update={"band": aim_of(task)})
    wide = {"band": BANDS[-1], "min_label_agreement": AGREEMENTS[0], "false_negative_share": 0.0}
    gates = task.gates.model_copy(update=wide)
    return recipe.model_copy(update={"tasks": {name: task.model_copy(update={"gates": gates, "generator": generator})}})


def aim_of(task: Task) -> tuple[float, float]:
    return task.generator.band or task.gates.band


def choice_of(text: str) -> Choice:
    kept = json.loads(text)
    return Choice(**{**kept, "band": tuple(kept["band"])})


def drawn_options(trial: Any, space: Mapping[str, tuple]) -> dict[str, Any]:
    return {name: trial.suggest_categorical(f"option.{name}", list(values)) for name, values in space.items()}


def drawn_portfolio(
    trial: Any, task: Task, strong: set[str], space: Mapping[str, tuple], filtered: bool
) -> Choice:  # fmt: skip
    return Choice(
        shares={n: trial.suggest_categorical(f"share.{n}", SHARES) for n in task.strategies},
        strengths={n: trial.suggest_categorical(f"strength.{n}", STRENGTHS) for n in task.strategies if n in strong},
        size=trial.suggest_categorical("size", SIZES),
        weight=trial.suggest_categorical("weight", WEIGHTS),
        band=BANDS[trial.suggest_categorical("band", list(range(len(BANDS))))],
        agreement=trial.suggest_categorical("agreement", AGREEMENTS),
        filter=trial.suggest_categorical("filter", FILTERS) if filtered else 0.0,
        options={**task.mix_options, **drawn_options(trial, space)},
    )


def given_settings(task: Task, strong: set[str], space: Mapping[str, tuple], consumer: Consumer) -> dict[str, Any]:
    """The recipe's own portfolio, or the nearest that can be suggested: the first trial."""

    def near(values: tuple[float, ...], own: float) -> float:
        return min(values, key=lambda value: abs(value - own))

    most = max(task.strategies.values())
    first: dict[str, Any] = {f"share.{n}": near(SHARES[1:], share / most) for n, share in task.strategies.items()}
    for name in strong & set(task.strategies):
        own = {**options_of(name), **task.strategy_options.get(name, {})}["strength"]
        first[f"strength.{name}"] = near(STRENGTHS, own or 1.0)  # 0: each sample draws one, around 1
    apart = [abs(low - task.gates.band[0]) + abs(high - task.gates.band[1]) for low, high in BANDS]
    options = {name: getattr(consumer, name, None) for name in space}
    return {
        **first,
        "size": 1.0,
        "weight": near(WEIGHTS, task.weight),
        "band": int(np.argmin(apart)),
        "agreement": near(AGREEMENTS, task.gates.min_label_agreement),
        "filter": near(FILTERS, task.gates.false_negative_share),
        **{f"option.{name}": own for name, own in options.items() if own in space[name]},
    }
