"""Synthetic users of a real one: whose vector they train, and what is no negative of them."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from consumers.data.interactions import Synthetic
from consumers.rankers import RANKERS, Rows
from consumers.rankers.losses import CATALOGUE, Batch

USERS, ITEMS = 40, 12
HISTORY = np.kron(np.eye(2), np.ones((USERS // 2, ITEMS // 2))).astype(np.float32)  # two groups, no item in common
WANTED = ITEMS - 1  # of the other group than user 0


def mix(anchors, weight=1.0):
    """Synthetic users who show three items of the first group and want one of the second."""
    items, targets = np.zeros((2, len(anchors), ITEMS), np.float32)
    items[:, :3] = targets[:, WANTED] = 1
    none = csr_matrix(items.shape, dtype=np.float32)
    return Synthetic(csr_matrix(items), csr_matrix(targets), none, np.full(len(anchors), weight), np.array(anchors))


def rows(synthetic=None, fakes=0):
    history = csr_matrix(np.vstack([HISTORY, HISTORY[:fakes]]))
    return Rows.of(history, np.ones(history.shape[0]), USERS, synthetic)


def scores(name, data, **options):
    ranker = RANKERS[name](RANKERS[name].Options(dim=8, epochs=60, **options))
    return ranker.scores(next(ranker.fit(data, (0.1,))), data.inputs, np.arange(USERS))


def test_a_synthetic_user_is_the_real_one_it_was_made_of_or_else_itself():
    assert rows().person is None
    np.testing.assert_array_equal(rows(mix([3, -1, 0]), fakes=2).person, [*range(USERS + 2), 3, USERS + 3, 0])


@pytest.mark.parametrize(
    ("name", "options"), [("mf", {}), ("mf", {"loss": "bpr"}), ("mf", {"loss": "sl@k"}), ("lightgcn", {})], ids=str
)
def test_what_a_synthetic_user_wants_reaches_the_one_it_was_made_of(name, options):
    plain, taught = (scores(name, data, **options) for data in (rows(), rows(mix([0] * 4))))
    gain = taught[:, WANTED] - plain[:, WANTED]
    assert gain[0] > gain[1 : USERS // 2].max() + 0.1  # of users who have the same items


@pytest.mark.parametrize("name", ["mf", "lightgcn"])
def test_there_is_a_vector_for_each_user_whatever_the_mix_is_of(name):
    ranker = RANKERS[name](RANKERS[name].Options(dim=8, epochs=2))
    for data in (rows(mix([0, 1]), fakes=3), rows(mix([-1, 5]))):
        assert next(ranker.fit(data, (0.1,)))["user"].shape == (USERS, 8)


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_item_that_the_user_has_is_not_pushed_down_where_it_is_no_target(name):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(1, ITEMS, generator=random).requires_grad_(True)  # of a user who is them, to items one each
    wanted, own = np.eye(1, ITEMS, WANTED, dtype=np.float32), np.eye(2, ITEMS, dtype=np.float32).sum(0, keepdims=True)
    batch = Batch(torch.zeros(1, dtype=torch.int64), csr_matrix(wanted), csr_matrix(own), None, None)
    CATALOGUE[name](logits, torch.eye(ITEMS), batch, None, random).sum().backward()
    assert logits.grad[0, :2].tolist() == [0, 0]
    assert (logits.grad[0, 2:WANTED] > 0).all()


def test_a_models_own_items_stay_when_samples_of_each_user_want_others():
    taught = scores("mf", rows(mix(list(range(USERS // 2)), weight=3.0)))[: USERS // 2]
    others = np.setdiff1d(np.arange(ITEMS // 2, ITEMS), [WANTED])
    assert taught[:, : ITEMS // 2].min() > taught[:, others].max()
