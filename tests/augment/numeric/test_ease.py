import numpy as np
import pytest
from scipy.sparse import csr_matrix

from augment.base.errors import UsageError
from augment.numeric.ease import LeftOut, ease, ease_path


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
