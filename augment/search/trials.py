"""Trials of one study: each picks settings, trains the consumer and is scored on validation rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment.base.errors import BadInput, UsageError
from augment.base.progress import bar
from augment.contracts.consumer import Consumer
from augment.contracts.values import Arena
from augment.runs.task import Job
from augment.search.space import OBJECTIVES, Choice, Trial, choice_of

TRIED = "tried"  # of a trial that was not stopped; optuna holds a stopped one for failed, as one without a figure is


class Fit:
    """Train on a mix and measure on validation rows, for a few seeds."""

    def __init__(self, job: Job, arena: Arena, seeds: int) -> None:
        self._job, self._arena = job, arena
        self._seeds = [job.recipe.seed + i for i in range(seeds)]

    def __call__(self, choice: Choice, mix: pa.Table | None, least_clean: float = -np.inf) -> dict[str, float] | None:
        """Objective → mean; None when the first seed's clean metric is below `least_clean`."""

        def measured(seed: int) -> dict[str, float]:
            model = self._job.make_with(choice.options, seed).fit(self._arena.train, self._arena.valid, mix)
            return self._measure(model)

        found: list[dict[str, float]] = []
        for values in self._job.engine.map(measured, self._seeds):
            found.append(values)
            if found[0]["clean"] < least_clean:
                return None
        return {name: float(np.mean([values[name] for values in found])) for name in OBJECTIVES}

    def _measure(self, model: Consumer) -> dict[str, float]:
        measures = model.evaluate(self._arena.valid, self._arena.attacked_valid)
        signed = {m: v.value() * (1 if v.better_is == "higher" else -1) for m, v in measures.items()}
        groups = model.metrics
        finite = {
            group: [signed[m] for m in groups[group] if m in signed and np.isfinite(signed[m])]
            for group in ("robust", "slices")
        }
        # Rows without segments have no slices: what cannot be measured makes no difference between trials.
        means = {group: float(np.mean(values)) if values else 0.0 for group, values in finite.items()}
        return {"clean": signed[groups["clean"][0]], **means}


def study(
    store: Path, name: str, trials: int, minutes: float | None, seed: int,
    suggest: Callable[[Any], Choice], fit: Callable[[Choice], dict[str, float] | None], first: Mapping[str, Any],
) -> list[Trial]:  # fmt: skip
    """Run, or go on with, a study kept in the journal file `store`; its complete trials.

    None may be, if all were pruned: each was worse on clean data. Raises BadInput when nothing could be measured, or
    the journal is damaged.
    """
    optuna = optuna_installed()
    _mend(store)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(store)))
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["maximize"] * len(OBJECTIVES), load_if_exists=True
    )
    done = [t for t in study.trials if TRIED in t.user_attrs]
    # Another seed after a stop: the same one would draw the first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(done), n_startup_trials=max(5, trials // 4))
    waiting = any(t.state == optuna.trial.TrialState.WAITING for t in study.trials)
    if first and not done and not waiting:
        study.enqueue_trial(dict(first))
    with bar(max(0, trials - len(done)), f"search, {name}", "trial") as shown:

        def objective(trial: Any) -> tuple[float, ...]:
            choice = suggest(trial)
            trial.set_user_attr("choice", json.dumps(asdict(choice)))
            values = fit(choice)
            trial.set_user_attr(TRIED, True)
            shown.update()
            if values is None:
                raise optuna.TrialPruned
            return tuple(values[objective] for objective in OBJECTIVES)

        study.optimize(objective, n_trials=max(0, trials - len(done)), timeout=minutes and minutes * 60)
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    if not complete and not any(t.state == optuna.trial.TrialState.PRUNED for t in study.trials):
        raise BadInput(
            f"search, {name}: no trial could be measured; give it more minutes, or validation rows of several classes"
        )
    return [Trial(t.number, choice_of(t.user_attrs["choice"]), dict(zip(OBJECTIVES, t.values, strict=True)))
            for t in complete]  # fmt: skip


def _mend(store: Path) -> None:
    """Cut off the half line that a full disk or a kill left: what optuna adds to it would be lost, and all after it."""
    content = store.read_bytes() if store.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            json.loads(line)
        except ValueError:
            raise BadInput(f"{store}: line {number} is damaged; delete the file to search from the start") from None
    if whole != content:
        os.truncate(store, len(whole))


def optuna_installed() -> Any:
    try:
        import optuna
        import tomli_w  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the search needs {error.name}: pip install 'sparring[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
