"""Asking a teacher that has no gradient: its stand-in, and the disagreement that a generator climbs."""

import torch
from torch.nn import functional as F

from gan.guide import AIM, Disputed, learnt
from gan.losses import margin
from gan.victim import Condition


class Line:
    """A victim whose logit is the first number."""

    def __init__(self, prior=0.0):
        self.dim, self.prior = 4, prior

    def loss(self, embedding, condition):
        logit = embedding[:, 0] - self.prior
        return condition.label * F.softplus(-logit) + (1 - condition.label) * F.softplus(logit)


def condition(count):
    return Condition(torch.zeros(count), torch.zeros(count, dtype=torch.long), torch.zeros(count, 2))


def rows(count=3000):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0))


def test_a_stand_in_answers_like_the_teacher_where_it_was_not_taught():
    x = rows()
    truth = torch.sigmoid(3 * torch.sign(x[:, 1]) * (x[:, 2] > 0))  # as trees do: flat, with steps
    net = learnt(x[:2000], truth[:2000], seed=1)
    said = torch.sigmoid(net(x[2000:]))
    assert (said - truth[2000:]).abs().mean() < 0.1
    assert not any(p.requires_grad for p in net.parameters())


def test_the_same_seed_is_the_same_stand_in():
    x = rows(500)
    first, again, other = (learnt(x, torch.sigmoid(x[:, 1]), seed)(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_disagreement_is_the_divergence_of_both_beliefs():
    x = rows(200)
    for prior in (0.0, -3.0):
        teacher = lambda x: 2 * x[:, 1]  # noqa: E731
        p, q = torch.sigmoid(teacher(x) - prior), torch.sigmoid(x[:, 0] - prior)
        wanted = p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))
        found = Disputed(Line(prior), teacher).loss(x, condition(200))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


def test_where_both_agree_there_is_nothing_to_ask():
    x = rows(200)
    found = Disputed(Line(), lambda x: x[:, 0]).loss(x, condition(200))
    assert found.abs().max() < 1e-5
    assert (margin(found) > AIM[1]).all()  # far above the aim: any dispute would be an improvement


def test_its_gradient_leads_to_where_they_differ():
    x = rows(200).requires_grad_()
    victim = Disputed(Line(), lambda x: x[:, 1])
    (gradient,) = torch.autograd.grad(victim.loss(x, condition(200)).sum(), x)
    moved = victim.loss((x + 0.1 * gradient).detach(), condition(200))
    assert (moved >= victim.loss(x, condition(200)).detach() - 1e-6).float().mean() > 0.95
