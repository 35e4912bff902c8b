"""Real edits and held-out corruptions: seeded, graded, and of the same shape as what they edit."""

import numpy as np
import pytest
import torch
from drawn import KINDS, drawn

from augment.pictures.edits import FAMILIES, HELD_OUT

EVERY = FAMILIES | HELD_OUT


def picture(kind="shirt", seed=0, size=(96, 120)):
    return torch.from_numpy(np.array(drawn(kind, seed, size))).permute(2, 0, 1).contiguous()


def distance(made, picture):
    return (made.float() - picture.float()).abs().mean().item()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [(96, 120), (8, 8), (256, 20), (9, 200)])
def test_shape_and_type_stay_at_every_strength(name, size):
    before = picture("bag", 1, size)
    kept = before.clone()
    for strength in (0.0, 0.5, 1.0):
        for seed in range(4):
            made = EVERY[name](before, np.random.default_rng(seed), strength)
            assert (made.dtype, made.shape) == (torch.uint8, before.shape)
    assert before.equal(kept), "an edit leaves what it is given alone"


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_picture_and_another_seed_another(name):
    before = picture()
    made = [EVERY[name](before, np.random.default_rng(seed), 0.6) for seed in (1, 1, 2)]
    assert made[0].equal(made[1])
    assert not made[0].equal(made[2])


@pytest.mark.parametrize("name", EVERY)
def test_strength_is_graded(name):
    means = []
    for strength in (0.0, 0.33, 0.66, 1.0):
        found = [
            distance(EVERY[name](picture(kind, seed), np.random.default_rng(seed), strength), picture(kind, seed))
            for kind in KINDS
            for seed in range(12)
        ]
        means.append(np.mean(found))
    assert means == sorted(means)
    assert means[0] < 9
    assert means[-1] > 1.5 * means[0] + 1.5


def test_a_background_changes_and_what_stands_before_it_does_not():
    before = picture("bag", 3)
    made = FAMILIES["background"](before, np.random.default_rng(0), 1.0)
    changed = (made.int() - before.int()).abs().amax(0) > 20
    assert changed[0].all()
    assert changed[:, 0].all()
    assert not changed[60:90, 30:66].any()  # the bag


def test_a_background_that_is_not_plain_gets_a_frame():
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 60, 60), dtype=np.uint8))
    made = FAMILIES["background"](noise, np.random.default_rng(1), 1.0)
    assert made[:, 20:40, 20:40].equal(noise[:, 20:40, 20:40])
    assert not made[:, 0].equal(noise[:, 0])


def test_held_out_corruptions_are_no_families():
    assert not FAMILIES.keys() & HELD_OUT.keys()
