"""One task's night: from the window to the day's partition, published or rejected."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from augment.base.errors import BadInput, Refused
from augment.base.progress import say
from augment.contracts.result import NightFacts, TaskResult
from augment.nights import attributions, fits
from augment.nights.facts import facts_of
from augment.nights.partitions import days_kept, same_space, samples_of
from augment.publishing import spaces
from augment.publishing.canary import canary
from augment.publishing.stage import Stage
from augment.runs.result import as_before, manifest_of, refusal, summary
from augment.runs.rows import encode, read_rows
from augment.runs.steps import Steps, steps_of
from augment.runs.task import Job
from augment.runs.version import Outcome, make_version
from augment.sources.ledger import Ledger


def night_of(job: Job, day: date, ledger: Ledger) -> TaskResult:
    """ledger: of the source that the job's window is from."""
    result = _night_of(job, day, ledger)
    attributions.note(job, day, result)
    return result


def _night_of(job: Job, day: date, ledger: Ledger) -> TaskResult:
    if done := job.dataset.find(job.digest):
        if done.version is None:  # rejected, and still so
            return TaskResult.stored(done.manifest.result)
        return as_before(job, done)
    stay, gone = days_kept(job, day)
    try:
        with steps_of(job) as steps, job.dataset.stage(job.digest, str(day)) as stage:
            rows = read_rows(job, steps.scratch("splits"), job.recipe.nightly.drop_poison)
            chosen = fits.choose(job, day, rows)
            material = encode(job, rows, chosen.ngrams or steps.ngrams)
            steps.keep_ngrams(material.ngrams)
            if not (same := same_space(job, material)):
                stay, gone = [], [*stay, *gone]
            kept = samples_of(job.dataset, stay)
            fits.lend(job, chosen.fit, steps, warm=same)
            stream = 1000 * day.toordinal()  # each night draws anew
            outcome = make_version(job, steps, stage, material, victim=chosen.victim, kept=kept, stream=stream,
                                   attribute=attributions.due(job, day))  # fmt: skip
            about = facts_of(job, day, ledger, outcome, chosen, stay)
            return _conclude(job, day, stage, outcome, about, stay, gone, steps)
    except Refused as error:
        return refusal(job, str(error))


def _conclude(
    job: Job, day: date, stage: Stage, outcome: Outcome, about: NightFacts, stay: list[str], gone: list[str],
    steps: Steps,
) -> TaskResult:  # fmt: skip
    """Publish the day's partition beside those that stay, or reject it."""
    result = replace(summary(job, outcome), night=about)
    for check in about["checks"]:
        say(f"{job.name}: {check['severity']}: {check['reason']}")
    errors = [check["reason"] for check in about["checks"] if check["severity"] == "error"]
    if errors:
        result = replace(result, status="rejected", reason=f"checks failed: {'; '.join(errors)}; {result.reason}")
    job.dataset.keep_quarantine(job.digest, outcome.material.splits.quarantine)
    manifest = manifest_of(job, outcome, result, stage.files)
    if result.status == "rejected":
        job.dataset.reject(stage, manifest)
        return result
    if about["refit"]:
        fits.keep(job, day, outcome, steps)
    if stay:
        current = job.dataset.version()
        shards = [shard for d, shards in job.dataset.shards_by_day().items() if d in stay for shard in shards]
        encoders = list(dict.fromkeys([*manifest.encoders, *current.manifest.encoders]))
        manifest = replace(manifest, files=[*stage.files, *shards], encoders=encoders)
    if trouble := canary(job.dataset, stage, manifest, steps.scratch("canary")):
        raise BadInput(f"{job.folder}: the new version cannot be read back: {trouble[0]}; the current one stays")
    spaces.keep(job.dataset.root, outcome.material.ngrams)
    return replace(result, version=job.dataset.publish(stage, manifest, gone))
