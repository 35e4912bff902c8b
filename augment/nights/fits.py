"""Victims and generators that later nights use again, kept beside the tables under `_nightly/<task>`.

Which of them is in use stands in the manifest of the version made with it, so the Delta commit decides that too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from augment.base.errors import BadInput
from augment.base.files import digest, write_whole
from augment.contracts.consumer import Consumer
from augment.contracts.strategy import strategy_class
from augment.publishing import spaces
from augment.runs.rows import Rows
from augment.runs.steps import TEACHER, Steps
from augment.runs.task import Job
from augment.watch.drift import Profile, profile, stability

if TYPE_CHECKING:
    from augment.language.ngrams import Ngrams
    from augment.runs.version import Outcome

STATE = "_nightly"
KEPT = 3  # fits of each task
# What of a task a victim, a generator or a teacher depends on.
SHAPING = ("consumer", "options", "encoder", "generator", "gates", "teachers", "teacher_options")
GROWN = 2.0  # times as many texts as an encoder was fitted on make another worth its while


@dataclass(frozen=True)
class Fit:
    folder: Path
    day: str
    seen: Profile  # of the training rows it was fitted on
    segments: list[str]
    settings: str  # digest of what else it depends on

    @classmethod
    def load(cls, folder: Path) -> Fit | None:
        try:
            return cls(folder, **json.loads((folder / "fit.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):  # removed by hand, or of another version: fit anew
            return None


@dataclass(frozen=True)
class Choice:
    """The fit to use again and its victim, or neither; and why. drift: by column, since the last fit.

    ngrams: those of the current version's encoder, while their space is used again: a fit that is only old is made
    anew in the same space, so that earlier nights' samples stay.
    """

    why: str
    drift: Mapping[str, float] = field(default_factory=dict)
    fit: Fit | None = None
    victim: Consumer | None = None
    ngrams: Ngrams | None = None


def choose(job: Job, day: date, rows: Rows) -> Choice:
    """The current version's fit, unless its age, the rows or the recipe ask for another."""
    current = job.dataset.current()
    about = job.dataset.version().manifest.result.get("night", {}) if current is not None else {}
    last = Fit.load(_folder(job) / about["fit"]) if about.get("fit") else None
    if last is None:
        return Choice("the first")
    drift = stability(last.seen, profile(rows.train))
    age = (day - date.fromisoformat(last.day)).days
    if last.settings != _settings(job):
        return Choice("other settings", drift)
    if last.segments != job.modality.segments(rows.train, rows.unlabelled):
        return Choice("other segments", drift)
    worst = max(drift, key=lambda name: drift[name], default="")
    if worst and drift[worst] > job.recipe.nightly.refit_drift:
        return Choice(f"{worst} drifted by {drift[worst]:.2f}", drift)
    try:
        ngrams = spaces.load_local(job.dataset.root, job.dataset.version().manifest.encoders)
        victim = job.consumer.load(last.folder / "victim", job.device)
    except BadInput:
        return Choice("the last one is damaged", drift)
    if ngrams is not None and len(rows.texts) >= GROWN * ngrams.texts:
        return Choice(f"{len(rows.texts):,} texts where the encoder was fitted on {ngrams.texts:,}", drift)
    if age >= job.recipe.nightly.refit_days:
        return Choice(f"{age} days old", drift, ngrams=ngrams)
    return Choice(f"that of {last.day}", drift, last, victim, ngrams)


def lend(job: Job, fit: Fit | None, steps: Steps, warm: bool = True) -> None:
    """Put what strategies keep where they look for it: to be used as it is, or (if `warm`) to start a new fit.

    Models of teachers are used as they are: of tonight's rows they have seen at most those that they had then.
    """
    place = steps.folder / "round0"
    for name, start in _kept(job).items():
        if fit is not None and (fit.folder / name).exists():
            if not (place / name).exists():
                write_whole(place / name, (fit.folder / name).read_bytes())
            continue
        previous = sorted(_folder(job).glob(f"*/{name}"))
        # Only in a frozen encoder's space does what was learnt mean anything in a new fit.
        if start and warm and fit is None and previous and job.modality.frozen and not (place / start).exists():
            write_whole(place / start, previous[-1].read_bytes())
    for model in sorted(fit.folder.glob(f"{TEACHER}*")) if fit is not None else []:
        if not (steps.folder / model.name).exists():
            steps.keep(steps.folder / model.name, partial(shutil.copytree, model, dirs_exist_ok=True))


def keep(job: Job, day: date, outcome: Outcome, steps: Steps) -> None:
    def write(made: Path) -> None:
        outcome.real.save(made / "victim")
        for name in _kept(job):
            if (steps.folder / "round0" / name).exists():
                shutil.copy(steps.folder / "round0" / name, made / name)
        for model in steps.folder.glob(f"{TEACHER}*"):
            shutil.copytree(model, made / model.name)
        train, unlabelled = outcome.material.arena.train, outcome.material.unlabelled
        seen, segments = profile(train), job.modality.segments(train, unlabelled)
        kept = {"day": str(day), "seen": seen, "segments": segments, "settings": _settings(job)}
        (made / "fit.json").write_text(json.dumps(kept, ensure_ascii=False), "utf-8")

    steps.keep(_folder(job) / name_of(job, day), write)


def name_of(job: Job, day: date) -> str:
    return f"{day}-{job.digest}"


def forget(output: Path, task: str) -> None:
    """Remove all but the last few fits of a task."""
    for old in sorted((output / STATE / task).glob("*/fit.json"))[:-KEPT]:
        shutil.rmtree(old.parent)


def _kept(job: Job) -> dict[str, str]:
    """What the task's strategies keep from night to night, with the name under which a new fit starts from it."""
    return {name: start for strategy in job.task.strategies for name, start in strategy_class(strategy).keeps.items()}


def _folder(job: Job) -> Path:
    return Path(job.recipe.output) / STATE / job.name


def _settings(job: Job) -> str:
    task = job.task.model_dump(mode="json", include=set(SHAPING))
    read = job.source.model_dump(mode="json", include={"columns", "positive", "classes"})
    return digest({**task, **read, "seed": job.recipe.seed, "versions": job.versions})
