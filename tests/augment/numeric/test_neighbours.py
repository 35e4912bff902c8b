import numpy as np
import pytest

from augment.numeric import neighbours
from augment.numeric.neighbours import Neighbours


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)


def test_search_agrees_with_brute_force(vectors):
    queries = vectors[:20] + 0.1
    expected = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    distance, index = Neighbours(vectors).search(queries, 3)
    np.testing.assert_array_equal(index, np.argsort(expected, axis=1)[:, :3])
    np.testing.assert_allclose(distance, np.sort(expected, axis=1)[:, :3], rtol=1e-3)


def test_k_is_cut_to_the_vectors_there_are(vectors):
    assert Neighbours(vectors[:2]).search(vectors[:5], 10)[1].shape == (5, 2)


def test_the_inverted_file_is_deterministic_and_finds_most_true_neighbours(vectors, monkeypatch):
    exact = Neighbours(vectors).search(vectors, 5)[1]
    monkeypatch.setattr(neighbours, "FLAT_LIMIT", 100)
    first, second = (Neighbours(vectors).search(vectors, 5)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first == exact).mean() > 0.8
    assert (first >= 0).all()
