import numpy as np
import pyarrow as pa
import pytest

from augment.numeric.sequences import Sequences

USERS, ITEMS = pa.array(["u", "v"]), pa.array(["a", "b", "c"])


def made(*lists):
    return Sequences.joined([np.array(one, np.int64) for one in lists])


def lists(sequences):
    return [one.tolist() for one in sequences]


def test_each_user_in_order_of_time_with_repeats_and_later_rows_later():
    rows = pa.table({
        "user_id": ["u", "v", "u", "u", "w", "u", "v"],
        "item_id": ["c", "a", "a", "b", "a", "c", "x"],
        "timestamp": [5, 1, 1, 5, 1, 9, 0],
    })  # fmt: skip
    assert lists(Sequences.of(rows, USERS, ITEMS)) == [[0, 2, 1, 2], [0]]


def test_lists_leave_out_what_is_not_known_and_keep_their_order():
    column = pa.array([["b", "x", "a", "b"], [], ["c"]], pa.list_(pa.string()))
    assert lists(Sequences.lists(column, ITEMS)) == [[1, 0, 1], [], [2]]


def test_parts_of_sequences():
    found = made([4, 5, 6], [], [7, 8])
    assert lists(found.take(np.array([2, 0, 2]))) == [[7, 8], [4, 5, 6], [7, 8]]
    assert lists(found.last(2)) == [[5, 6], [], [7, 8]]
    assert lists(found.kept(found.items % 2 == 0)) == [[4, 6], [], [8]]
    assert found.ages.tolist() == [2, 1, 0, 1, 0]
    assert len(found) == 3
    assert len(Sequences.joined([])) == 0


def test_what_came_before_each_item():
    found = made([4, 5, 6], [], [7, 8])
    assert lists(found.before(np.array([True, False, True, False, True]))) == [[], [4, 5], [7]]


def test_the_latest_item_weighs_most_and_repeats_add_up():
    matrix = made([0, 1, 0], [2]).matrix(3, tau=2.0).toarray()
    assert matrix[0] == pytest.approx([1 + np.exp(-1), np.exp(-0.5), 0])
    assert matrix[1] == pytest.approx([0, 0, 1])
    assert made([0, 1, 0], [2]).matrix(3).toarray().tolist() == [[2, 1, 0], [0, 0, 1]]
    assert made([1, *[0] * 10]).matrix(2, tau=1.0).toarray()[0, 1] == 0  # too old to count
