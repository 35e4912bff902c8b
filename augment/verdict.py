"""Does the mix help? Paired bootstrap over test units and seeds, Holm-corrected, against a fixed decision rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from augment.measures import Measure
from augment.progress import track

Measures = Mapping[str, Measure]


@dataclass(frozen=True)
class Comparison:
    """One metric: means over seeds, and the paired difference mix − real with its interval."""

    real: float
    mix: float
    baseline: float
    baseline_name: str
    diff: float
    low: float
    high: float
    p: float  # two-sided bootstrap p-value of diff = 0, before correction
    better_is: str

    def gain(self, bound: str = "diff") -> float:
        """`diff`, or the interval's pessimistic bound ("worst"), signed so that positive is better."""
        if self.better_is == "higher":
            return self.low if bound == "worst" else self.diff
        return -self.high if bound == "worst" else -self.diff


@dataclass(frozen=True)
class Verdict:
    accepted: bool
    reason: str
    comparisons: dict[str, Comparison]


def compare(
    real: Sequence[Measures],
    mix: Sequence[Measures],
    baseline: Sequence[Measures],
    baseline_name: str,
    *,
    draws: int,
    confidence: float,
    seed: int,
) -> dict[str, Comparison]:
    """Metric → comparison. Each sequence holds one evaluation per training seed, on the same test units.

    Each draw resamples the units (the same for both arms: paired) and the seeds, so the interval covers both
    sources of chance (Efron & Tibshirani, 1993, ch. 16).
    """
    out: dict[str, Comparison] = {}
    for name, first in track(real[0].items(), desc="comparing", unit="metric"):
        rng = np.random.default_rng([seed, len(out)])
        diffs = np.empty(draws)
        for draw in range(draws):
            weights = rng.multinomial(first.size, np.full(first.size, 1 / first.size)).astype(np.float64)
            chosen = rng.integers(len(real), size=len(real))
            # A deterministic consumer gives the same measures for each seed; look at each chosen seed once.
            values = {s: mix[s][name].value(weights) - real[s][name].value(weights) for s in set(chosen.tolist())}
            diffs[draw] = np.mean([values[s] for s in chosen.tolist()])
        before, after, plain = (float(np.mean([m[name].value() for m in arm])) for arm in (real, mix, baseline))
        diffs = diffs[np.isfinite(diffs)]
        # A draw holds fewer distinct users than the test does, which shrinks coverage and its differences: recentre.
        diffs += after - before - diffs.mean() if diffs.size else 0.0
        tail = (1 - confidence) / 2
        low, high = np.quantile(diffs, [tail, 1 - tail]) if diffs.size else (float("-inf"), float("inf"))
        # +1: a finite number of draws cannot prove an impossible difference.
        p = 2 * (1 + min((diffs <= 0).sum(), (diffs >= 0).sum())) / (diffs.size + 1)
        out[name] = Comparison(
            before,
            after,
            plain,
            baseline_name,
            after - before,
            float(low),
            float(high),
            min(1.0, float(p)),
            first.better_is,
        )
    return out


def decide(
    comparisons: Mapping[str, Comparison],
    clean: Sequence[str],
    improve: Sequence[str],
    *,
    tolerance: float,
    confidence: float,
) -> Verdict:
    """Publish only what is not worse on `clean` and better on at least one of `improve`, worse on none of them.

    Not worse is a non-inferiority test: the whole interval lies above −tolerance. Better is a paired test at
    `confidence`, Holm-corrected over `improve` (Holm, 1979).
    """
    comparisons = dict(comparisons)
    harmed = [m for m in clean if not comparisons[m].gain("worst") >= -tolerance]
    significant = holm({m: comparisons[m].p for m in improve}, 1 - confidence)
    better = [m for m in significant if comparisons[m].gain() > 0]
    worse = [m for m in significant if comparisons[m].gain() < 0]
    if harmed:
        shown = ", ".join(_interval(m, comparisons[m]) for m in harmed)
        return Verdict(False, f"may be worse on clean data by more than {tolerance:g}: {shown}", comparisons)
    if worse:
        return Verdict(False, "worse: " + ", ".join(_interval(m, comparisons[m]) for m in worse), comparisons)
    if not better:
        return Verdict(False, f"augmentation does not help here: no gain on {', '.join(improve)}", comparisons)
    return Verdict(True, "better: " + ", ".join(_interval(m, comparisons[m]) for m in better), comparisons)


def holm(p_values: Mapping[str, float], alpha: float) -> list[str]:
    """Names whose hypothesis Holm's step-down procedure rejects at family-wise level alpha."""
    rejected = []
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > alpha / (len(p_values) - rank):
            break
        rejected.append(name)
    return rejected


def _interval(name: str, c: Comparison) -> str:
    return f"{name} {c.diff:+.4f} [{c.low:+.4f}, {c.high:+.4f}]"
