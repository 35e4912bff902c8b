import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from gan import losses
from gan.pair import Settings
from gan.trainer import Material, TrainingDiverged, train
from gan.victim import Condition

STEPS = Settings(steps=120, batch=64, hidden=64, sphere=False, band=(-0.5, 1.5), check_every=20)


class Linear:
    """Logistic regression as a victim."""

    dim, prior = 64, 0.0

    def __init__(self, vectors, label):
        model = LogisticRegression(max_iter=1000).fit(vectors, label)
        self.weight = torch.tensor(model.coef_[0], dtype=torch.float32, requires_grad=True)
        self.bias = float(model.intercept_[0])

    def loss(self, embedding, condition):
        logit = embedding @ self.weight + self.bias
        return condition.label * F.softplus(-logit) + (1 - condition.label) * F.softplus(logit)


class NotANumber(Linear):
    def loss(self, embedding, condition):
        return super().loss(embedding, condition) * float("nan")


def conditions(label):
    label = torch.tensor(label, dtype=torch.float32)
    return Condition(label, torch.zeros(len(label), dtype=torch.long), torch.stack([1 - label, label], 1))


@pytest.fixture(scope="module")
def digits():
    """Real images of 3 and 8, and really shifted copies of some of them."""
    images, which = load_digits(return_X_y=True)
    keep = np.isin(which, (3, 8))
    images, label = (images[keep] / 16).astype(np.float32), (which[keep] == 8).astype(np.float32)
    square = images[:100].reshape(-1, 8, 8)
    shifted = np.stack([np.roll(square, s, axis=a).reshape(-1, 64) for s in (1, -1) for a in (1, 2)], axis=1)
    displacements = shifted - images[:100, None]
    distance = ((images[:, None] - images[None, :100]) ** 2).sum(2)
    material = Material(
        torch.tensor(images), conditions(label), torch.tensor(np.argsort(distance, 1)[:, :8]),
        torch.tensor(images[:100]), torch.tensor(displacements), conditions(label[:100]),
    )  # fmt: skip
    return material, Linear(images, label)


def in_band(victim, moved, condition, band):
    margin = losses.margin(victim.loss(moved, condition))
    return float(((margin > band[0]) & (margin < band[1])).float().mean())


def proposals(trained, material, draws=4, seed=0):
    return trained.propose(material.anchors, material.condition, material.nearby, material.displacements, draws, seed)


def test_more_samples_land_in_the_band_than_real_displacements_do_and_steps_stay_of_real_length(digits):
    material, victim = digits
    moved = proposals(train(victim, material, STEPS), material)
    wide = torch.arange(len(material.anchors)).repeat_interleave(4)
    raw = material.anchors[wide] + material.displacements[material.nearby[wide, 0], torch.arange(len(wide)) % 4]
    flat = moved.reshape(len(wide), -1)
    condition = material.condition[wide]
    assert in_band(victim, flat, condition, STEPS.band) > in_band(victim, raw, condition, STEPS.band) + 0.1
    steps = (flat - material.anchors[wide]).norm(dim=1).mean()
    assert 0.4 < steps / material.scale < 1.6


def test_samples_of_one_anchor_differ_and_a_seed_repeats_them(digits):
    material, victim = digits
    trained = train(victim, material, dataclasses.replace(STEPS, steps=20))
    moved = proposals(trained, material)
    assert (moved[:, 0] - moved[:, 1]).norm(dim=1).mean() > 0.2 * material.scale
    assert torch.equal(moved, proposals(trained, material))
    assert not torch.equal(moved, proposals(trained, material, seed=1))


def test_training_is_the_same_for_a_seed_whatever_the_global_state_and_leaves_that_alone(digits):
    material, victim = digits
    short = dataclasses.replace(STEPS, steps=20)
    torch.manual_seed(1)
    first = train(victim, material, short)
    expected = torch.rand(1)
    torch.manual_seed(1)
    torch.rand(100)
    second = train(victim, material, short)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(proposals(first, material), proposals(second, material))


def test_on_the_sphere_samples_have_unit_length(digits):
    material, victim = digits
    moved = proposals(train(victim, material, dataclasses.replace(STEPS, steps=20, sphere=True)), material)
    torch.testing.assert_close(moved.norm(dim=2), torch.ones(moved.shape[:2]))


def test_a_stopped_run_resumes_to_the_very_same_generator(digits, tmp_path):
    material, victim = digits

    class Stop(Exception):
        pass

    def stop(step):
        if step == 70:
            raise Stop

    with pytest.raises(Stop):
        train(victim, material, STEPS, tmp_path / "g.safetensors", stop)
    steps = []
    resumed = train(victim, material, STEPS, tmp_path / "g.safetensors", steps.append)
    assert steps[0] == 60
    unbroken = train(victim, material, STEPS)
    assert torch.equal(proposals(resumed, material), proposals(unbroken, material))
    assert resumed.history == unbroken.history


def test_not_a_number_raises_and_keeps_the_last_good_checkpoint(digits, tmp_path):
    material, victim = digits
    path = tmp_path / "g.safetensors"
    train(victim, material, dataclasses.replace(STEPS, steps=20), path)
    good = path.read_bytes()
    broken = NotANumber(material.anchors.numpy(), material.condition.label.numpy())
    with pytest.raises(TrainingDiverged, match="not a number") as raised:
        train(broken, material, dataclasses.replace(STEPS, seed=3), path)
    assert raised.value.checkpoint == path
    assert path.read_bytes() == good


def test_the_victim_is_not_trained(digits):
    material, victim = digits
    before = victim.weight.detach().clone()
    train(victim, material, dataclasses.replace(STEPS, steps=10))
    assert torch.equal(victim.weight, before)


def test_margin_inverts_softplus_at_both_ends():
    margins = torch.tensor([-30.0, -2.0, 0.0, 3.0, 10.0])
    torch.testing.assert_close(losses.margin(F.softplus(-margins)), margins, rtol=1e-2, atol=1e-3)


def test_the_band_costs_nothing_inside_and_grows_outside():
    inside = F.softplus(-torch.tensor([-0.4, 0.0, 1.4]))
    assert losses.semi_hard(inside, -0.5, 1.5) == pytest.approx(0, abs=1e-5)
    assert losses.semi_hard(F.softplus(-torch.tensor([3.5])), -0.5, 1.5) == pytest.approx(2, rel=1e-3)


def test_the_gradient_penalty_of_a_linear_score_is_its_squared_slope():
    vectors = torch.randn(5, 3, requires_grad=True)
    slope = torch.tensor([1.0, 2.0, 2.0])
    assert losses.gradient_penalty(vectors @ slope, vectors) == pytest.approx(9.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_trains_and_proposes(digits):
    material, victim = digits
    on_gpu = Material(*(getattr(material, f.name).to("cuda") for f in dataclasses.fields(material)))
    victim.weight = victim.weight.detach().to("cuda")
    moved = proposals(train(victim, on_gpu, dataclasses.replace(STEPS, steps=20)), on_gpu)
    assert moved.is_cuda
    assert torch.isfinite(moved).all()
