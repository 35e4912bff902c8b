import gc
import itertools
import weakref

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from augment.numeric import measures
from consumers.rankers import Rows, tuning
from consumers.rankers.base import ByItems, Recency
from consumers.scoring import ranking


class Matrix(np.ndarray):
    """One that says when it is let go."""


class Known(ByItems):
    """A ranker whose l2 chooses one of the `found` item-to-item matrices."""

    name = "known"
    grid = (0.0, 1.0, 2.0, 3.0, 4.0)

    def __init__(self, found, **options):
        super().__init__(Recency(**{"recency": 0.0, **options}))
        self.found, self.made, self.alive, self.most = found, [], [], 0

    def fit(self, rows, l2s):
        return map(self._one, l2s)

    def _one(self, l2):
        gc.collect()
        self.most = max(self.most, 1 + sum(one() is not None for one in self.alive))
        items = self.found[int(l2)].copy().view(Matrix)
        self.made.append(l2)
        self.alive.append(weakref.ref(items))
        return {"items": items}


def task(items=60, users=50, seed=0):
    """Histories, what is wanted, and item-to-item matrices from noise to what finds everything."""
    rng = np.random.default_rng(seed)
    places = 1 + rng.permuted(np.tile(np.arange(items), (users, 1)), axis=1)
    order = csr_matrix(np.where(rng.random((users, items)) < 0.1, places, 0).astype(np.float32))
    wanted = csr_matrix((rng.random((users, items)) < 0.05).astype(np.float32))
    wanted = csr_matrix(wanted - wanted.multiply(order > 0))
    wanted.eliminate_zeros()
    inputs = order > 0
    rows = Rows(users, inputs, inputs, order, np.ones(users), np.ones(items, np.float32))
    truth, noise = (order > 0).T @ wanted, rng.random((len(Known.grid), items, items))
    return rows, order, wanted, [(share * truth.toarray() + one).astype(np.float32)
                                 for share, one in zip((0.0, 0.2, 0.5, 0.45, 0.1), noise, strict=True)]  # fmt: skip


def worth(ranker, order, wanted, recency):
    """The rule as it is told, on all states at once: (NDCG, tail recall) of each l2."""
    users = np.flatnonzero(wanted.getnnz(axis=1))
    for items in ranker.found:
        lists = ranking.top(tuning.scored(ranker, {"items": items}, order, recency, users), order[users], ranking.K)
        hit = ranking.hits(lists, wanted[users])
        tail = ranking.rare_recall(lists, hit, wanted[users], ranking.rare(order, ranking.TAIL))
        yield measures.ndcg(hit, wanted[users].getnnz(axis=1)).mean(), tail.mean()


@pytest.mark.parametrize("seed", range(4))
def test_the_recency_that_finds_best_what_is_wanted_is_chosen(seed):
    rows, order, wanted, found = task(seed=seed)
    ranker, users = Known(found[2:3], recency=-1.0), np.flatnonzero(wanted.getnnz(axis=1))
    recencies, state = tuning._recencies(ranker.options), {"items": found[2]}
    assert len(recencies) == 17
    each = ranker.by_recency(state, order[users], recencies, users)
    for one, scores in zip(recencies, each, strict=True):
        assert np.allclose(scores, tuning.scored(ranker, state, order, one, users), rtol=1e-4, atol=1e-5)
    worths = [next(worth(ranker, order, wanted, one))[0] for one in recencies]
    best = tuning.best(ranker, rows, 0.0, order, wanted)
    assert worths[recencies.index(best.recency)] == pytest.approx(max(worths), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("recency", [{}, {"recency": 3.0, "recency_floor": 0.1}], ids=["alike", "recent"])
def test_of_those_near_the_best_the_one_that_finds_most_of_the_tail(seed, recency):
    rows, order, wanted, found = task(seed=seed)
    ranker = Known(found, **recency)
    best = tuning.best(ranker, rows, -1, order, wanted)
    scores = list(worth(ranker, order, wanted, best.recency))
    enough = tuning.NEAR_BEST * max(ndcg for ndcg, _ in scores)
    expected = max((i for i, (ndcg, _) in enumerate(scores) if ndcg >= enough), key=lambda i: scores[i][1])
    assert best.l2 == expected
    np.testing.assert_array_equal(best.state["items"], found[expected])


def test_whatever_the_order_the_one_to_be_chosen_is_kept():
    """Every order of settings with every pattern of worth: what is let go is never what is chosen in the end."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        levels = rng.choice([0.9, 0.97, 0.98, 0.99, 1.0], 4), rng.choice([0.1, 0.2, 0.3], 4)
        worths = dict(enumerate(zip(*levels, strict=True)))
        near = [i for i in worths if worths[i][0] >= tuning.NEAR_BEST * max(levels[0])]
        expected = max(near, key=lambda i: (worths[i][1], -i))
        for order in itertools.permutations(worths):
            kept, found = set(), {}
            for i in order:
                found[i] = worths[i]
                kept = {*kept, i} & set(tuning._hopeful(found))
            assert expected in kept
            assert tuning._hopeful(found)[0] == expected


def test_states_that_cannot_be_chosen_are_let_go_and_none_is_made_twice():
    rows, order, wanted, found = task()
    better = [found[0] + share * (found[2] - found[0]) for share in (0, 0.25, 1, 0.5, 0.1)]  # the middle is the best
    ranker = Known(better)
    best = tuning.best(ranker, rows, -1, order, wanted)
    assert (best.l2, ranker.made) == (2.0, [2.0, 1.0, 3.0])  # those beyond have lost
    assert ranker.most == 2  # the one kept, and the one that is looked at


@pytest.mark.parametrize("top", range(5))
def test_a_side_is_tried_until_it_has_lost(top):
    """Wherever the best is: on the way to it nothing is left out."""
    rows, order, wanted, found = task(seed=top)
    curve = [found[0] + 0.8 ** abs(top - i) * (found[2] - found[0]) for i in range(5)]
    ranker = Known(curve)
    ndcg = [value for value, _ in worth(ranker, order, wanted, tuning.OFF)]
    best = tuning.best(ranker, rows, -1, order, wanted)
    assert top in ranker.made
    assert best.l2 in ranker.made
    assert all(ndcg[int(l2)] < tuning.NEAR_BEST * max(ndcg) for l2 in set(ranker.grid) - set(ranker.made))


def test_where_users_are_many_some_choose(monkeypatch):
    few, every = [], []
    recency, worth = tuning._recency, tuning._worth
    monkeypatch.setattr(tuning, "_recency", lambda *given: few.append(given[-1]) or recency(*given))
    monkeypatch.setattr(tuning, "_worth", lambda *given: every.append(given[-1]) or worth(*given))
    monkeypatch.setattr(tuning, "SOME", 20)
    rows, order, wanted, found = task()
    users = np.flatnonzero(wanted.getnnz(axis=1))
    assert len(users) > 20
    ranker = Known(found, recency=-1)
    best = tuning.best(ranker, rows, -1, order, wanted)
    assert len(few) == 1
    assert 10 <= len(few[0]) <= 20
    assert set(few[0]) < set(users)
    assert len(every) == len(ranker.made)
    assert all(np.array_equal(some, few[0]) for some in every)
    recencies = tuning._recencies(Recency())
    assert len(recencies) == 17  # all alike, and every pair of a recency and a floor
    worths = [worth(Known(found), {"items": found[2]}, order, one, wanted, few[0])[0] for one in recencies]
    assert best.recency == recencies[int(np.argmax(worths))]


def test_what_is_set_is_not_tried():
    rows, order, wanted, found = task()
    ranker = Known(found)
    best = tuning.best(ranker, rows, 4.0, order, wanted[:, :0])
    assert (best.l2, best.recency, ranker.made) == (4.0, tuning.OFF, [4.0])
