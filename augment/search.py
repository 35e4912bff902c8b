"""The portfolio search: which samples, how many and how hard, and which settings of the consumer, on validation rows.

The plain consumer comes first, with as many trials over its own settings. Samples are then made once per strategy and
strength, against the best plain consumer and behind gates as wide as the search may want. A trial picks from these
pools and trains the consumer, so its price is one training. Test rows are never read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment.errors import BadInput, Refused, UsageError
from augment.files import write_whole
from augment.job import Job, digest, read, resolve_device, work_folder
from augment.modalities import margins_to_losses
from augment.plugins import Consumer
from augment.progress import bar, say
from augment.recipe import Recipe, Task
from augment.strategies import options_of
from augment.studio import Studio
from augment.study import Arena, tolerance_of
from augment.tally import Tally

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


class Pools:
    """Gated samples of every strategy at every strength, as many as the largest share can want.

    warnings: those of which too few pass, which are left out. Raises Refused when that is every one.
    """

    def __init__(self, job: Job, studio: Studio, strengths: tuple[float, ...] = STRENGTHS) -> None:
        self._job, self._studio = job, studio
        self.warnings: list[str] = []
        self._tables: dict[tuple[str, float], pa.Table] = {}
        for name in job.task.strategies:
            has = "strength" in options_of(name)
            for strength in strengths if has else (1.0,):
                self._tables[name, strength] = self._make(name, strength, has)
        if not any(map(len, self._tables.values())):
            raise Refused(f"{job.name}: {'; '.join(self.warnings)}")

    @property
    def strong(self) -> set[str]:
        """Strategies that have a strength."""
        return {name for name, strength in self._tables if strength != 1.0}

    def _make(self, name: str, strength: float, has: bool) -> pa.Table:
        wanted, tally = self._job.task.samples, Tally()
        options = {"strength": strength} if has else {}
        with bar(wanted, f"{name} {strength:g}", "sample") as shown:
            tables = []
            for table in self._studio.samples(name, wanted, tally, len(self._tables), options):
                tables.append(table)
                shown.update(len(table))
        say(f"{self._job.name}: {name} at strength {strength:g}: {tally.kept:,} of {tally.proposed:,} pass")
        if tally.too_few(self._job.task.gates):
            at = f" at strength {strength:g}" if has else ""
            self.warnings.append(f"'{name}'{at} is left out: {tally.fate(self._job.task.gates)}")
            say(f"{self._job.name}: warning: {self.warnings[-1]}")
            tables.clear()
        return pa.concat_tables(tables) if tables else self._studio.nothing()

    def mix(self, choice: Choice) -> pa.Table | None:
        """The samples of a portfolio, filtered and weighed; None when there are none."""
        chosen = self._chosen(choice)
        if not any(map(len, chosen.values())):
            return None
        return weighed(self._studio.refiltered(pa.concat_tables(chosen.values()), choice.filter), choice.weight)

    def made(self, choice: Choice) -> dict[str, int]:
        """Strategy → number of samples in the portfolio: less than its share wants where few pass the gates."""
        return {name: len(table) for name, table in self._chosen(choice).items() if len(table)}

    def _chosen(self, choice: Choice) -> dict[str, pa.Table]:
        total, found = sum(choice.shares.values()), {}
        easiest, hardest = margins_to_losses(choice.band)
        for name, share in ((n, s) for n, s in choice.shares.items() if s):
            pool = self._tables[name, choice.strengths.get(name, 1.0)]
            hardness, agreement = pool["hardness"].to_numpy(), pool["label_agreement"].to_numpy()
            passed = (hardness >= easiest) & (hardness <= hardest) & (agreement >= choice.agreement)
            wanted = round(self._job.task.samples * choice.size * share / total)
            found[name] = pool.filter(pa.array(passed)).slice(0, wanted)
        return found


def weighed(samples: pa.Table, weight: float) -> pa.Table:
    """The samples with another weight."""
    column = pa.array(np.full(len(samples), weight, np.float32))
    return samples.set_column(samples.column_names.index("weight"), "weight", column)


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


def search(
    recipe: Recipe, *, trials: int, minutes: float | None = None, seeds: int = 2, device: str = "auto",
    threads: int | None = None, tasks: tuple[str, ...] = (),
) -> list[Found]:  # fmt: skip
    """Search every task of the recipe (or `tasks`): `trials` each for the plain consumer and for the portfolio.

    minutes: a limit for each of the two. Trials are kept under the recipe's output: a stopped search goes on.
    """
    _optuna()
    device = resolve_device(device, threads)
    return [_search_task(Job(_wide(recipe, name), name, device), recipe, trials, minutes, seeds)
            for name in tasks or recipe.tasks]  # fmt: skip


def _wide(recipe: Recipe, name: str) -> Recipe:
    """The recipe with gates that let through all that a trial may choose from."""
    if name not in recipe.tasks:
        raise UsageError(f"recipe '{recipe.name}' has no task '{name}'; it has {', '.join(recipe.tasks)}")
    task = recipe.tasks[name]
    # The generator keeps the recipe's own aim: what it makes for a trial is what it makes for the winner.
    generator = task.generator.model_copy(update={"band": _aim(task)})
    wide = {"band": BANDS[-1], "min_label_agreement": AGREEMENTS[0], "false_negative_share": 0.0}
    gates = task.gates.model_copy(update=wide)
    return recipe.model_copy(update={"tasks": {name: task.model_copy(update={"gates": gates, "generator": generator})}})


def _aim(task: Task) -> tuple[float, float]:
    return task.generator.band or task.gates.band


def _search_task(job: Job, recipe: Recipe, trials: int, minutes: float | None, seeds: int) -> Found:
    task = recipe.tasks[job.name]
    tolerance = tolerance_of(job.consumer, task.verdict)
    with work_folder(job) as work:
        material = read(job, work)
        arena = material.arena
        fit = _Fit(job, arena, seeds)
        store = Path(recipe.output) / "_search" / f"{job.name}-{digest([job.digest, seeds])}.log"
        store.parent.mkdir(parents=True, exist_ok=True)
        own = job.make(job.recipe.seed)  # what there is to try may hang on the recipe's options
        space = dict(getattr(own, "space", {}))
        plain = _study(
            store, "plain", trials, minutes, job.recipe.seed,
            lambda trial: Choice(options=_options(trial, space)),
            lambda choice: fit(choice, None), {},
        )  # fmt: skip
        best_clean = max(plain, key=lambda t: t.values["clean"])
        best_plain = _best(plain, plain, tolerance, best_clean.values["clean"]) or best_clean
        # A run of the winning recipe aims at this victim; against another, other trials count.
        victim = job.make_with(best_plain.choice.options, job.seeds[0]).fit(arena.train, arena.valid)
        pools = Pools(job, Studio(job, material, victim, work))
        space |= dict(getattr(own, "mix_space", {}))
        portfolio = _study(
            store, f"portfolio {digest(best_plain.choice.options)[:6]}", trials, minutes, job.recipe.seed,
            lambda trial: _portfolio(trial, task, pools.strong, space, job.consumer.modality),
            lambda choice: fit(choice, pools.mix(choice), best_plain.values["clean"] - 3 * tolerance),
            _given(task, pools.strong, space, job.make_on_mix(job.recipe.seed)),
        )  # fmt: skip
        portfolio = [replace(trial, made=pools.made(trial.choice)) for trial in portfolio]
    best = _best(portfolio, plain, tolerance, best_plain.values["clean"])
    return Found(job.name, plain, portfolio, best_plain, best, pools.warnings)


class _Fit:
    """Train on a mix and measure on validation rows, for a few seeds."""

    def __init__(self, job: Job, arena: Arena, seeds: int) -> None:
        self._job, self._arena = job, arena
        self._seeds = [job.recipe.seed + i for i in range(seeds)]

    def __call__(self, choice: Choice, mix: pa.Table | None, least_clean: float = -np.inf) -> dict[str, float] | None:
        """Objective → mean; None when the first seed's clean metric is below `least_clean`."""
        found = []
        for seed in self._seeds:
            model = self._job.make_with(choice.options, seed).fit(self._arena.train, self._arena.valid, mix)
            found.append(self._measure(model))
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


def _study(
    store: Path, name: str, trials: int, minutes: float | None, seed: int,
    suggest: Callable[[Any], Choice], fit: Callable[[Choice], dict[str, float] | None], first: Mapping[str, Any],
) -> list[Trial]:  # fmt: skip
    """Run, or go on with, a study kept in the journal file `store`; its complete trials.

    None may be, if all were pruned: each was worse on clean data. Raises BadInput when nothing could be measured.
    """
    optuna = _optuna()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(store)))
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["maximize"] * len(OBJECTIVES), load_if_exists=True
    )
    done = [t for t in study.trials if t.state.is_finished()]
    # Another seed after a stop: the same one would draw the first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(done), n_startup_trials=max(5, trials // 4))
    if first and not study.trials:
        study.enqueue_trial(dict(first))
    with bar(max(0, trials - len(done)), f"search, {name}", "trial") as shown:

        def objective(trial: Any) -> tuple[float, ...]:
            choice = suggest(trial)
            trial.set_user_attr("choice", json.dumps(asdict(choice)))
            values = fit(choice)
            shown.update()
            if values is None:
                raise optuna.TrialPruned
            return tuple(values[objective] for objective in OBJECTIVES)

        study.optimize(objective, n_trials=max(0, trials - len(done)), timeout=minutes and minutes * 60)
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    if not complete and not any(t.state == optuna.trial.TrialState.PRUNED for t in study.trials):
        raise BadInput(
            f"search, {name}: no trial could be measured; give it more minutes, or validation rows of both classes"
        )
    return [Trial(t.number, _choice(t.user_attrs["choice"]), dict(zip(OBJECTIVES, t.values, strict=True)))
            for t in complete]  # fmt: skip


def _choice(text: str) -> Choice:
    kept = json.loads(text)
    return Choice(**{**kept, "band": tuple(kept["band"])})


def _options(trial: Any, space: Mapping[str, tuple]) -> dict[str, Any]:
    return {name: trial.suggest_categorical(f"option.{name}", list(values)) for name, values in space.items()}


def _portfolio(
    trial: Any, task: Task, strong: set[str], space: Mapping[str, tuple], modality: str
) -> Choice:  # fmt: skip
    return Choice(
        shares={n: trial.suggest_categorical(f"share.{n}", SHARES) for n in task.strategies},
        strengths={n: trial.suggest_categorical(f"strength.{n}", STRENGTHS) for n in task.strategies if n in strong},
        size=trial.suggest_categorical("size", SIZES),
        weight=trial.suggest_categorical("weight", WEIGHTS),
        band=BANDS[trial.suggest_categorical("band", list(range(len(BANDS))))],
        agreement=trial.suggest_categorical("agreement", AGREEMENTS),
        filter=trial.suggest_categorical("filter", FILTERS) if modality == "behaviour" else 0.0,
        options={**task.mix_options, **_options(trial, space)},
    )


def _given(task: Task, strong: set[str], space: Mapping[str, tuple], consumer: Consumer) -> dict[str, Any]:
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


def _best(trials: list[Trial], plain: list[Trial], tolerance: float, clean: float) -> Trial | None:
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
        generator = {"band": _aim(task), "rounds": 1}
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


def _optuna() -> Any:
    try:
        import optuna
        import tomli_w  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the search needs {error.name}: pip install 'sparring[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
