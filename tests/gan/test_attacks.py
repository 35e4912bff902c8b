import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gan import attacks
from gan.live import Live

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


def test_the_live_generator_learns_to_find_what_is_hard_from_training_on_its_copies(net, x):
    """From random steps on: what they lack is learnt from the gradients that training leaves, the model unmoved."""
    label = (net(x)[:, 0] > 0).float().detach()
    loss, random = loss_of(net.requires_grad_(False), label), torch.Generator().manual_seed(2)
    live, idle = (Live(12, every=1, seed=0, device="cpu") for _ in range(2))
    hardness = []
    for _ in range(300):
        first = F.normalize(torch.randn(x.shape, generator=random), dim=1) * RADIUS
        delta = live.perturb(x, label, first, reach(x))
        found = loss(x + delta).mean()
        found.backward()
        hardness.append(float(found.detach()))
        assert (delta.norm(dim=1) <= RADIUS + 1e-5).all()
        unmoved = idle.perturb(x, label, first, reach(x))  # nothing was trained on its copies
    clean, worst = (float(loss(x + d).mean()) for d in (0, attacks.fgm(loss, x, reach(x))))
    assert abs(np.mean(hardness[:3]) - clean) < 0.1 * (worst - clean)
    assert np.mean(hardness[-20:]) > clean + 0.8 * (worst - clean)
    torch.testing.assert_close(unmoved.detach(), first)


def test_the_live_generator_starts_as_the_gradient_step_and_a_row_without_one_or_length_is_no_trouble(net, x):
    x[0], label = 0, torch.ones(200)
    radius = attacks.lengths(x, 0.3)
    first = attacks.fgm(loss_of(net, label), x, radius)
    first[1] = 0
    live = Live(12, every=1, seed=0, device="cpu")
    delta = live.perturb(x, label, first, radius)
    torch.testing.assert_close(delta.detach(), first)
    loss_of(net, label)(x + delta).mean().backward()
    later = live.perturb(x, label, first, radius).detach()
    assert torch.isfinite(later).all()
    assert not torch.equal(later, first)


def test_the_live_generator_leaves_chance_as_it_was_and_repeats_with_its_seed(net, x):
    def steps(seed):
        live, out = Live(12, every=2, seed=seed, device="cpu"), []
        for _ in range(6):
            delta = live.perturb(x, torch.ones(200), torch.ones_like(x), reach(x))
            if delta.requires_grad:
                loss_of(net, torch.ones(200))(x + delta).mean().backward()
            out.append(delta.detach())
        return torch.stack(out)

    state = torch.get_rng_state()
    assert torch.equal(steps(0), steps(0))
    assert not torch.equal(steps(0), steps(1))
    assert torch.equal(torch.get_rng_state(), state)
