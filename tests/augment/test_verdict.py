import numpy as np
import pytest

from augment.measures import Auc, Mean
from augment.verdict import compare, decide, holm
from consumers.ranking import Coverage


def arms(gain, noise=0.1, n=400, seeds=3, better_is="higher"):
    rng = np.random.default_rng(1)
    before = rng.random(n)
    real = [{"m": Mean(before, better_is)} for _ in range(seeds)]
    mix = [{"m": Mean(before + gain + noise * rng.standard_normal(n), better_is)} for _ in range(seeds)]
    return real, mix


def judged(gain, *, better_is="higher", clean=(), improve=("m",), **kwargs):
    real, mix = arms(gain, better_is=better_is, **kwargs)
    comparisons = compare(real, mix, real, "same", draws=300, confidence=0.95, seed=0)
    return decide(comparisons, clean, improve, tolerance=0.01, confidence=0.95)


def test_a_clear_gain_is_accepted_and_its_interval_covers_it():
    verdict = judged(0.05)
    assert verdict.accepted
    comparison = verdict.comparisons["m"]
    assert comparison.low < 0.05 < comparison.high
    assert comparison.low > 0


def test_no_gain_is_said_plainly():
    verdict = judged(0.0)
    assert not verdict.accepted
    assert "does not help" in verdict.reason


def test_harm_on_clean_data_refuses_whatever_else_improved():
    verdict = judged(-0.05, clean=("m",), improve=())
    assert not verdict.accepted
    assert "worse on clean" in verdict.reason


def test_an_interval_too_wide_to_exclude_harm_refuses():
    verdict = judged(0.0, noise=2.0, clean=("m",), improve=())
    assert not verdict.accepted


def test_lower_is_better_turns_the_sign():
    assert judged(-0.05, better_is="lower").accepted
    assert not judged(0.05, better_is="lower").accepted


def test_units_are_paired():
    """Two arms that differ by a constant have a zero-width interval, however much the units vary."""
    rng = np.random.default_rng(0)
    before = 10 * rng.random(200)
    comparison = compare([{"m": Mean(before)}], [{"m": Mean(before + 1)}], [{"m": Mean(before)}], "same",
                         draws=100, confidence=0.95, seed=0)["m"]  # fmt: skip
    assert (comparison.low, comparison.high) == pytest.approx((1, 1))


def test_the_interval_of_a_count_of_distinct_things_surrounds_its_difference():
    rng = np.random.default_rng(0)
    few, many = (Coverage(rng.integers(0, items, (300, 5)), 1000) for items in (400, 900))
    comparison = compare([{"c": few}], [{"c": many}], [{"c": few}], "same", draws=200, confidence=0.95, seed=0)["c"]
    assert comparison.low < comparison.diff < comparison.high


def test_coverage_of_the_interval_is_near_nominal():
    """With no true difference, about 5% of 95% intervals exclude zero."""
    rng = np.random.default_rng(3)
    excluded = 0
    for _ in range(200):
        label = rng.integers(0, 2, 120).astype(float)
        scores = [label * 0.5 + rng.standard_normal(120) for _ in range(2)]
        first, second = ([{"auc": Auc(label, s)}] for s in scores)
        c = compare(first, second, first, "same", draws=100, confidence=0.95, seed=0)["auc"]
        excluded += c.low > 0 or c.high < 0
    assert excluded / 200 < 0.12


def test_holm_steps_down_and_stops_at_the_first_failure():
    assert holm({"a": 0.01, "b": 0.02, "c": 0.5}, 0.05) == ["a", "b"]
    assert holm({"a": 0.03, "b": 0.03}, 0.05) == []
