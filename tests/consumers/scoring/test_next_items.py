import numpy as np
import pytest

from augment.numeric.sequences import Sequences
from consumers.scoring import next_items
from consumers.scoring.next_items import Asked, found


def made(*lists):
    return Sequences.joined([np.array(one, np.int64) for one in lists])


def asked(*pairs, hide=False):
    shown, target, user = zip(*pairs, strict=True)
    return Asked(made(*shown), np.array(target), np.array(user), hide)


def fixed(*values):
    row = np.array(values, np.float32)
    return lambda shown: np.tile(row, (len(shown), 1))


def test_what_is_asked_has_something_before_it_and_users_without_a_gap():
    every = made([4, 5, 6], [7], [8, 9])
    questions = Asked.of(every, np.array([True, False, True, True, False, True]), hide=False)
    assert [one.tolist() for one in questions.shown] == [[4, 5], [8]]
    assert questions.target.tolist() == [6, 9]
    assert questions.user.tolist() == [0, 1]
    assert questions.take(np.array([1])).user.tolist() == [0]


def test_ranks_are_over_all_items_and_in_the_middle_of_ties():
    questions = asked(([0], 1, 0), ([0], 3, 0), ([2], 2, 1))
    assert found(fixed(0.9, 0.5, 0.5, 0.1), questions).rank.tolist() == [2.5, 4, 2.5]


def test_what_a_user_had_is_hidden_where_nothing_is_repeated():
    questions = asked(([0, 1], 3, 0), ([0], 0, 0), hide=True)
    result = found(fixed(0.9, 0.5, 0.3, 0.1), questions)
    assert result.rank.tolist() == [2, np.inf]
    assert result.ndcg.tolist() == pytest.approx([1 / np.log2(3), 0])
    assert questions.repeats.tolist() == [False, True]


def test_users_count_alike_however_many_questions_they_bring():
    values, user = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0, 0, 0, 1])
    assert next_items.by_user(values, user).tolist() == pytest.approx([1 / 3, 1])
    assert next_items.by_user(values, user, np.array([True, False, False, False])).tolist() == [1]


def test_slices_are_of_rare_targets_and_of_short_histories():
    many = 30
    questions = asked(([0, 1, 2, 3], 0, 0), ([0], many - 1, 1))
    scores = fixed(*range(many))  # the last is the best
    measures = next_items.measures(found(scores, questions), questions, np.arange(many, 0, -1.0))
    assert measures["tail_recall@20"].value() == 1  # item 29 is rare, and found
    assert measures["short_recall@20"].value() == 1
    assert measures["recall@20"].value() == 0.5
    assert measures["coverage"].value() == pytest.approx(20 / many)
    assert measures["coverage"].size == measures["ndcg@20"].size == 2
    assert measures["mean_popularity"].value() == pytest.approx(np.arange(1, 21).mean() / np.arange(1, 31).mean())


def test_attacks_change_what_is_shown_as_they_say():
    shown, popularity = made([1, 2, 3, 4, 5, 6, 7], [8]), np.array([0.0] * 9 + [1.0])
    rng = np.random.default_rng(0)
    assert [one.tolist() for one in next_items.misclicks(shown, popularity, rng)] == [
        [1, 2, 3, 4, 5, 6, 7, 9, 9],
        [8, 9, 9],
    ]
    assert [one.tolist() for one in next_items.dropped(shown, popularity, rng)] == [[1, 2, 3, 4, 5, 6], [8]]
    first, second = next_items.shuffled(shown, popularity, rng)
    assert first[:2].tolist() == [1, 2]
    assert sorted(first[2:].tolist()) == [3, 4, 5, 6, 7] != first[2:].tolist()
    assert second.tolist() == [8]
