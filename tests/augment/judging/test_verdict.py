import re

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from augment.judging.verdict import Comparison, compare, decide, holm
from augment.numeric.measures import Auc, Clustered, Mean
from consumers.scoring.ranking import Coverage


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


def excluded(users, per_user, seeds, by_seed, trials=250):
    """Share of intervals that exclude zero when arms differ by noise per user, and by chance of training."""
    hits = 0
    for trial in range(trials):
        rng = np.random.default_rng([trial, users])
        user = np.repeat(np.arange(users), per_user)
        true = rng.standard_normal(users)[user] + rng.standard_normal(len(user))
        label = (rng.random(len(user)) < 1 / (1 + np.exp(-true))).astype(float)

        def arm():
            own = true + 0.5 * rng.standard_normal(users)[user]  # noqa: B023
            luck = by_seed * rng.lognormal(0, 0.5, seeds)  # noqa: B023
            noise = [one * rng.standard_normal(len(user)) for one in luck]  # noqa: B023
            return [{"auc": Clustered(Auc(label, own + one), user)} for one in noise]  # noqa: B023

        real, mix = arm(), arm()
        c = compare(real, mix, real, "same", draws=100, confidence=0.95, seed=trial)["auc"]
        assert (c.p < 0.05) == (c.low > 0 or c.high < 0)
        hits += c.p < 0.05
    return hits / trials


@pytest.mark.parametrize(("users", "per_user", "seeds", "by_seed"), [(300, 1, 1, 0), (50, 40, 1, 0), (30, 10, 3, 1)])
def test_at_most_a_twentieth_of_null_differences_is_called_significant(users, per_user, seeds, by_seed):
    """The spread of 250 trials is 1.4%. (scripts/bench/false_positives.py has many more cases.)"""
    assert excluded(users, per_user, seeds, by_seed) <= 0.05 + 2 * 0.014


def test_rows_of_few_users_taken_for_evidence_of_their_own_mislead():
    """What clusters are for: the same rows, drawn one by one, have an interval far too short."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(50), 40)
    before = Mean(np.zeros(2000))
    after = Mean(rng.standard_normal(50)[user])
    widths = []
    for wrap in (lambda m: m, lambda m: Clustered(m, user)):
        arms = [[{"m": wrap(m)}] for m in (before, after)]
        c = compare(*arms, arms[0], "same", draws=200, confidence=0.95, seed=0)["m"]
        widths.append(c.high - c.low)
    assert widths[1] == pytest.approx(widths[0] * 40**0.5, rel=0.2)


def test_the_chance_of_training_widens_the_interval_and_few_seeds_do_much():
    units = np.random.default_rng(0).random(400)

    def width(seeds):
        real = [{"m": Mean(units)}] * seeds
        mix = [{"m": Mean(units + 0.01 * (-1) ** s)} for s in range(seeds)]  # trainings differ by .02
        c = compare(real, mix, real, "same", draws=100, confidence=0.95, seed=0)["m"]
        assert c.units_error == pytest.approx(0, abs=1e-9)
        return c.high - c.low

    assert width(2) == pytest.approx(2 * 12.706 * 0.01, rel=1e-3)  # Student's t of one degree of freedom
    assert width(6) == pytest.approx(2 * 2.571 * 0.01 / 5**0.5, rel=1e-3)


NOTHING = [Auc(np.ones(5), np.arange(5.0)), Mean(np.empty(0)), Clustered(Mean(np.ones(4)), np.zeros(4, np.int64))]


@pytest.mark.parametrize("nothing", NOTHING, ids=["one class", "no rows", "one user"])
def test_what_cannot_be_measured_ends_nothing(nothing):
    real, mix = arms(0.05)
    real, mix = ([{**one, "none": nothing} for one in arm] for arm in (real, mix))
    found = compare(real, mix, real, "same", draws=100, confidence=0.95, seed=0)
    assert not found["none"].measured
    rule = {"tolerance": 0.01, "confidence": 0.95}
    assert decide(found, ["m"], ["none", "m", "of no consumer"], **rule).accepted
    for clean, improve in ((["m", "none"], ["m"]), (["m"], ["none"])):
        verdict = decide(found, clean, improve, **rule)
        assert not verdict.accepted
        assert "not measurable on these test rows: none" in verdict.reason


def comparison(diff, half, units_error=None, seeds_error=0.0, p=None, better_is="higher"):
    p = p if p is not None else (0.001 if abs(diff) > half else 0.5)
    error = half / stdtrit(99, 0.975) if units_error is None else units_error
    return Comparison(
        0.7, 0.7 + diff, 0.7, "plain", diff, diff - half, diff + half, p, better_is, 100, error, seeds_error,
        seeds=3 if seeds_error else 1,
    )  # fmt: skip


def reason(clean, improve, rehearsed=(), tolerance=0.002):
    found = {f"c{i}": c for i, c in enumerate(clean)} | {f"i{i}": c for i, c in enumerate(improve)}
    names = [[n for n in found if n[0] == kind] for kind in "ci"]
    verdict = decide(found, *names, tolerance=tolerance, confidence=0.95, rehearsed=rehearsed)
    return "" if verdict.accepted else verdict.reason


GAIN = comparison(0.01, 0.005)


def test_a_refusal_says_which_limit_by_how_far_and_what_would_let_it_through():
    assert not reason([comparison(0.0, 0.001)], [GAIN])
    wide = reason([comparison(0.0, 0.004)], [GAIN])
    assert "c0 +0.0000 [-0.0040, +0.0040] reaches 0.0020 below the tolerance of 0.002" in wide
    assert "about 400 of the test rows or users that it counts would tell (100 now)" in wide  # half as wide: four times
    assert "tolerance = 0.004 would let it through" in wide
    assert not reason([comparison(0.0, 0.004)], [GAIN], tolerance=0.004)
    lower = reason([comparison(0.0, 0.004, better_is="lower")], [GAIN])
    assert "reaches 0.0020 below" in lower


def test_the_estimate_itself_may_fall_by_half_the_tolerance_only():
    harmed = reason([comparison(-0.0015, 0.0001)], [GAIN])
    assert "by 0.0005 below half the tolerance of 0.002" in harmed
    assert "tolerance = 0.003 would" in harmed
    assert "test rows" not in harmed  # it is told already
    assert not reason([comparison(-0.0015, 0.0001)], [GAIN], tolerance=0.003)


def test_where_trainings_differ_more_than_units_more_seeds_are_asked_for():
    assert "more `seeds` would tell" in reason([comparison(0.0, 0.008, 0.0005, 0.002)], [GAIN])


def test_no_gain_says_what_was_nearest():
    said = reason([], [comparison(0.004, 0.008, p=0.3), comparison(-0.01, 0.02)])
    assert "no gain on i0, i1; the nearest is i0 +0.0040" in said
    assert "p = 0.3, and at most 0.025 is asked" in said
    assert "about 530 of the test rows" in said  # 400 were it alone: half as wide at level .025, not at .05
    assert "none is above zero" in reason([], [comparison(-0.01, 0.02)])


@pytest.mark.parametrize("others", [0, 1, 4])
@pytest.mark.parametrize("better_is", ["higher", "lower"])
def test_the_rows_that_would_tell_are_more_than_there_are_and_do_tell(others, better_is):
    """Beyond its own interval, within that of the level which several metrics ask of the best."""
    gain, error = 0.0021 * (1 if better_is == "higher" else -1), 0.001
    half = error * stdtrit(99, 0.975)
    p = 2 * stdtr(99, -0.0021 / error)
    near = comparison(gain, half, error, p=p, better_is=better_is)
    said = reason([], [near, *[comparison(0.0, 0.01, better_is=better_is)] * others])
    if not others:
        assert said == ""  # significant by itself
        return
    needed = int(re.search(r"about ([\d,]+) of", said)[1].replace(",", ""))
    assert needed > 100
    level = 0.05 / (1 + others)
    assert error * (100 / needed) ** 0.5 * stdtrit(99, 1 - level / 2) <= 0.0021
    assert error * (100 / (0.9 * needed)) ** 0.5 * stdtrit(99, 1 - level / 2) > 0.0021


def test_a_gain_on_what_samples_are_made_of_publishes_nothing_by_itself():
    flat = comparison(0.0, 0.01)
    alone = reason([], [GAIN, flat], rehearsed=["i0"])
    assert alone.startswith("better only on attacks that samples are made of: i0")
    assert "no gain on i1" in alone
    near = reason([], [GAIN, comparison(0.004, 0.008, p=0.3), flat], rehearsed=["i0"])
    assert "at most 0.025 is asked" in near  # one of three is better: Holm asks the next for half, not for a third
    assert "another" in reason([], [GAIN], rehearsed=["i0"])
    assert not reason([], [GAIN, GAIN], rehearsed=["i0"])
    assert "worse" in reason([], [comparison(-0.01, 0.005), GAIN], rehearsed=["i0"])


def test_holm_steps_down_and_stops_at_the_first_failure():
    assert holm({"a": 0.01, "b": 0.02, "c": 0.5}, 0.05) == ["a", "b"]
    assert holm({"a": 0.03, "b": 0.03}, 0.05) == []
