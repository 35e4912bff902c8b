"""The portfolio search: which samples, how many and how hard, and which settings of the consumer, on validation rows.

The plain consumer comes first, with as many trials over its own settings. Samples are then made once per strategy and
strength, against the best plain consumer and behind gates as wide as the search may want. A trial picks from these
pools and trains the consumer, so its price is one training. Test rows are never read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from augment.base.errors import UsageError
from augment.base.files import digest
from augment.contracts.modality import Histories
from augment.generation.studio import Studio
from augment.judging.arms import tolerance_of
from augment.numeric.device import resolve_device
from augment.publishing.lock import check_owner, locked
from augment.recipes.schema import Recipe
from augment.runs.rows import read
from augment.runs.steps import Steps, work_folder
from augment.runs.task import Job
from augment.runs.teaching import lesson
from augment.search.pools import Pools
from augment.search.space import Choice, drawn_options, drawn_portfolio, given_settings, widened
from augment.search.trials import Fit, optuna_installed, study
from augment.search.winner import Found, best_of


def search(
    recipe: Recipe, *, trials: int, minutes: float | None = None, seeds: int = 2, device: str = "auto",
    threads: int | None = None, tasks: tuple[str, ...] = (),
) -> list[Found]:  # fmt: skip
    """Search every task of the recipe (or `tasks`): `trials` each for the plain consumer and for the portfolio.

    minutes: a limit for each of the two. Trials are kept under the recipe's output: a stopped search goes on. Raises
    NotOurs where the output is another recipe's, and Locked while another process runs this very search; runs and
    nights may go on beside it.
    """
    optuna_installed()
    check_owner(recipe)
    device = resolve_device(device, threads)
    return [_search_task(Job(widened(recipe, name), name, device), recipe, trials, minutes, seeds)
            for name in tasks or recipe.tasks]  # fmt: skip


def _search_task(job: Job, recipe: Recipe, trials: int, minutes: float | None, seeds: int) -> Found:
    task = recipe.tasks[job.name]
    if not task.strategies:
        raise UsageError(f"tasks.{job.name}: no strategies whose shares could be searched; new items need no search")
    tolerance = tolerance_of(job.consumer, task.verdict)
    store = Path(recipe.output) / "_search" / f"{job.name}-{digest([job.digest, seeds])}.log"
    with locked(store.parent, store.stem), work_folder(job) as work:
        material = read(job, work)
        arena = material.arena
        fit = Fit(job, arena, seeds)
        own = job.make(job.recipe.seed)  # what there is to try may hang on the recipe's options
        space = dict(getattr(own, "space", {}))
        plain = study(
            store, "plain", trials, minutes, job.recipe.seed,
            lambda trial: Choice(options=drawn_options(trial, space)),
            lambda choice: fit(choice, None), {},
        )  # fmt: skip
        best_clean = max(plain, key=lambda t: t.values["clean"])
        best_plain = best_of(plain, plain, tolerance, best_clean.values["clean"]) or best_clean
        # A run of the winning recipe aims at this victim; against another, other trials count.
        victim = job.make_with(best_plain.choice.options, job.seeds[0]).fit(arena.train, arena.valid)
        teacher = lesson(job, material, [victim], Steps(work)).teacher
        pools = Pools(job, Studio(job.order, material.real, victim, work, teacher=teacher))
        space |= dict(getattr(own, "mix_space", {}))
        portfolio = study(
            store, f"portfolio {digest(best_plain.choice.options)[:6]}", trials, minutes, job.recipe.seed,
            lambda trial: drawn_portfolio(trial, task, pools.strong, space, issubclass(job.modality, Histories)),
            lambda choice: fit(choice, pools.mix(choice), best_plain.values["clean"] - 3 * tolerance),
            given_settings(task, pools.strong, space, job.make_on_mix(job.recipe.seed)),
        )  # fmt: skip
        portfolio = [replace(trial, made=pools.made(trial.choice)) for trial in portfolio]
    best = best_of(portfolio, plain, tolerance, best_plain.values["clean"])
    return Found(job.name, plain, portfolio, best_plain, best, pools.warnings)
