"""What became of a task, a run or a night: typed for us, and the JSON that machines read.

The parts that are only shown and kept (a comparison, a strategy's counts) are typed as the JSON that they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict, TypeGuard


class Compared(TypedDict):
    """One metric of a verdict, as `judging.verdict.Comparison` has it; null where test rows cannot answer."""

    real: float | None
    mix: float | None
    baseline: float | None
    baseline_name: str
    diff: float | None
    low: float | None
    high: float | None
    p: float | None
    better_is: str


class Measured(TypedDict):
    """One that test rows answer, for both arms and with an interval."""

    real: float
    mix: float
    baseline: float | None
    baseline_name: str
    diff: float
    low: float
    high: float
    p: float
    better_is: str


def measured(found: Compared) -> TypeGuard[Measured]:
    return None not in (found["real"], found["mix"], found["diff"], found["low"], found["high"])


class Made(TypedDict, total=False):
    """What became of one strategy's proposals; see `contracts.tally.Tally`."""

    wanted: int
    proposed: int
    kept: int
    false_negatives_dropped: int
    hardness_median: float | None
    novelty_median: float | None
    refused: dict[str, Any]
    fate: str


Effect = Literal["helps", "may help", "hurts", "may hurt", "no difference beyond chance"]


class LeftOut(TypedDict):
    """One metric of the mix and of the mix without a strategy's samples, as the means over seeds.

    diff: the first minus the second, paired, with its interval. effect: what that says of the samples, Holm-corrected
    over all strategies and metrics of the task; "may": the interval alone is beyond zero, as one of so many may be by
    chance.
    """

    mix: float
    without: float
    diff: float
    low: float
    high: float
    p: float
    better_is: str
    effect: Effect


class Attributed(TypedDict):
    """One strategy's part in a version; see `runs.attribution`.

    metrics: of those that the recipe names the ones that test rows answer. None where it is the only strategy: what its
    samples bring is the verdict itself.
    """

    samples: int
    share: float  # of the version's samples,
    weight_share: float  # and of their weight in training
    metrics: dict[str, LeftOut]


@dataclass
class Taught:
    """One teacher that was tried, beside the consumer, on `rows` rows; reason: why it was not taken.

    metrics: name → consumer, teacher, diff (teacher − consumer) with its interval low, high.
    """

    rows: int
    metrics: dict[str, dict[str, float]]
    reason: str
    taken: bool


class NightFacts(TypedDict, total=False):
    """What is known of a task's night."""

    day: str
    days: list[str]  # of which the version holds samples
    fit: str
    refit: bool
    why: str
    generator_age_days: int
    drift: dict[str, float]
    poisoned: int
    hardness_of_yesterdays_samples: float | None
    hardness_when_made: float | None
    figures: dict[str, float]
    checks: list[dict[str, Any]]


SAID = (
    "advice",
    "attribution",
    "examples",
    "teachers",
    "labels",
    "night",
    "replica",
    "replica_behind",
    "traceback",
    "undecoded",
)  # only where there is something to say


class Example(TypedDict):
    """A sample that is a picture, and the row that it was made of: small JPEG files in base64."""

    strategy: str
    before: str
    after: str


@dataclass
class TaskResult:
    """What became of one task. A task that failed has a reason alone, one that a gate ended no figures."""

    status: str  # published, rejected, unchanged or failed
    reason: str
    advice: str | None = None
    path: str = ""
    rows: int = 0  # samples
    undecoded: int | None = None  # of the version's that are vectors alone, where there are any
    kept_share: float = 0.0
    real_rows: dict[str, int] = field(default_factory=dict)  # split → rows
    anchors: int = 0
    quarantined: int = 0
    quarantine: dict[str, int] = field(default_factory=dict)  # reason → rows
    verdict: dict[str, Compared] = field(default_factory=dict)  # by metric
    seeds: int = 0
    strategies: dict[str, Made] = field(default_factory=dict)
    gates: dict[str, int] = field(default_factory=dict)  # gate → proposals that it was the first to refuse
    warnings: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    histograms: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    encoder: str = ""
    teachers: dict[str, Any] | None = None  # name → `Taught`, as JSON
    labels: str | None = None  # who gave them, and why
    rounds: int = 0
    examples: list[Example] | None = None  # where samples can be looked at
    attribution: dict[str, Attributed] | None = None  # by strategy
    night: NightFacts | None = None
    version: int | None = None  # published as
    replica: int | None = None  # version there
    replica_behind: str | None = None  # why
    traceback: str | None = None  # of what nobody foresaw

    @classmethod
    def failed(cls, reason: str, traceback: str | None = None) -> TaskResult:
        return cls("failed", reason, traceback=traceback)

    @classmethod
    def stored(cls, kept: Mapping[str, Any], **changed: Any) -> TaskResult:
        """What `as_json` made of one, also in an earlier version of ours."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in {**kept, **changed}.items() if name in known})

    def as_json(self) -> dict[str, Any]:
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        always = {"status", "reason"} if self.status == "failed" else found.keys() - set(SAID)
        return {name: v for name, v in found.items() if name in always or (name in SAID and v is not None)}


@dataclass
class RunResult:
    run: str  # digest
    status: str
    tasks: dict[str, TaskResult]
    report: str  # page
    seconds: float

    def as_json(self) -> dict[str, Any]:
        tasks = {name: task.as_json() for name, task in self.tasks.items()}
        return {"run": self.run, "status": self.status, "tasks": tasks, "report": self.report, "seconds": self.seconds}


@dataclass
class NightResult:
    day: str
    status: str = "failed"
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)  # what was taken in, by source
    tasks: dict[str, TaskResult] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    report: str | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        found["tasks"] = {name: task.as_json() for name, task in self.tasks.items()}
        return {name: value for name, value in found.items() if value is not None}
