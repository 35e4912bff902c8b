"""A recommender as the generator spars with it, fitted a part of the users at a time."""

import numpy as np
import torch
from scipy.sparse import csr_matrix

from consumers import victims
from gan.victim import Condition


def test_a_victim_is_the_same_whatever_users_it_asks_of_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    history = csr_matrix((rng.random((50, 12)) < 0.3).astype(np.float32))
    vectors, model = rng.standard_normal((12, 4)).astype(np.float32), rng.standard_normal((12, 12)).astype(np.float32)
    asked = []

    def scores(users):
        asked.append(users)
        return history[users] @ model

    losses = []
    condition = Condition(torch.tensor([3, 5]), None, None)
    for size in (1024, 7):
        monkeypatch.setattr(victims, "USERS", size)
        asked.clear()
        victim = victims.RankingVictim(vectors, history, scores, 5, "cpu")
        np.testing.assert_array_equal(np.concatenate(asked), np.arange(50))
        assert max(map(len, asked)) <= max(size, 7)
        losses.append(victim.loss(torch.from_numpy(vectors[:2]), condition))
    torch.testing.assert_close(*losses)
