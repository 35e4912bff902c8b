"""Does the mix help? Paired intervals over test units and seeds, Holm-corrected, against a fixed decision rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy.special import stdtrit

from augment.measures import Measure
from augment.progress import track

Measures = Mapping[str, Measure]


@dataclass(frozen=True)
class Comparison:
    """One metric: means over seeds, and the paired difference mix − real with its interval.

    NaN, and an endless interval, where the test rows cannot answer: see `measured`.
    """

    real: float
    mix: float
    baseline: float
    baseline_name: str
    diff: float
    low: float
    high: float
    p: float  # two-sided p-value of diff = 0, before correction
    better_is: str
    units: int = 0  # test rows, or users, that were drawn from
    units_error: float = 0.0  # standard error of diff by the choice of units,
    seeds_error: float = 0.0  # and by that of seeds

    @property
    def measured(self) -> bool:
        """Whether the test rows answer this metric, for both arms and with an interval."""
        return bool(np.isfinite([self.real, self.mix, self.low, self.high]).all())

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

    Each draw resamples the units, the same for all arms and seeds: paired. See `_errors` for how the chance of units
    and that of seeds go into one interval; with one seed it covers the units' alone.
    """
    differences = _drawn(real, mix, draws, seed)
    out = {}
    for name, first in real[0].items():
        before, after, plain = (np.array([m[name].value() for m in arm]) for arm in (real, mix, baseline))
        errors = _errors(after - before, differences[name], first.size)
        diff = float(np.mean(after - before))
        half, p = _interval_of(diff, errors, (first.size - 1, len(real) - 1), 1 - confidence)
        out[name] = Comparison(
            float(before.mean()), float(after.mean()), float(plain.mean()), baseline_name,
            diff, diff - half, diff + half, p, first.better_is, first.size, *errors,
        )  # fmt: skip
    return out


def _drawn(real: Sequence[Measures], mix: Sequence[Measures], draws: int, seed: int) -> dict[str, np.ndarray]:
    """Metric → float64[draws, seeds], mix − real. Metrics of equally many units share their draws."""

    def size(name: str) -> int:
        return real[0][name].size

    out = {name: np.full((draws, len(real)), np.nan) for name in real[0]}
    groups = [(units, list(names)) for units, names in groupby(sorted(real[0], key=size), key=size) if units]
    for units, names in track(groups, desc="comparing", unit="group"):
        rng = np.random.default_rng([seed, units])
        for draw in range(draws):
            weights = rng.multinomial(units, np.full(units, 1 / units)).astype(np.float64)
            for name in names:
                pairs = [(mix[s][name], real[s][name]) for s in range(len(real))]
                out[name][draw] = [after.value(weights) - before.value(weights) for after, before in pairs]
    return out


def _errors(diffs: np.ndarray, drawn: np.ndarray, units: int) -> tuple[float, float]:
    """Standard errors of the mean of `diffs` float64[seeds], by the choice of units and by that of seeds.

    drawn: float64[draws, seeds], the same of each draw of units. Units and seeds are crossed: what each unit makes of
    each seed lies within the spread of units and of seeds alike, and is counted once (two-way clustering; Cameron,
    Gelbach & Miller, 2011). A bootstrap of n clusters has (n − 1) / n of their variance.
    """
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if units < 2 or len(drawn) < 2:
        return float("nan"), float("nan")
    seeds, few = len(diffs), units / (units - 1)
    of_units = few * drawn.mean(axis=1).var(ddof=1)
    if seeds == 1:
        return float(np.sqrt(of_units)), 0.0
    of_both = (few * drawn.var(axis=0, ddof=1).mean() - of_units) / (seeds - 1)
    of_seeds = np.maximum(0.0, diffs.var(ddof=1) / seeds - np.maximum(0.0, of_both))
    return float(np.sqrt(of_units)), float(np.sqrt(of_seeds))


def _interval_of(diff: float, errors: tuple[float, float], freedom: tuple[int, int], alpha: float) -> tuple[float, float]:
    """Half the width of the interval at 1 − alpha, and the two-sided p-value of diff = 0.

    The quantile is that of Cochran & Cox (1950): Student's t of each source of chance, weighed by its variance. With
    three seeds, or few users, a normal quantile would be far too short.
    """
    variances = np.square(errors)
    total = variances.sum()

    def half(level: float) -> float:
        quantiles = [stdtrit(f, 1 - level / 2) if v else 0.0 for f, v in zip(freedom, variances, strict=True)]
        return float(np.sqrt(total) * (variances @ quantiles) / total) if total else 0.0

    if not np.isfinite([diff, total]).all():
        return float("inf"), 1.0
    low, high = 0.0, 1.0  # p is the level at which the interval ends at zero
    for _ in range(50):
        level = (low + high) / 2
        low, high = (low, level) if half(level) < abs(diff) else (level, high)
    return half(alpha), high


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
