import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import ndcg_score

from augment.numeric import measures
from consumers.scoring import ranking


def test_ndcg_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.random((30, 50)).astype(np.float32)
    relevant = csr_matrix((rng.random((30, 50)) < 0.1).astype(np.float32))
    lists = ranking.top(scores.copy(), csr_matrix(scores.shape), 20)
    ours = measures.ndcg(ranking.hits(lists, relevant), relevant.getnnz(axis=1))
    for user in np.flatnonzero(relevant.getnnz(axis=1)):
        assert ours[user] == pytest.approx(ndcg_score(relevant[user].toarray(), scores[user : user + 1], k=20))


def test_seen_items_are_never_recommended():
    scores = np.arange(12, dtype=np.float32).reshape(2, 6)
    seen = csr_matrix(np.array([[0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]], np.float32))
    np.testing.assert_array_equal(ranking.top(scores, seen, 2), [[4, 3], [5, 4]])


def test_recall_counts_what_could_be_found():
    hit = np.array([[True, True], [True, False]])
    np.testing.assert_allclose(ranking.recall(hit, np.array([5, 1])), [1.0, 1.0])


def test_coverage_of_a_draw_counts_drawn_users_only():
    coverage = ranking.Coverage(np.array([[0, 1], [1, 2]]), items=4)
    assert coverage.value() == 0.75
    assert coverage.value(np.array([1.0, 0.0])) == 0.5


def test_coverage_counts_each_item_once_however_often_drawn_users_have_it():
    rng = np.random.default_rng(2)
    one = ranking.Coverage(rng.integers(0, 50, (30, 4)), 60)
    for weights in (rng.poisson(1.0, 30), np.eye(30)[7], None):
        drawn = one.lists if weights is None else one.lists[weights > 0]
        assert one.value(weights) == pytest.approx(len(set(drawn.ravel().tolist())) / 60)
    assert np.isnan(one.value(np.zeros(30)))
