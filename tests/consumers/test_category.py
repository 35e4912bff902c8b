"""Classifiers of many classes: their solver, losses, measures and the victim that they are."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from augment.contracts.values import Candidates
from augment.gates.labels import LabelValidity
from augment.numeric.columns import as_labels, labels_of
from augment.testing.data import of_many_classes, rows, trigrams
from augment.testing.shop import around
from consumers.category import Category
from consumers.models import softmax
from consumers.scoring import many_classes
from consumers.training.losses import LOSSES
from consumers.victims import LogitVictim
from gan.live import Live
from gan.losses import belief, cross_entropy, divergence, margin
from gan.victim import Condition


@pytest.fixture(scope="module")
def points():
    """Vectors of four classes, whose means differ, and their labels."""
    rng = np.random.default_rng(0)
    label = np.eye(4, dtype=np.float32)[rng.integers(4, size=400)]
    x = rng.standard_normal((400, 6)).astype(np.float32) + 1.5 * label @ rng.standard_normal((4, 6)).astype(np.float32)
    return x, label


def test_the_solver_finds_what_scikit_learn_finds(points):
    x, label = points
    known = LogisticRegression(C=0.5, max_iter=2000, tol=1e-8).fit(x, label.argmax(axis=1))
    tensors = [torch.from_numpy(part) for part in (x, label, np.ones(len(x), np.float32))]
    weight, bias = softmax.fit(*tensors, c=0.5)
    said = torch.softmax(tensors[0] @ weight.T + bias, dim=1).numpy()
    assert np.abs(said - known.predict_proba(x)).max() < 2e-3
    warm = softmax.fit(*tensors, c=0.5, start=softmax.fit(*tensors, c=30.0))
    assert torch.allclose(warm[0], weight, atol=5e-3)


def test_a_soft_label_teaches_as_its_shares_of_hard_ones_do(points):
    x, label = (torch.from_numpy(part) for part in points)
    soft = 0.7 * label + 0.3 * label.roll(1, 1)
    one = softmax.fit(x, soft, torch.ones(len(x)), 1.0)
    weight = torch.cat([torch.full((len(x),), 0.7), torch.full((len(x),), 0.3)])
    two = softmax.fit(torch.cat([x, x]), torch.cat([label, label.roll(1, 1)]), weight, 1.0)
    assert torch.allclose(one[0], two[0], atol=2e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_two_of_many_classes_are_those_of_two(name):
    """Of logits (0, z) softmax is the sigmoid of z; the squared error is then counted twice."""
    logit = torch.tensor([-3.0, -0.4, 0.2, 2.5])
    label = torch.tensor([0.0, 1.0, 0.3, 1.0])
    wide, shares = torch.stack([torch.zeros(4), logit], dim=1), torch.stack([1 - label, label], dim=1)
    found, known = LOSSES[name](wide, shares), LOSSES[name](logit, label)
    assert torch.allclose(found, known * (2 if name == "l2" else 1), atol=1e-6)
    assert torch.allclose(belief(wide)[:, 1], belief(logit))
    assert torch.allclose(divergence(wide, -wide), divergence(logit, -logit), atol=1e-6)


def test_a_victims_loss_is_softplus_of_the_odds_against_all_other_classes():
    logit = torch.tensor([[2.0, -1.0, 0.5]])
    victim = LogitVictim(lambda x: x, 3, torch.log(torch.tensor([0.5, 0.3, 0.2])))
    relative = logit - victim.prior
    for k in range(3):
        label = torch.eye(3)[[k]]
        loss = victim.loss(logit, Condition(label, torch.zeros(1).long(), label))
        others = torch.cat([relative[:, :k], relative[:, k + 1 :]], dim=1)
        assert torch.allclose(margin(loss), relative[:, k] - others.logsumexp(dim=1), atol=1e-4)


def test_the_live_generator_takes_labels_of_many_numbers():
    live, x = Live(5, 3, every=1, seed=0, device="cpu"), torch.randn(7, 5)
    label = torch.eye(3)[torch.arange(7) % 3]
    delta = live.perturb(x, label, torch.randn(7, 5), torch.full((7, 1), 0.2))
    assert torch.allclose(delta.norm(dim=1), torch.full((7,), 0.2), atol=1e-5)


def test_label_columns_come_back_as_they_were():
    label = np.array([[0.2, 0.8], [1, 0]], np.float32)
    assert np.array_equal(labels_of(as_labels(label)), label)
    holes = as_labels(label).to_pylist()
    import pyarrow as pa

    found = labels_of(pa.chunked_array([[holes[0], None], [holes[1]]], pa.list_(pa.float32())))
    assert np.isnan(found[1]).all()
    assert np.array_equal(found[[0, 2]], label)


def test_macro_f1_is_scikit_learns(points):
    x, label = points
    said = np.abs(x[:, :4]) / np.abs(x[:, :4]).sum(axis=1, keepdims=True)
    found = many_classes.clean_measures(label, said)
    known = f1_score(label.argmax(axis=1), said.argmax(axis=1), average="macro")
    assert found["macro_f1"].value() == pytest.approx(known)
    assert found["accuracy"].value() == pytest.approx((label.argmax(axis=1) == said.argmax(axis=1)).mean())


def test_models_that_never_saw_an_anchor_judge_labels_of_many_classes(points):
    x, label = points
    label = label.copy()
    label[:40] = np.nan
    validity = LabelValidity(x, label, 0)
    assert np.allclose(validity.label.sum(axis=1), 1, atol=1e-4)
    assert np.array_equal(validity.label[40:], label[40:])
    index = np.arange(len(x))
    still = validity.agreement(Candidates(index, None, x))
    assert np.allclose(still, 1)
    other = np.roll(index, 1)[label.argmax(axis=1)[np.roll(index, 1)] != label.argmax(axis=1)]
    moved = validity.agreement(Candidates(other, None, x[(other + 1) % len(x)]))
    assert moved.mean() < 0.6


def test_a_class_that_a_fold_never_sees_is_never_said(points):
    x, label = points
    rare = np.flatnonzero(label[:, 3])
    keep = np.setdiff1d(np.arange(len(x)), rare[1:])  # one row of it is left
    validity = LabelValidity(x[keep], label[keep], 0)
    own = np.flatnonzero(label[keep][:, 3])[0]
    assert validity._anchor[own, 3] < 1e-6


@pytest.mark.parametrize("families", ["mixup+fgm+live+vat", "pgd+freelb+gaussian"])
@pytest.mark.parametrize("loss", LOSSES)
def test_adversarial_training_of_many_classes(families, loss):
    options = {"model": "mlp", "adversarial": families, "loss": loss, "C": 3.0, "epochs": 30, "trades": loss == "hinge"}
    shop = around(Category, options={**options, "variants": 1})
    assert shop.figures["accuracy"] > 0.6


def test_equal_weight_makes_rare_classes_heard():
    table = of_many_classes(rows())
    kind = labels_of(table["label"]).argmax(axis=1)
    kept = table.take(np.concatenate([np.flatnonzero(kind == 0), np.flatnonzero(kind != 0)[:40]]))
    text = kept["text"].to_pylist()
    from augment.numeric.columns import with_vectors

    train = with_vectors(kept, trigrams([]).encode(text))
    plain, fair = (Category(C=1.0, balanced=b).fit(train, train).predict(train) for b in (False, True))
    assert fair[:, 1:].sum() > plain[:, 1:].sum()
    assert cross_entropy(torch.zeros(2, 3), torch.eye(3)[:2]).shape == (2,)
