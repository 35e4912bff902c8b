import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack

from augment.numeric.histories import binary
from consumers.data.interactions import Synthetic
from consumers.rankers import RANKERS, Rows, als

UNOBSERVED = 0.1


def rows(order, weights=None, synthetic=()):
    """Users who have items at places in time (0: not), then synthetic ones, who have no order."""
    order = csr_matrix(np.array(order, np.float32))
    users = order.shape[0] - len(synthetic)
    inputs = binary(order)
    if len(synthetic):
        order = order.copy()
        order.data[order.indptr[users] :] = 0
        order.eliminate_zeros()
    weights = np.ones(inputs.shape[0]) if weights is None else np.array(weights, float)
    return Rows(users, inputs, inputs, order, weights, np.ones(inputs.shape[1], np.float32))


def ranker(name, **options):
    small = {"als": {"dim": 3, "unobserved": UNOBSERVED}, "neighbours": {"neighbours": 2}}.get(name, {})
    return RANKERS[name](RANKERS[name].Options(**{**small, **options}))


def fitted(name, data, l2, **options):
    return next(ranker(name, **options).fit(data, (l2,)))


def random_rows(users=60, items=12, seed=0):
    rng = np.random.default_rng(seed)
    order = [np.where(rng.random(items) < 0.4, 1 + rng.permutation(items), 0) for _ in range(users)]
    return rows(order, rng.uniform(0.2, 2, users))


@pytest.mark.parametrize("name", ["ease", "neighbours", "transitions", "als"])
def test_each_of_several_l2_gives_what_it_gives_alone(name):
    data, l2s = random_rows(), (1.0, 30.0)
    together = list(ranker(name).fit(data, l2s))
    for l2, found in zip(l2s, together, strict=True):
        for array, expected in fitted(name, data, l2).items():
            np.testing.assert_allclose(found[array], expected, rtol=1e-5, atol=1e-6)


def test_neighbours_are_shrunk_cosines_of_the_nearest():
    data = rows([[1, 2, 0], [1, 2, 0], [1, 0, 2], [0, 0, 1]])
    near = fitted("neighbours", data, 1.0, neighbours=1)["items"]
    # Items 0 and 1 meet twice, 0 and 2 once; they occur 3, 2 and 2 times.
    both, once = 2 / (np.sqrt(6) + 1), 1 / (np.sqrt(6) + 1)
    np.testing.assert_allclose(near, [[0, both, once], [both, 0, 0], [0, 0, 0]], rtol=1e-6)


def test_transitions_count_what_comes_next_smoothed_by_what_is_popular():
    data = rows([[1, 2, 3], [1, 2, 0], [2, 0, 1]], weights=[1, 1, 0.5])
    chances = fitted("transitions", data, 2.0)["items"]
    follows = np.array([[0, 2, 0], [0, 0, 1], [0.5, 0, 0]])
    popular = np.array([2.5, 2, 1.5]) / 6
    np.testing.assert_allclose(chances, (follows + 2 * popular) / (follows.sum(axis=1, keepdims=True) + 2), rtol=1e-5)


def test_a_synthetic_users_items_follow_each_other_in_any_order():
    data = rows([[1, 2, 0], [1, 1, 1]], weights=[1, 0.5], synthetic=[1])
    follows = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]]) + 0.5 / 3 * (1 - np.eye(3))
    chances = fitted("transitions", data, 1e-9)["items"]
    np.testing.assert_allclose(chances, follows / follows.sum(axis=1, keepdims=True), atol=1e-5)


def test_als_finds_a_minimum_of_its_loss():
    data, l2, unobserved = random_rows(), 0.05, UNOBSERVED
    arrays = fitted("als", data, l2)
    item, observed, weights = arrays["item"].astype(float), data.inputs.toarray(), data.weights
    shown = csr_matrix(observed.astype(np.float32))

    def loss(user, item):
        scores = user @ item.T
        error = observed * (1 - scores) ** 2 + unobserved * scores**2
        own = (user**2).sum(axis=1) * (observed.sum(axis=1) + unobserved * observed.shape[1])
        theirs = (item**2).sum(axis=1) @ (weights @ observed + unobserved * weights.sum())
        return weights @ (error.sum(axis=1) + l2 * own) + l2 * theirs

    scores = ranker("als").scores(arrays, shown, np.arange(len(observed)))
    user = np.linalg.lstsq(item, scores.T, rcond=None)[0].T
    best = loss(user, item)
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert loss(user + 0.05 * rng.standard_normal(user.shape), item) > best
    assert loss(user, item + 0.2 * rng.standard_normal(item.shape)) > best


@pytest.mark.parametrize(("padded", "dim"), [(7, 6), (1 << 14, 6), (40, 30), (1 << 14, 1)])
@pytest.mark.parametrize(("l2", "unobserved"), [(0.05, 0.1), (0.05, 0.0), (0.0, 0.1)])
def test_short_and_long_rows_have_the_factors_of_their_equations(padded, dim, l2, unobserved, monkeypatch):
    monkeypatch.setattr(als, "PADDED", padded)
    rng = np.random.default_rng(4)
    counted = rng.uniform(0.2, 2, (40, 25)) * (rng.random((40, 25)) < rng.random((40, 1)))
    counted[3], counted[7] = 0, 1  # a row of nothing, and of everything
    counted[9] *= 1e-12  # of what is so old that it hardly counts
    others, weights = rng.standard_normal((25, dim)).astype(np.float32), rng.uniform(0.5, 2, 25).astype(np.float32)
    found = als._solved(csr_matrix(counted.astype(np.float32)), others, weights, l2, unobserved)
    wide = others.astype(np.float64)
    for row, own in zip(found, counted, strict=True):
        ridge = max(l2 * (own.sum() + unobserved * weights.sum()), 1e-6)
        left = (wide.T * (unobserved * weights + own)) @ wide + ridge * np.eye(dim)
        expected = np.linalg.solve(left, own @ wide)
        assert np.abs(left @ row - own @ wide).max() <= 2e-4 * max(1e-12, np.abs(left).max() * np.abs(expected).max())


def test_als_ranks_for_a_user_it_never_saw():
    two = np.kron(np.eye(2), np.ones((20, 6)))  # two groups of users, each with items of its own
    arrays = fitted("als", rows(two * (np.random.default_rng(0).random(two.shape) < 0.7)), 0.01, dim=2)
    scores = ranker("als").scores(arrays, csr_matrix(np.eye(12, dtype=np.float32)[:1]), np.array([0]))[0]
    assert scores[1:6].min() > scores[6:].max()


def test_dropout_is_more_ridge_for_popular_items():
    data = random_rows()
    interactions = data.inputs.toarray().T @ data.weights
    x, w = data.inputs.toarray().astype(float), data.weights[:, None]
    inverse = np.linalg.inv(x.T @ (w * x) + np.diag(5 + 0.25 / 0.75 * interactions))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(fitted("ease", data, 5.0, dropout=0.25)["items"], expected, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("doubted", [False, True], ids=["all counted as before", "some counted less"])
def test_fake_users_change_ease_as_if_it_were_fitted_with_them(dropout, doubted, monkeypatch):
    rng = np.random.default_rng(3)
    history, fakes, shown = (csr_matrix((rng.random(shape) < 0.3).astype(np.float32))
                             for shape in ((60, 40), (5, 40), (20, 40)))  # fmt: skip
    hidden = csr_matrix(shown.multiply(rng.random(shown.shape) < 0.6))
    mix = Synthetic(hidden, shown, csr_matrix(shown.shape, dtype=np.float32), np.full(20, 0.5), np.arange(20))
    rows = Rows.of(history, np.ones(60), 60, mix, 0.3)
    trust = np.where(np.arange(65) % 9 == 0, 0.1, 1.0) if doubted else np.ones(65)
    others = [Rows.of(vstack([history, some]).tocsr(), trust[: 60 + some.shape[0]], 60, mix, 0.3)
              for some in (fakes, fakes[1:3], vstack([fakes] * 3).tocsr()[:0])]  # fmt: skip
    ease = ranker("ease", dropout=dropout)
    expected = [next(ease.fit(other, (4.0,)))["items"] for other in others]
    anew = []
    fit = ease.fit
    monkeypatch.setattr(ease, "fit", lambda *given: anew.append(1) or fit(*given))
    for found, one in zip(ease.grown(rows, others, 4.0), expected, strict=True):
        np.testing.assert_allclose(found["items"], one, atol=1e-5)
    assert len(anew) == (3 if dropout or doubted else 0)
