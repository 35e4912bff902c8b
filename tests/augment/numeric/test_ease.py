import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, vstack

from augment.base.errors import UsageError
from augment.numeric import ease as ease_module
from augment.numeric.ease import BLOCK, SPARSE, Grown, LeftOut, ease, ease_path, inverted, normal, product


def interactions(seed=0, users=60, items=12):
    return csr_matrix((np.random.default_rng(seed).random((users, items)) < 0.3).astype(np.float32))


def loss(inputs, targets, weights, b, l2):
    error = (inputs @ b - targets) ** 2
    return float((weights[:, None] * error).sum() + l2 * (b**2).sum())


def test_no_zero_diagonal_matrix_nearby_fits_better():
    """The closed form is the constrained minimum, also for masked inputs and weighted rows."""
    rng = np.random.default_rng(1)
    targets = interactions()
    inputs = csr_matrix(targets.toarray() * (rng.random(targets.shape) < 0.7))
    weights = rng.uniform(0.2, 2, targets.shape[0])
    best = ease(inputs.astype(np.float32), targets, 5.0, weights).astype(np.float64)
    assert np.abs(np.diag(best)).max() == 0
    dense = inputs.toarray(), targets.toarray()
    at_best = loss(*dense, weights, best, 5.0)
    for _ in range(50):
        step = 0.01 * rng.standard_normal(best.shape)
        np.fill_diagonal(step, 0)
        assert loss(*dense, weights, best + step, 5.0) > at_best


def test_plain_ease_is_the_published_formula():
    x = interactions().toarray()
    p = np.linalg.inv(x.T @ x + 10 * np.eye(x.shape[1]))
    expected = -p / np.diag(p)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(ease(interactions(), None, 10.0), expected, atol=1e-5)


def test_several_l2_share_what_they_share_and_one_may_be_a_number_per_item():
    x, ridge = interactions(), np.linspace(5, 50, 12)
    for targets in (None, interactions(seed=3)):
        found = list(ease_path(x, targets, [10.0, ridge]))
        for l2, solved in zip((10.0, ridge), found, strict=True):
            np.testing.assert_array_equal(solved, ease(x, targets, l2))
            p = np.linalg.inv(x.toarray().T @ x.toarray() + np.diag(np.broadcast_to(l2, 12)))
            expected = p @ (x.T @ (x if targets is None else targets)).toarray()
            expected -= p * (np.diag(expected) / np.diag(p))
            np.testing.assert_allclose(solved, expected, atol=1e-5)


@pytest.mark.parametrize("hidden", [0.002, 0.3], ids=["few", "many"])
def test_targets_that_inputs_lack_are_learnt_however_many(hidden):
    """Few of them are multiplied as a sparse matrix, many as a dense one: both are the closed form."""
    x, rng = interactions(users=90, items=40).toarray(), np.random.default_rng(4)
    inputs = x * (rng.random(x.shape) > hidden)
    weights = rng.uniform(0.2, 2, len(x))
    lacking = normal(csr_matrix(inputs), csr_matrix(x), weights)[1]
    assert (lacking.nnz < SPARSE * 40**2) == (hidden < 0.1)
    p = np.linalg.inv((inputs.T * weights) @ inputs + 7 * np.eye(40))
    expected = p @ (inputs.T * weights) @ x
    expected -= p * (np.diag(expected) / np.diag(p))
    found = ease(csr_matrix(inputs, dtype=np.float32), csr_matrix(x), 7.0, weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("mix", [False, True], ids=["of a log", "of a mix"])
def test_more_users_are_as_if_the_model_had_been_fitted_with_them(mix):
    x, fakes, rng = interactions(), interactions(seed=7, users=9), np.random.default_rng(5)
    targets = csr_matrix(x.maximum(interactions(seed=8))) if mix else None
    weights, more = rng.uniform(0.2, 2, 60), rng.uniform(0.2, 2, 9)
    grown = Grown(x, targets, 5.0, weights)
    for some in (slice(9), slice(2, 5)):  # each beside the first users alone
        together = None if targets is None else vstack([targets, fakes[some]]).tocsr()
        expected = ease(vstack([x, fakes[some]]).tocsr(), together, 5.0, np.append(weights, more[some]))
        np.testing.assert_allclose(grown.by(fakes[some], more[some]), expected, atol=1e-5)


def test_what_was_given_is_not_touched_when_the_next_is_made():
    path = ease_path(interactions(), None, [10.0, 20.0])
    first = next(path)
    before = first.copy()
    next(path)
    np.testing.assert_array_equal(first, before)


def test_too_small_a_ridge_is_said():
    twins = csr_matrix(np.ones((5, 2), np.float32))  # two items that everybody has: any split of their weights fits
    with pytest.raises(UsageError, match="raise it"):
        ease(twins, None, 0.0)
    assert np.isfinite(ease(twins, None, 1e-6)).all()


@pytest.mark.parametrize("half", [False, True], ids=["of all", "of half of the users"])
def test_who_is_asked_about_is_left_out_as_if_the_model_had_been_fitted_without(half):
    x, rng = interactions(users=30), np.random.default_rng(2)
    members = np.arange(30) % 2 == 0 if half else np.ones(30, bool)
    shown = csr_matrix(x.multiply(rng.random(x.shape)).astype(np.float32))
    users = np.array([4, 7, 0])
    found = LeftOut(x * 3, 5.0, members if half else None).scores(users, shown[users])
    for user, scores in zip(users, found, strict=True):
        others = members & (np.arange(30) != user)
        expected = shown[user] @ ease(x[others], None, 5.0)
        np.testing.assert_allclose(scores, expected.ravel(), atol=1e-4)


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, 2 * BLOCK + 77])
def test_the_inverse_by_blocks_is_the_inverse_in_one_order_of_memory(size):
    rng = np.random.default_rng(size)
    shown = csr_matrix((rng.random((3 * size + 20, size)) < 0.6 * rng.random(size) ** 4).astype(np.float32))
    gram = (shown.T @ shown).toarray()
    before, ridge = gram.copy(), rng.uniform(1, 5, size)
    found = inverted(gram, ridge)
    expected = np.linalg.inv(gram.astype(np.float64) + np.diag(ridge))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found, found.T, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(gram, before)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous  # a product with a sparse matrix would copy another


@pytest.mark.parametrize("bad", [0, BLOCK + 3], ids=["in the first block", "in a later one"])
def test_what_is_not_positive_definite_has_no_inverse(bad):
    gram = 2 * np.eye(BLOCK + 50, dtype=np.float32)
    gram[bad, bad] = -1
    with pytest.raises(UsageError, match="no single solution"):
        inverted(gram, 0.5)


def test_where_single_precision_is_not_enough_double_is_used():
    size = BLOCK + 20
    alike = np.full((size, size), 1000, np.float32)  # 1e-4 beside 1000 is lost in single precision
    found = inverted(alike, 1e-4)
    expected = np.linalg.inv(alike.astype(np.float64) + 1e-4 * np.eye(size))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_product_is_the_same_by_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(ease_module, "THREADED", 0)
    weights = np.random.default_rng(0).standard_normal((12, 7)).astype(np.float32)
    for users in (60, 3, 0):
        shown = interactions(users=users)
        found = product(shown, weights)
        np.testing.assert_array_equal(found, shown @ weights)
        assert found.dtype == np.float32
