"""Which known users a new one is like, how that is chosen, and what they say."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.base.errors import Refused
from augment.generation import new_users
from augment.generation.new_users import LIKENESS, Near, Setting, Users, choose, first, made, weighed
from augment.generation.weighted import Stamp
from augment.numeric.histories import ordered
from augment.numeric.new_items import standardised
from augment.numeric.new_users import HAS, said_by, summed
from augment.recipes.schema import NewUsers

STAMP = Stamp("t", "r", "all", 1.0)


def log(users=120, kinds=4, each=25, has=9, seed=0):
    """Users who like one kind of items; a table in the order of time."""
    rng = np.random.default_rng(seed)
    rows = [(f"u{u:03d}", f"k{u % kinds}-{n:02d}") for u in range(users) for n in rng.choice(each, has, replace=False)]
    return pa.table({"user_id": [user for user, _ in rows], "item_id": [item for _, item in rows]})


def test_users_of_few_rows_are_new_the_latest_first():
    train = pa.table({
        "user_id": ["a", "b", "b", "c", "d", "d", "d", "d", "d"],
        "item_id": ["x", "x", "y", "z", "x", "y", "z", "w", "x"],
        "timestamp": [5, 1, 2, 9, 1, 2, 3, 4, 5],
    })  # fmt: skip
    users = Users.of(train, most=2)
    assert users.known.to_pylist() == ["d"]  # who has four items
    assert users.new.to_pylist() == ["c", "a"]
    assert users.fresh.getnnz(axis=1).tolist() == [1, 1]


def test_the_first_items_are_shown():
    history = csr_matrix(np.array([[3, 1, 2, 0], [0, 2, 0, 1]], np.float32))
    shown = first(history, np.array([2, 1])).toarray() > 0
    assert shown.tolist() == [[False, True, True, False], [False, False, False, True]]


@pytest.mark.parametrize("by", LIKENESS)
def test_users_of_the_same_kind_are_near(by):
    train = log()
    users, items = (pa.array(sorted(set(train[name].to_pylist()))) for name in ("user_id", "item_id"))
    history = ordered(train, users, items)
    history.data[:] = 1
    shown = csr_matrix((np.ones(4, np.float32), (np.arange(4), np.arange(4) * 25)), shape=(4, 100))  # one of each kind
    near = LIKENESS[by](shown, history, 6)
    assert near.place.shape == (4, 6)
    for kind, places in enumerate(near.place):
        assert {int(users[place].as_py()[1:]) % 4 for place in places} == {kind}
    assert (np.diff(near.likeness, axis=1) <= 1e-6).all()


def test_in_small_blocks_the_same_are_near(monkeypatch):
    rng = np.random.default_rng(0)
    shown, history = (csr_matrix((rng.random((n, 30)) < 0.2).astype(np.float32)) for n in (7, 40))
    whole = LIKENESS["items"](shown, history, 5)
    monkeypatch.setattr(new_users, "BLOCK", 80)
    np.testing.assert_array_equal(LIKENESS["items"](shown, history, 5).place, whole.place)


def test_weights_sum_to_one_but_of_who_is_like_nobody():
    near = Near(np.array([[2, 0, 1], [1, 2, 0]]), np.array([[0.8, 0.4, 0.2], [0.0, 0.0, 0.0]], np.float32))
    np.testing.assert_allclose(
        weighed(near, Setting("items", 2, 1, 0.0), 4).toarray(), [[1 / 3, 0, 2 / 3, 0], [0] * 4], rtol=1e-5
    )
    np.testing.assert_allclose(weighed(near, Setting("items", 3, 0, 0.0), 4).toarray()[0], [1 / 3] * 3 + [0], rtol=1e-5)


def test_neighbours_beat_a_model_of_own_items_where_users_share_a_kind(monkeypatch):
    train = log(users=200, each=40)
    users = Users.of(train, 10)
    found = choose(users.history, NewUsers(neighbours=40), 0)
    assert found.ndcg > found.alone
    assert found == choose(users.history, NewUsers(neighbours=40), 0)
    assert found.setting.size <= 40
    monkeypatch.setattr(new_users, "ITEMS", 50)  # of 160
    assert choose(users.history, NewUsers(neighbours=40), 0).ndcg != found.ndcg


def test_too_few_known_users_and_neighbours_that_do_not_help_are_refused(monkeypatch):
    with pytest.raises(Refused, match=r"40 users .* more than 3 interactions; at least 50"):
        next(made(STAMP, NewUsers(), None, log(users=40), 0))
    train = pa.concat_tables([log(), pa.table({"user_id": ["new"], "item_id": ["k0-01"]})])
    monkeypatch.setattr(new_users, "summed", lambda weights, history, scores: np.zeros((weights.shape[0], 100)))
    monkeypatch.setattr(new_users, "OWNS", (0.0,))
    with pytest.raises(Refused, match="no better with neighbours"):
        next(made(STAMP, NewUsers(), None, train, 0))


def test_what_neighbours_say_is_their_scores_and_what_they_have(monkeypatch):
    rng = np.random.default_rng(0)
    scores, has = rng.standard_normal((5, 6)).astype(np.float32), rng.random((5, 6)) < 0.3
    history = csr_matrix(7 * has.astype(np.float32))  # whatever the entry says, it is one
    weights = csr_matrix(np.array([[0, 0.25, 0, 0.75, 0], [1, 0, 0, 0, 0]], np.float32))
    said = standardised(scores) + HAS * has
    np.testing.assert_allclose(said_by(scores, history), said, rtol=1e-5)
    expected = np.array([0.25 * said[1] + 0.75 * said[3], said[0]])
    asked = []
    monkeypatch.setattr("augment.numeric.new_users.USERS", 2)
    found = summed(weights, history, lambda users: asked.append(users.tolist()) or scores[users])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert asked == [[0, 1], [3]]  # nobody else is asked
