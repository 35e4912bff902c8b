import numpy as np
import pytest

from augment.numeric.measures import Auc
from consumers.data import target_statistics
from consumers.data.target_statistics import FOLDS, STRENGTHS, WIDTH, assigned, fit, of_copies


def log_odds(p):
    return np.log(p / (1 - p))


def test_statistics_are_smoothed_log_odds_and_counts_by_hand():
    codes = np.array([[1], [1], [1], [2], [2], [0]])
    label = np.array([1.0, 1.0, 0.5, 0.0, 1.0, 0.0])
    table = fit(codes, [4], label, np.array([1, 2, 3, 4, 5, 1]))[0]
    prior = 3.5 / 6
    expected = np.array(
        [
            [log_odds((clicks + a * prior) / (rows + a)) - log_odds(prior) for a in STRENGTHS] + [np.log1p(rows)]
            for rows, clicks in [(0, 0), (3, 2.5), (2, 1), (0, 0)]  # code 0 is unknown: its own row says nothing of it
        ]
    )
    seen = expected[codes[:, 0]]
    expected = np.clip((expected - seen.mean(axis=0)) / seen.std(axis=0), -3, 3)
    np.testing.assert_allclose(table, expected, rtol=1e-5)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table[3], table[0])  # a value without rows is as good as unknown


def test_each_fold_reads_the_other_folds_alone():
    rng = np.random.default_rng(0)
    codes, label = rng.integers(0, 7, (300, 2)), rng.integers(0, 2, 300).astype(float)
    fold = assigned(300, 1)
    tables = fit(codes, [7, 7], label, fold)
    assert tables.shape == (1 + FOLDS, 14, WIDTH)
    for k in range(1, FOLDS + 1):
        mine = np.flatnonzero(fold == k)
        other = label.copy()
        other[mine] = label[mine[::-1]]  # the same labels, dealt out otherwise: the overall rate stays
        again = fit(codes, [7, 7], other, fold)
        rates, moved = ((t[k, :7, 0] - t[k, 0, 0]) / np.ptp(t[k, :7, 0]) for t in (tables, again))
        np.testing.assert_allclose(rates, moved, atol=1e-4)  # all but the scale, which all rows set together
        assert np.abs(tables[0] - again[0]).max() > 0.01


def test_out_of_fold_statistics_do_not_tell_a_rows_own_label():
    """Labels by chance and as many values as rows: what a row reads of itself would be its label."""
    rng = np.random.default_rng(0)
    codes, label = rng.integers(1, 1000, (4000, 1)), rng.integers(0, 2, 4000).astype(float)
    fold = assigned(4000, 0)
    tables = fit(codes, [1000], label, fold)
    leaky, honest = tables[0, codes[:, 0], 0], tables[fold, codes[:, 0], 0]
    assert Auc(label, leaky).value() > 0.7
    assert abs(Auc(label, honest).value() - 0.5) < 0.06


def test_folds_are_even_and_copies_follow_their_anchors():
    fold = assigned(23, 5)
    assert sorted(np.bincount(fold)[1:]) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(fold, assigned(23, 5))
    np.testing.assert_array_equal(of_copies(fold, np.array([4, -1, 0])), [fold[4], 0, fold[0]])


@pytest.mark.parametrize("label", [np.zeros(20), np.ones(20)])
def test_one_label_and_one_value_give_finite_numbers(label):
    tables = fit(np.ones((20, 1), np.int64), [2], label, assigned(20, 0))
    assert np.isfinite(tables).all()
    assert np.abs(tables).max() <= target_statistics.FARTHEST
