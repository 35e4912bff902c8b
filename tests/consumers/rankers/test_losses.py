"""The softmax loss in one room of memory, against what autograd makes of its definition."""

import re

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from augment.base import progress
from consumers.rankers import RANKERS, Rows
from consumers.rankers.losses import CATALOGUE, HARDER, Batch

USERS, ITEMS, DIM = 9, 23, 4


def sparse(rng, share):
    return csr_matrix((rng.random((USERS, ITEMS)) < share).astype(np.float32))


def batch(rng, others, negatives):
    targets = sparse(rng, 0.3).toarray()
    targets[0] = 0  # who wants nothing
    targets[1], targets[1, 0] = 1, 0
    left = (others.toarray() * (targets == 0)).astype(np.float32) if others is not None else None
    if left is not None:
        left[1, 0] = 1  # to whom nothing is a negative
    worth = rng.uniform(0.5, 2, ITEMS).astype(np.float32)
    others = None if left is None else csr_matrix(left)
    negatives = negatives if negatives is None else csr_matrix(negatives.multiply(targets == 0))  # as the gates see to
    return Batch(torch.arange(USERS), csr_matrix(targets * worth), others, negatives, None)


def plain(user, item, one):
    """The definition: of dense logits."""
    logits = user @ item.T
    if one.negatives is not None:
        logits = logits + torch.from_numpy(one.negatives.toarray()) * HARDER
    if one.others is not None:
        logits = logits.masked_fill(torch.from_numpy(one.others.toarray()) > 0, -1e9)
    wanted = torch.from_numpy(one.targets.toarray())
    return -(F.log_softmax(logits, dim=1) * wanted).sum(dim=1) / wanted.sum(dim=1).clamp_min(1e-6)


@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["mild", "steep"])
@pytest.mark.parametrize(("others", "negatives"), [(0, 0), (0.2, 0), (0, 0.1), (0.2, 0.1)], ids=str)
def test_the_softmax_has_the_gradient_of_its_definition(others, negatives, scale):
    rng = np.random.default_rng(5)
    one = batch(rng, *(sparse(rng, share) if share else None for share in (others, negatives)))
    shapes = ((USERS, DIM), (ITEMS, DIM))
    made = [torch.from_numpy(scale * rng.standard_normal(shape).astype(np.float32) / DIM) for shape in shapes]
    grads = []
    for loss in (plain, lambda *given: CATALOGUE["softmax"](*given, torch.full((USERS, ITEMS), 7.0), None)):
        user, item = (tensor.clone().requires_grad_(True) for tensor in made)
        (loss(user, item, one) * one.teaches).square().sum().backward()
        grads.append((user.grad, item.grad))
    for expected, found in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_it_can_be_differentiated_twice_over_as_apr_does():
    rng = np.random.default_rng(1)
    one = batch(rng, None, None)
    user, item = (torch.from_numpy(rng.standard_normal((n, DIM)).astype(np.float32)).requires_grad_(True)
                  for n in (USERS, ITEMS))  # fmt: skip
    loss = CATALOGUE["softmax"](user, item, one, None, None).sum()
    first = torch.autograd.grad(loss, (user, item), retain_graph=True)
    CATALOGUE["softmax"](user + first[0], item, one, None, None)
    for again, before in zip(torch.autograd.grad(loss, (user, item)), first, strict=True):
        torch.testing.assert_close(again, before)


@pytest.mark.parametrize("name", ["mf", "lightgcn"])
@pytest.mark.parametrize("options", [{}, {"adversarial": "apr"}, {"loss": "bpr"}], ids=str)
def test_weight_decay_is_the_gradient_of_the_mean_square(name, options, monkeypatch):
    """One step of plain gradient descent in Adam's place, against autograd of the whole."""
    taken = []
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: taken.append(self.param_groups[0]["params"][0].grad.clone())
    )
    history = csr_matrix((np.random.default_rng(0).random((30, 12)) < 0.4).astype(np.float32))
    rows = Rows.of(history, np.ones(30), 30, None)
    for l2 in (0.0, 3.0):
        ranker = RANKERS[name](RANKERS[name].Options(dim=5, epochs=1, **options), seed=2)
        next(ranker.fit(rows, (l2,)))
    start = 0.1 * torch.randn(42, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(taken[1] - taken[0], 2 * 3.0 * start / start.numel(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["mf", "lightgcn"])
def test_the_same_seed_gives_the_same_factors(name):
    history = csr_matrix((np.random.default_rng(0).random((600, 40)) < 0.2).astype(np.float32))
    rows = Rows.of(history, np.ones(600), 600, None)
    found = [next(RANKERS[name](RANKERS[name].Options(dim=8, epochs=3), seed=s).fit(rows, (0.1,))) for s in (1, 1, 2)]
    for array in ("user", "item"):
        np.testing.assert_array_equal(found[0][array], found[1][array])
        assert not np.array_equal(found[0][array], found[2][array])


def test_epochs_are_counted_while_a_model_trains(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PERIOD", 0.002)
    history = csr_matrix((np.random.default_rng(0).random((300, 40)) < 0.2).astype(np.float32))
    next(RANKERS["mf"](RANKERS["mf"].Options(dim=8, epochs=60)).fit(Rows.of(history, np.ones(300), 300, None), (0.1,)))
    counted = [int(n) for n in re.findall(r"training mf: (\d+) of 60 epochs in", capsys.readouterr().err)]
    assert counted == sorted(counted)
    assert max(counted) > min(counted)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("model", "options"),
    [("mf", {}), ("lightgcn", {}), ("lightgcn", {"loss": "bpr", "sampler": "mixgcf"})],
    ids=["mf", "lightgcn", "mixgcf"],
)
def test_two_threads_make_the_same_factors_in_every_run(model, options, two_threads):
    rng = np.random.default_rng(0)
    shape = (256, 300)  # a batch with gradients so large that threads share them
    history = csr_matrix((rng.random(shape) < 0.3 * rng.random(shape[1])).astype(np.float32))
    kind = RANKERS[model]
    settings = {"epochs": 3, "lr": 0.05, **options}

    def factors():
        rows = Rows.of(history, np.ones(shape[0], np.float32), shape[0], None)
        return next(kind(kind.Options(**settings), 0, "cpu").fit(rows, (1.0,)))

    first = factors()
    for _ in range(4):
        for name, found in factors().items():
            assert np.array_equal(found, first[name]), name
