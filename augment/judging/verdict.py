"""Does the mix help? Paired intervals over test units and seeds, Holm-corrected, against a fixed decision rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from augment.base.progress import track
from augment.numeric.measures import Measure

Measures = Mapping[str, Measure]
Name = TypeVar("Name")


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
    seeds: int = 1

    @property
    def measured(self) -> bool:
        """Whether the test rows answer this metric, for both arms and with an interval."""
        return bool(np.isfinite([self.real, self.mix, self.low, self.high]).all())

    def gain(self, bound: str = "diff") -> float:
        """`diff`, or the interval's pessimistic bound ("worst"), signed so that positive is better."""
        if self.better_is == "higher":
            return self.low if bound == "worst" else self.diff
        return -self.high if bound == "worst" else -self.diff

    def half(self, level: float) -> float:
        """Half the width of the interval at 1 − level."""
        return _half((self.units_error, self.seeds_error), (self.units - 1, self.seeds - 1), level)


@dataclass(frozen=True)
class Verdict:
    accepted: bool
    reason: str
    comparisons: dict[str, Comparison]
    advice: str = ""  # what else would help, in one line
    mix: Sequence[Measures] = field(default=(), repr=False)  # of each seed: test rows are read once by each model


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
            diff, diff - half, diff + half, p, first.better_is, first.size, *errors, len(real),
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

    drawn: float64[draws, seeds], the same of each draw of units. A bootstrap of n units has (n − 1) / n of the
    variance of their choice. What single units make of single seeds is in both errors: models whose trainings differ
    much need more seeds, and are never believed too soon.
    """
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if units < 2 or len(drawn) < 2:
        return float("nan"), float("nan")
    of_units = drawn.mean(axis=1).var(ddof=1) * units / (units - 1)
    of_seeds = diffs.var(ddof=1) / len(diffs) if len(diffs) > 1 else 0.0
    return float(np.sqrt(of_units)), float(np.sqrt(of_seeds))


def _interval_of(
    diff: float, errors: tuple[float, float], freedom: tuple[int, int], alpha: float
) -> tuple[float, float]:
    """Half the width of the interval at 1 − alpha, and the two-sided p-value of diff = 0."""
    if not np.isfinite([diff, *errors]).all():
        return float("inf"), 1.0
    low, high = 0.0, 1.0  # p is the level at which the interval ends at zero
    for _ in range(50):
        level = (low + high) / 2
        low, high = (low, level) if _half(errors, freedom, level) < abs(diff) else (level, high)
    return _half(errors, freedom, alpha), high


def _half(errors: tuple[float, float], freedom: tuple[int, int], level: float) -> float:
    """Half the width of the interval at 1 − level.

    The quantile is that of Cochran & Cox (1950): Student's t of each source of chance, weighed by its variance. With
    three seeds, or few users, a normal quantile would be far too short.
    """
    variances = np.square(errors)
    total = variances.sum()
    quantiles = [stdtrit(f, 1 - level / 2) if v else 0.0 for f, v in zip(freedom, variances, strict=True)]
    return float(np.sqrt(total) * (variances @ quantiles) / total) if total else 0.0


def decide(
    comparisons: Mapping[str, Comparison],
    clean: Sequence[str],
    improve: Sequence[str],
    *,
    tolerance: float,
    confidence: float,
    rehearsed: Collection[str] = (),
) -> Verdict:
    """Publish only what is not worse on `clean` and better on at least one of `improve`, worse on none of them.

    Not worse is a non-inferiority test: the whole interval lies above −tolerance, and the estimate above half of that.
    Better is a paired test at `confidence`, Holm-corrected over `improve` (Holm, 1979). A gain on `rehearsed` metrics,
    attacks that samples are made of, is asked for in vain: alone it shows that the test was practised, no more.

    What the test rows cannot answer is left out of `improve`; in `clean`, nothing is published. Where an interval is
    too wide to tell, the reason says how many units would be needed.
    """
    comparisons, rule = dict(comparisons), _Rule(tolerance, 1 - confidence)
    silent = [m for m in clean if not _measured(comparisons, m)]
    asked = {m: comparisons[m] for m in improve if _measured(comparisons, m)}
    harmed = {m: comparisons[m] for m in clean if m not in silent and not rule.spares(comparisons[m])}
    significant = holm({m: c.p for m, c in asked.items()}, rule.alpha)
    worse = {m: asked[m] for m in significant if asked[m].gain() < 0}
    better = {m: asked[m] for m in significant if asked[m].gain() > 0}
    proof = [m for m in better if m not in rehearsed]
    if silent:
        reason = f"not measurable on these test rows: {', '.join(silent)}, of the metrics that must not get worse"
    elif harmed:
        reason = "may be worse on clean data: " + "; ".join(rule.harm(m, c) for m, c in harmed.items())
    elif not asked:
        reason = f"not measurable on these test rows: {', '.join(improve)}, all that is to improve"
    elif worse:
        shown = ", ".join(_interval(m, c) for m, c in worse.items())
        reason = f"worse: {shown}; without {', '.join(worse)} in `improve` it would not matter"
    elif better and not proof:
        shown = ", ".join(_interval(m, c) for m, c in better.items())
        others = {m: c for m, c in asked.items() if m not in rehearsed}
        why = (
            rule.no_gain(others, rule.alpha / (len(asked) - len(better)))
            if others
            else f"let `improve` name another, such as {_another(comparisons, clean, rehearsed)}"
        )
        reason = f"better only on attacks that samples are made of: {shown}; {why}"
    elif not better:
        reason = f"augmentation does not help here: {rule.no_gain(asked, rule.alpha / len(asked))}"
    else:
        reason = "better: " + ", ".join(_interval(m, c) for m, c in better.items())
    return Verdict(bool(proof) and not (silent or harmed or worse), reason, comparisons)


def _measured(comparisons: Mapping[str, Comparison], metric: str) -> bool:
    return metric in comparisons and comparisons[metric].measured


def _another(comparisons: Mapping[str, Comparison], clean: Collection[str], rehearsed: Collection[str]) -> str:
    able = [m for m, c in comparisons.items() if c.measured and m not in clean and m not in rehearsed]
    return " or ".join(able) or "one that they are not"


@dataclass(frozen=True)
class _Rule:
    """The limits of a verdict, and words for which was missed, by how far, and what would meet it."""

    tolerance: float
    alpha: float

    def spares(self, c: Comparison) -> bool:
        return c.gain("worst") >= -self.tolerance and c.gain() >= -self.tolerance / 2

    def harm(self, metric: str, c: Comparison) -> str:
        enough = max(-c.gain("worst"), -2 * c.gain())
        rounded = np.ceil(enough * 1e4) / 1e4
        ways = f"tolerance = {rounded:g} would let it through"
        if c.gain() < -self.tolerance / 2:
            over = f"by {-c.gain() - self.tolerance / 2:.4f} below half the tolerance of {self.tolerance:g}"
        else:
            over = f"reaches {-c.gain('worst') - self.tolerance:.4f} below the tolerance of {self.tolerance:g}"
            ways = f"{_more(c, self.tolerance + c.gain(), self.alpha)}, or {ways}"
        return f"{_interval(metric, c)} {over}; {ways}"

    def no_gain(self, asked: Mapping[str, Comparison], level: float) -> str:
        """level: what the p-value of the best of them may be at most, by Holm's procedure."""
        nearest = max(asked, key=lambda m: (asked[m].gain() > 0, -asked[m].p))
        c, said = asked[nearest], f"no gain on {', '.join(asked)}"
        if c.gain() <= 0:
            return f"{said}: none is above zero, the nearest {_interval(nearest, c)}"
        limit = f"p = {c.p:.2g}, and at most {level:.2g} is asked of the best"
        return f"{said}; the nearest is {_interval(nearest, c)} ({limit}): {_more(c, c.gain(), level)}"


def _more(c: Comparison, room: float, level: float) -> str:
    """What would make half the interval at 1 − level as short as `room`: the units' share shrinks with their root."""
    error = np.hypot(c.units_error, c.seeds_error)
    left = (room / c.half(level) * error) ** 2 - c.seeds_error**2
    if left <= 0:
        return "more `seeds` would tell"
    needed = c.units * c.units_error**2 / left  # attacked ones alone, where an attack is what is measured
    step = 10.0 ** (np.floor(np.log10(needed)) - 1)
    about = f"about {np.ceil(needed / step - 1e-9) * step:,.0f}"  # two digits, rounded up: never fewer than there are
    return f"{about} of the test rows or users that it counts would tell ({c.units:,} now)"


def holm(p_values: Mapping[Name, float], alpha: float) -> list[Name]:
    """Names whose hypothesis Holm's step-down procedure rejects at family-wise level alpha."""
    rejected = []
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > alpha / (len(p_values) - rank):
            break
        rejected.append(name)
    return rejected


def _interval(name: str, c: Comparison) -> str:
    return f"{name} {c.diff:+.4f} [{c.low:+.4f}, {c.high:+.4f}]"
