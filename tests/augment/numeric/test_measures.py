import numpy as np
import pytest
from sklearn import metrics as sk

from augment.numeric.measures import Auc, CalibrationError, Clustered, MacroF1, Mean


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500).astype(float)
    score = np.round(np.clip(0.3 * label + rng.random(500) * 0.7, 0, 1), 2)  # rounding makes ties
    return label, score, rng.integers(0, 4, 500).astype(float)


def test_auc_agrees_with_scikit_learn_with_ties_and_weights(scored):
    label, score, weights = scored
    assert Auc(label, score).value() == pytest.approx(sk.roc_auc_score(label, score))
    assert Auc(label, score).value(weights) == pytest.approx(sk.roc_auc_score(label, score, sample_weight=weights))


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(Auc(np.ones(3), np.arange(3.0)).value())
    assert np.isnan(Auc(np.empty(0), np.empty(0)).value())


def test_macro_f1_agrees_with_scikit_learn(scored):
    label, score, weights = scored
    predicted = (score > 0.5).astype(float)
    expected = sk.f1_score(label, predicted, average="macro", sample_weight=weights)
    assert MacroF1(label, predicted).value(weights) == pytest.approx(expected)


def test_calibration_error_is_zero_for_a_perfectly_calibrated_bin_and_counts_gaps():
    label = np.array([0.0, 1.0, 1.0, 1.0])
    assert CalibrationError(label, np.full(4, 0.75)).value() == pytest.approx(0)
    assert CalibrationError(label, np.full(4, 0.25)).value() == pytest.approx(0.5)


def test_weights_count_units():
    assert Mean(np.array([1.0, 3.0])).value(np.array([3.0, 1.0])) == pytest.approx(1.5)


@pytest.mark.parametrize("kind", [Auc, CalibrationError, MacroF1])
def test_a_draw_of_clusters_is_a_draw_of_their_rows(scored, kind):
    label, score, _ = scored
    user = np.random.default_rng(1).integers(0, 40, len(label))
    score = (score > 0.5).astype(float) if kind is MacroF1 else score
    drawn = Clustered(kind(label, score), user)
    times = np.random.default_rng(2).integers(0, 3, 40)
    rows = np.repeat(np.arange(len(label)), times[user])
    assert drawn.size == 40
    assert drawn.value() == kind(label, score).value()
    assert drawn.value(times.astype(float)) == pytest.approx(kind(label[rows], score[rows]).value())


@pytest.mark.parametrize("kind", [Auc, CalibrationError, MacroF1])
def test_no_rows_and_an_empty_draw_are_not_a_number(kind):
    empty = kind(np.empty(0), np.empty(0))
    assert np.isnan(empty.value())
    assert np.isnan(Clustered(empty, np.empty(0, np.int64)).value())
    assert np.isnan(kind(np.array([0.0, 1.0]), np.array([0.0, 1.0])).value(np.zeros(2)))


def test_macro_f1_of_one_class_is_not_a_number():
    assert np.isnan(MacroF1(np.ones(3), np.ones(3)).value())
