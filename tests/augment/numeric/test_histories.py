import datetime

import numpy as np
import pyarrow as pa
import pytest

from augment.numeric.histories import binary, latest, minus, ordered, recent, together

USERS, ITEMS = pa.array(["a", "b"]), pa.array(["w", "x", "y", "z"])


def log(users, items, **times):
    return pa.table({"user_id": list(users), "item_id": list(items), **times})


def places(rows):
    return ordered(rows, USERS, ITEMS).toarray().astype(int).tolist()


@pytest.mark.parametrize(
    "moments",
    [
        [50, 40, 30, 20, 10],
        [5e9, 4e9, 3.5, 2.5, -1.0],
        [datetime.datetime(2024, 1, day) for day in (5, 4, 3, 2, 1)],
        [datetime.date(2024, 1, day) for day in (5, 4, 3, 2, 1)],
    ],
    ids=["whole numbers", "fractions", "times", "dates"],
)
def test_times_tell_the_order_however_they_are_written(moments):
    rows = log("aabab", "wxyzx", timestamp=moments)
    assert places(rows) == [[3, 2, 0, 1], [0, 1, 2, 0]]  # w at the latest, x before it, z first


def test_without_times_a_position_tells_the_order_and_else_the_rows():
    assert places(log("aaa", "xyz", position=[3, 1, 2])) == [[0, 3, 1, 2], [0, 0, 0, 0]]
    assert places(log("aaa", "xyz")) == [[0, 1, 2, 3], [0, 0, 0, 0]]


def test_equal_times_go_by_rows_and_a_missing_time_is_the_earliest():
    assert places(log("aaaa", "zyxw", timestamp=[7, 7, None, 7])) == [[4, 1, 3, 2], [0, 0, 0, 0]]


def test_an_item_met_again_counts_at_its_latest_time_and_strangers_are_left_out():
    assert places(log("aaaca", "xyxwq", timestamp=[1, 2, 3, 4, 5])) == [[0, 2, 1, 0], [0, 0, 0, 0]]


def test_validation_rows_come_at_their_own_times_and_else_after_training():
    train, valid = log("aa", "wx", timestamp=[1, 3]), log("aa", "yz", timestamp=[2, 4])
    assert places(together(train, valid))[0] == [1, 3, 2, 4]
    assert places(together(train, log("aa", "yz")))[0] == [1, 2, 3, 4]


def test_weights_fall_with_the_rank_from_the_last():
    history = ordered(log("aaab", "wxyz", timestamp=[1, 2, 3, 9]), USERS, ITEMS)
    expected = [[0.2 + 0.8 * np.exp(-2 / 4), 0.2 + 0.8 * np.exp(-1 / 4), 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(recent(history, 4.0, 0.2).toarray(), expected, rtol=1e-6)
    np.testing.assert_array_equal(recent(history, 0.0, 0.0).toarray(), history.toarray() > 0)
    # What is taken out of a history ages nothing that is left.
    left = minus(history, binary(ordered(log("a", "y"), USERS, ITEMS)))
    np.testing.assert_allclose(recent(left, 4.0, 0.0).toarray()[0], [np.exp(-1 / 4), 1, 0, 0], rtol=1e-6)


def test_of_entries_that_meet_the_latest_stays():
    place = np.array([0, 0, 1]), np.array([1, 1, 2]), np.array([2, 5, 1])
    assert latest(*place, (2, 4)).toarray().tolist() == [[0, 5, 0, 0], [0, 0, 1, 0]]
    assert latest(*(part[:0] for part in place), (2, 4)).nnz == 0
