"""With a teacher the generator asks: what it proposes is disputed more than what chance does, at fewer judgements."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from augment.contracts.registry import modality_class
from augment.contracts.strategy import build
from augment.contracts.values import Candidates
from augment.gates.keeper import Gatekeeper
from augment.gates.labels import Certainty
from augment.recipes.schema import Generator
from augment.strategies.gan import Gan, _most_disputed
from augment.testing.shop import GATES, usual
from gan.victim import Condition


class Weather:
    """A teacher that looks at one field alone, which the consumer knows little of."""

    called = "weather"

    def __init__(self, anchors):
        self._high = np.quantile(self._first(anchors), 0.8)

    def _first(self, rows):
        return rows.embedding[:, : rows.embedding.shape[1] // 2].sum(axis=1)

    def label(self, candidates):
        first = self._first(candidates)
        label = np.where(first > self._high, 0.95, 0.5).astype(np.float32)
        return replace(candidates, label=label, spread=np.zeros(len(label), np.float32))


@pytest.fixture(scope="module")
def shop():
    return usual(modality_class("fields")).studio


@pytest.fixture(scope="module")
def asking(shop, tmp_path_factory):
    """A workshop with a teacher, and the gates that it labels for."""
    anchors = shop.anchors
    teacher = Weather(anchors)
    label = anchors.own_label.to_numpy(zero_copy_only=False).astype(np.float32)
    validity = Certainty(teacher, shop.modality, anchors.rows, anchors.embedding, label)
    settings = Generator(bank=60, variants=4, neighbours=8, steps=150, batch=64, draws=1)
    workshop = replace(shop.workshop, teacher=teacher, settings=settings, folder=tmp_path_factory.mktemp("gan"))
    return workshop, Gatekeeper(anchors, workshop.bank, validity, workshop.victim, GATES)


def disputed(keeper, candidates):
    return keeper.judge(candidates, novel=False).hardness


def test_it_finds_more_dispute_than_chance_with_one_judged_candidate(asking):
    workshop, keeper = asking
    every, rng = np.arange(len(workshop.anchors)), np.random.default_rng(0)
    asked = disputed(keeper, build("gan", workshop, {}).propose(every, rng))
    chance = disputed(keeper, build("noise", workshop, {}).propose(every, rng))
    assert len(asked) == len(every)
    assert asked.mean() > 1.2 * chance.mean()


def test_of_its_offers_it_proposes_the_one_that_is_disputed_most(asking):
    workshop, _ = asking
    strategy = build("gan", workshop, {"offers": 4})
    rng = torch.Generator().manual_seed(0)
    vectors = torch.randn(5, 8, workshop.modality.dim, generator=rng)
    condition = Condition(torch.zeros(5), torch.zeros(5, dtype=torch.long), torch.zeros(5, 2))
    kept = _most_disputed(strategy._asks, vectors, condition, 4)
    assert kept.shape == (5, 2, workshop.modality.dim)
    wide = condition[torch.arange(5).repeat_interleave(8)]
    loss = strategy._asks.loss(vectors.flatten(0, 1), wide).view(5, 2, 4)
    best = vectors.view(5, 2, 4, -1).gather(2, loss.argmax(2)[:, :, None, None].expand(-1, -1, 1, vectors.shape[2]))
    assert torch.equal(kept, best[:, :, 0])


def test_without_a_teacher_it_does_not_ask(shop, tmp_path):
    assert build("gan", replace(shop.workshop, folder=tmp_path), {})._asks is None


def test_a_teacher_of_rankings_gives_no_labels_to_learn(shop, tmp_path):
    class Ranks:
        called = "ranks"

        def label(self, candidates: Candidates) -> Candidates:
            return candidates

    workshop = replace(shop.workshop, teacher=Ranks(), folder=tmp_path)
    assert Gan(workshop, Gan.Options())._asks is None


def test_the_band_does_not_count_where_a_teacher_labels(asking, shop):
    workshop, _ = asking
    teacher = workshop.teacher
    validity = Certainty(teacher, shop.modality, shop.anchors.rows, shop.anchors.embedding, shop.anchors.label)
    narrow = GATES.model_copy(update={"band": (0.0, 0.01)})
    every = np.arange(len(shop.anchors))
    some = Candidates(every, shop.anchors.rows, shop.anchors.embedding)
    keeper = Gatekeeper(shop.anchors, workshop.bank, validity, workshop.victim, narrow)
    assert (keeper.judge(some, novel=False).refused < 0).all()


def test_members_that_differ_too_much_refuse_a_sample(asking, shop):
    workshop, _ = asking

    class Unsure(Weather):
        def label(self, candidates):
            unsure = np.where(np.arange(len(candidates)) % 2, 0.6, 0.1).astype(np.float32)
            return replace(super().label(candidates), spread=unsure)

    anchors = shop.anchors
    validity = Certainty(Unsure(anchors), shop.modality, anchors.rows, anchors.embedding, anchors.label)
    gates = GATES.model_copy(update={"min_label_agreement": 0.5})
    every = np.arange(10)
    some = Candidates(every, shop.anchors.rows.take(every), shop.anchors.embedding[every])
    judged = Gatekeeper(shop.anchors, workshop.bank, validity, workshop.victim, gates).judge(some, novel=False)
    assert (judged.refused >= 0).tolist() == [False, True] * 5
