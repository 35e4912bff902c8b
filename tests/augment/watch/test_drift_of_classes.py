"""Drift of columns that are no plain values: labels of many classes, and pictures."""

import pyarrow as pa
import pytest

from augment.numeric.columns import label_type
from augment.watch.drift import profile, stability


def labelled(*places):
    """Rows of three classes; None is no label."""
    shares = [None if p is None else [float(p == c) for c in range(3)] for p in places]
    return pa.table({"label": pa.array(shares, label_type(multiclass=True))})


def test_labels_of_many_classes_drift_by_class():
    before = profile(labelled(0, 0, 1, 2, None))
    assert before["label"] == pytest.approx({"0": 0.4, "1": 0.2, "2": 0.2, "None": 0.2, "…": 0.0})
    assert stability(before, profile(labelled(0, 0, 1, 2, None)))["label"] == pytest.approx(0)
    assert stability(before, profile(labelled(2, 2, 2, 2, 2)))["label"] > 1


def test_new_pictures_of_the_same_kind_are_no_drift():
    def pictures(size, first):
        return pa.table({"image": pa.array([bytes([first + n]) * (size + n) for n in range(40)], pa.binary())})

    assert stability(profile(pictures(2050, 0)), profile(pictures(2060, 90)))["image"] == pytest.approx(0)
    assert stability(profile(pictures(2050, 0)), profile(pictures(9000, 90)))["image"] > 1
