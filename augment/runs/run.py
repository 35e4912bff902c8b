"""One run: recipe → sources → victim → generator → gates → staged samples → both arms → verdict → published or not.

Each step is one function; read `_run_task` from top to bottom to follow a row from its file to the verdict.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from augment.base.errors import Refused
from augment.base.files import digest
from augment.base.progress import say
from augment.contracts.result import RunResult, TaskResult
from augment.judging import report
from augment.numeric.device import resolve_device
from augment.publishing import spaces
from augment.publishing.lock import held
from augment.publishing.stage import Stage
from augment.recipes.schema import Recipe
from augment.runs.apart import apart
from augment.runs.attribution import attribute_again
from augment.runs.result import as_before, manifest_of, refusal, summary
from augment.runs.rows import read
from augment.runs.steps import clear_left, steps_of
from augment.runs.task import Job
from augment.runs.version import Outcome, make_version


def run(
    recipe: Recipe, *, device: str = "auto", threads: int | None = None, attribute: bool = False
) -> RunResult:  # fmt: skip
    """Bring every task of the recipe up to date, and say what became of each.

    attribute: say also what each strategy brings (see `runs.attribution`), of tasks that were up to date before too.
    Its JSON is what `sparring run --json` prints. Raises Locked when another run holds the output,
    and what the steps raise: UsageError, BadInput, Unavailable, Refused, Diverged. One task that fails stops no other:
    the first failure is raised when all else is done.
    """
    started = time.monotonic()
    device = resolve_device(device, threads)
    output = Path(recipe.output)
    jobs = {name: Job(recipe, name, device) for name in recipe.tasks}
    with held(recipe):
        jobs = {name: job.anew() for name, job in jobs.items()}
        clear_left(output, jobs.values())
        tasks: dict[str, TaskResult] = {}
        failures: list[Exception] = []
        for name, job in jobs.items():
            with apart(tasks, failures, name):
                tasks[name] = _run_task(job, attribute)
        statuses = {task.status for task in tasks.values()}
        status = next(s for s in ("published", "rejected", "unchanged", "failed") if s in statuses)
        run_digest = digest({name: job.digest for name, job in jobs.items()})
        page = output / f"report-{run_digest}.html"
        result = RunResult(run_digest, status, tasks, str(page), round(time.monotonic() - started, 1))
        if attribute or status != "unchanged" or not page.exists():
            report.write(result, page)
    if failures:
        others = [f"{name}: {task.status}" for name, task in tasks.items() if task.status != "failed"]
        say("; ".join([*others, f"report: {page}"]))
        raise failures[0]
    return result


def _run_task(job: Job, attribute: bool) -> TaskResult:
    if found := job.dataset.find(job.digest):
        result = as_before(job, found)
        if attribute and result.attribution is None:
            result.attribution = attribute_again(job, found)
        return result
    try:
        with steps_of(job) as steps, job.dataset.stage(job.digest) as stage:
            material = read(job, steps.scratch("splits"), steps.ngrams)
            steps.keep_ngrams(material.ngrams)
            return conclude(job, stage, make_version(job, steps, stage, material, attribute=attribute))
    except Refused as error:  # the other tasks go on
        return refusal(job, str(error))


def conclude(job: Job, stage: Stage, outcome: Outcome) -> TaskResult:
    """Publish or reject the stage, and say why."""
    result = summary(job, outcome)
    manifest = manifest_of(job, outcome, result, stage.files)
    job.dataset.keep_quarantine(job.digest, outcome.material.splits.quarantine)
    if outcome.verdict.accepted:
        spaces.keep(job.dataset.root, outcome.material.ngrams)
        return replace(result, version=job.dataset.publish(stage, manifest))
    job.dataset.reject(stage, manifest)
    return result
