import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gan import attacks
from gan.live import CHOICES, Live

RADIUS = 0.5


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(12, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))


@pytest.fixture
def x():
    return torch.randn(200, 12, generator=torch.Generator().manual_seed(1))


def loss_of(net, label):
    return lambda v: F.binary_cross_entropy_with_logits(net(v)[:, 0], label, reduction="none")


def reach(x):
    return torch.full((len(x), 1), RADIUS)


def test_on_a_linear_model_fgm_pgd_and_apgd_find_the_exact_worst_case(x):
    slope = torch.arange(1.0, 13.0)
    label = (torch.arange(200) % 2).float()

    def loss(v):
        return F.binary_cross_entropy_with_logits(v @ slope / 20, label, reduction="none")

    worst = (1 - 2 * label)[:, None] * F.normalize(slope, dim=0) * RADIUS
    for attack in (attacks.fgm, attacks.pgd, attacks.apgd):
        torch.testing.assert_close(attack(loss, x, reach(x)), worst, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("attack", [attacks.fgm, attacks.pgd, attacks.apgd])
def test_attacks_stay_in_the_ball_and_raise_the_loss(net, x, attack):
    loss = loss_of(net, (net(x)[:, 0] > 0).float().detach())
    delta = attack(loss, x, reach(x))
    assert (delta.norm(dim=1) <= RADIUS + 1e-5).all()
    assert loss(x + delta).mean() > loss(x).mean() + 0.01
    assert torch.equal(delta, attack(loss, x, reach(x)))


def test_auto_pgd_is_never_weaker_than_doing_nothing_and_on_average_at_least_as_strong_as_pgd(net, x):
    loss = loss_of(net, (net(x)[:, 0] > 0).float().detach())
    strong, weak = loss(x + attacks.apgd(loss, x, reach(x))), loss(x + attacks.pgd(loss, x, reach(x)))
    assert (strong >= loss(x) - 1e-6).all()
    assert strong.mean() >= weak.mean() - 1e-4


def test_the_box_holds_each_coordinate(net, x):
    delta = attacks.pgd(loss_of(net, torch.ones(200)), x, reach(x), norm="linf")
    assert delta.abs().max() <= RADIUS / np.sqrt(12) + 1e-6


def test_the_virtual_direction_changes_beliefs_more_than_a_random_one_and_needs_no_label(net, x):
    random = torch.Generator().manual_seed(0)
    delta = attacks.vat(lambda v: net(v)[:, 0], x, reach(x), random)
    other = F.normalize(torch.randn(x.shape, generator=random), dim=1) * RADIUS
    moved, noise = ((torch.sigmoid(net(x + d)) - torch.sigmoid(net(x))).abs().mean() for d in (delta, other))
    assert moved > 1.5 * noise


def test_a_victim_keeps_its_gradients_and_weights(net, x):
    attacks.pgd(loss_of(net, torch.ones(200)), x, reach(x))
    assert all(parameter.grad is None for parameter in net.parameters())


class Frozen:
    dim, prior = 12, 0.0

    def __init__(self, net):
        self.net = net

    def loss(self, embedding, condition):
        logit = self.net(embedding)[:, 0]
        return condition.label * F.softplus(-logit) + (1 - condition.label) * F.softplus(logit)


def test_the_live_generator_learns_to_find_what_is_hard_within_the_radius(net, x):
    label = (net(x)[:, 0] > 0).float().detach()
    loss = loss_of(net, label)
    live = Live(12, every=1, seed=0, device="cpu")
    deltas = 0.4 * torch.randn(200, CHOICES, 12, generator=torch.Generator().manual_seed(2))
    hardness = []
    for _ in range(150):
        delta = live.perturb(Frozen(net), x, label, deltas, reach(x))
        assert (delta.norm(dim=1) <= RADIUS + 1e-5).all()
        hardness.append(float(loss(x + delta).detach().mean()))
    clean, worst = (float(loss(x + d).detach().mean()) for d in (0, attacks.fgm(loss, x, reach(x))))
    # Without a look at the gradient of the row itself, it finds a good part of what the gradient step does.
    assert np.mean(hardness[-20:]) > clean + 0.3 * (worst - clean)
    assert np.mean(hardness[-20:]) > np.mean(hardness[:3]) + 0.01
    assert all(parameter.grad is None for parameter in net.parameters())
