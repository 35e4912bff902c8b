"""What became of one strategy's proposals: which gate stopped how many, by how far, and what would let them through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from augment.contracts.result import Made
from augment.recipes.schema import Gates

SAMPLED = 512  # scores kept of what one gate refused: bounds a tally, whatever is proposed


@dataclass
class Stopped:
    """Proposals that one gate was the first to refuse."""

    count: int = 0
    again: int = 0  # of which a later gate refuses too
    scores: list[float] = field(default_factory=list)  # a uniform sample of what the gate looks at (Vitter, 1985)

    def add(self, scores: np.ndarray, again: int) -> None:
        """Count more in, with their scores float[n]."""
        places = np.arange(self.count, self.count + len(scores)) + 1
        slots = np.random.default_rng(self.count).integers(places)  # by place: equal runs keep equal samples
        for score, slot in zip(scores.tolist(), slots.tolist(), strict=True):
            if len(self.scores) < SAMPLED:
                self.scores.append(score)
            elif slot < SAMPLED:
                self.scores[slot] = score
        self.count += len(scores)
        self.again += again

    def merge(self, other: Stopped) -> None:
        total = self.count + other.count
        if len(self.scores) + len(other.scores) > SAMPLED:
            rng, own = np.random.default_rng(total), round(SAMPLED * self.count / total)
            drawn = (rng.permutation(x.scores)[:n] for x, n in ((self, own), (other, SAMPLED - own)))
            self.scores = np.concatenate(list(drawn)).tolist()
        else:
            self.scores = self.scores + other.scores
        self.count, self.again = total, self.again + other.again

    @property
    def median(self) -> float | None:
        return float(np.median(self.scores)) if self.scores else None


@dataclass
class Tally:
    """Counts of one strategy; `stopped` by the gate's reason."""

    wanted: int = 0
    proposed: int = 0
    kept: int = 0
    dropped: int = 0  # passed, but too few to bother with
    repeated: int = 0  # passed, but are samples that were made before
    false_negatives: int = 0
    stopped: dict[str, Stopped] = field(default_factory=dict)
    hardness: list[float] = field(default_factory=list)  # of samples kept
    novelty: list[float] = field(default_factory=list)
    why: str = ""  # it proposed nothing

    @classmethod
    def stored(cls, kept: Mapping[str, Any]) -> Tally:
        """What `asdict` made of one."""
        stopped = {gate: Stopped(**found) for gate, found in kept["stopped"].items()}
        return cls(**{**kept, "stopped": stopped})

    @property
    def refused(self) -> Counter[str]:
        """Gate → how many it was the first to refuse."""
        return Counter({gate: found.count for gate, found in self.stopped.items()})

    def stop(self, gate: str, scores: np.ndarray, again: int) -> None:
        self.stopped.setdefault(gate, Stopped()).add(scores, again)

    def add(self, other: Tally) -> None:
        """Count another round's proposals in."""
        for name in ("wanted", "proposed", "kept", "dropped", "repeated", "false_negatives"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for gate, found in other.stopped.items():
            self.stopped.setdefault(gate, Stopped()).merge(found)
        self.hardness += other.hardness
        self.novelty += other.novelty
        self.why = self.why or other.why

    def too_few(self, gates: Gates) -> bool:
        """Whether the strategy is to be left out."""
        return not self.kept or self.kept < gates.min_kept_share * self.proposed

    def drop(self) -> None:
        """Leave the samples out; the counts of what was proposed stay."""
        self.dropped, self.kept, self.hardness, self.novelty = self.kept, 0, [], []

    def fate(self, gates: Gates) -> str:
        """In words: what was kept, and each gate that refused some."""
        if not self.proposed:
            return f"nothing was proposed{self.why and ': ' + self.why}"
        said = [sentence(gate, found, gates) for gate, found in sorted(self.stopped.items(), key=lambda s: -s[1].count)]
        if self.repeated and not self.kept:
            said.append(f"{self.repeated:,} passed, but were made before")
        if self.dropped:
            said.insert(0, f"fewer than gates.min_kept_share = {shown(gates.min_kept_share)} asks for")
        passed = self.kept + self.dropped
        return f"the gates kept {passed:,} of {self.proposed:,}{': ' if said else ''}{', '.join(said)}"

    def summary(self, gates: Gates) -> Made:
        """For a run's result."""

        def median(values: list[float]) -> float | None:
            return float(np.median(values)) if values else None

        refused = {g: {"count": s.count, "again": s.again, "median": s.median} for g, s in self.stopped.items()}
        return {
            "wanted": self.wanted,
            "proposed": self.proposed,
            "kept": self.kept,
            "false_negatives_dropped": self.false_negatives,
            "hardness_median": median(self.hardness),
            "novelty_median": median(self.novelty),
            "refused": refused,
            "fate": self.fate(gates),
        }


@dataclass(frozen=True)
class Limit:
    """What a gate compares, and the setting of `gates` that it must not be below (`least`), or above."""

    score: str
    setting: str
    least: bool = True
    end: int | None = None  # of a setting that is a pair


LIMITS = {
    "implausible": Limit("plausibility", "min_plausibility"),
    "label in doubt": Limit("agreement", "min_label_agreement"),
    "not novel": Limit("novelty", "min_novelty"),
    "too easy": Limit("margin", "band", least=False, end=1),
    "too hard": Limit("margin", "band", end=0),
}  # every gate but "not finite", which no setting opens, and `STUFFED`
STUFFED = "stuffed"  # of new items
UNLIMITED = {
    "not finite": "the victim's loss, or the vector, is not a number",
    STUFFED: "their content is made of best sellers'; new_items.stuffed = 0 publishes them",
}


def sentence(gate: str, found: Stopped, gates: Gates) -> str:
    """How many a gate stopped, how far they lie from its limit, and the setting that lets half of them through."""
    head, later = f"{found.count:,} {gate}", f"; {found.again:,} fail a later gate too" if found.again else ""
    limit, median = LIMITS.get(gate), found.median
    if limit is None or median is None:
        return f"{head} ({UNLIMITED.get(gate, UNLIMITED['not finite'])})"
    now = getattr(gates, limit.setting)
    enough = rounded(median, down=limit.least)
    if limit.end is None:
        enough = max(0.0, enough)
        has, open_ = f"= {shown(now)}", shown(enough)
    else:
        has = f"{('starts', 'ends')[limit.end]} at {shown(now[limit.end])}"
        open_ = f"[{', '.join(shown(enough if i == limit.end else now[i]) for i in (0, 1))}]"
    return (
        f"{head} ({limit.score} median {shown(median)}, gates.{limit.setting} {has}: {open_} lets half through{later})"
    )


def rounded(value: float, down: bool) -> float:
    """To two digits, towards −∞ or towards ∞: a limit there lets `value` through."""
    if not value or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = value / unit
    return (math.floor(steps + 1e-9) if down else math.ceil(steps - 1e-9)) * unit


def shown(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
