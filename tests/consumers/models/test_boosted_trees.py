import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from consumers.models import boosted_trees
from consumers.models.boosted_trees import DEPTH, Forest, Growth, grow, mean


def rows(count=1500, seed=0):
    """Few distinct values in one column, ties at thresholds in others, as statistics have."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, 3, count), rng.integers(0, 60, count) / 7, rng.normal(size=count)], axis=1)
    x = x.astype(np.float32)
    label = (rng.random(count) < 1 / (1 + np.exp(-(x[:, 0] - 1) * x[:, 2]))).astype(np.float32)
    return x, label


def test_arrays_answer_as_the_trees_they_were_made_of():
    x, label = rows()
    fitted = HistGradientBoostingClassifier(max_depth=DEPTH, max_leaf_nodes=12, max_iter=30).fit(x, label)
    forest = boosted_trees._as_arrays(fitted)
    fresh = np.concatenate([x, rows(500, 1)[0], np.nextafter(x, np.float32(np.inf))])
    found = forest(torch.from_numpy(fresh)).numpy()
    np.testing.assert_allclose(found, fitted.decision_function(fresh), atol=1e-6)


def test_trees_beyond_the_best_validation_loss_are_cut():
    x, label = rows(400)
    held_out = rows(4000, 2)
    weight = np.ones(400, np.float32)
    loss, forest = grow(x, label, weight, held_out, Growth(leaves=16, trees=80, least=2), 0)
    assert 0 < len(forest.leaf) < 80

    def loss_of(some):
        logit = some(torch.from_numpy(held_out[0]))
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(held_out[1])))

    assert loss == pytest.approx(loss_of(forest), abs=1e-6)
    assert loss < loss_of(forest.cut(len(forest.leaf) - 1))
    assert loss < loss_of(forest.cut(0))


def test_a_soft_label_is_both_labels_by_halves_and_weight_counts():
    x, label = rows()
    held_out, weight = rows(1000, 3), np.ones(len(x), np.float32)
    growth = Growth(leaves=4, trees=20)
    twice = np.concatenate([x, x])
    both = np.concatenate([label, 1 - label])
    soft = np.where(label > 0, np.float32(0.8), np.float32(0.2))
    shares = np.concatenate([0.8 * weight, 0.2 * weight]).astype(np.float32)
    _, first = grow(x, soft, weight, held_out, growth._replace(least=2), 0)
    _, second = grow(twice, both, shares, held_out, growth._replace(least=2), 0)
    x_test = torch.from_numpy(held_out[0])
    np.testing.assert_allclose(first(x_test), second(x_test), atol=1e-5)
    heavy = np.where(label > 0, 50, 1).astype(np.float32)
    _, third = grow(x, label, heavy, (x, np.ones_like(label)), growth, 0)
    assert (third(x_test) > first(x_test)).float().mean() > 0.95


def test_the_mean_of_forests_has_the_mean_of_their_logits():
    x, label = rows()
    made = [
        grow(x, label, np.ones(len(x), np.float32), rows(300, s), Growth(leaves), s)[1]
        for s, leaves in ((1, 4), (2, 8))
    ]
    one = mean(made)
    points = torch.from_numpy(x)
    np.testing.assert_allclose(one(points), (made[0](points) + made[1](points)) / 2, atol=1e-6)


@pytest.mark.parametrize("label", [np.zeros(20, np.float32), np.ones(20, np.float32)])
def test_rows_of_one_class_grow_no_tree(label):
    x = rows(20)[0]
    _, forest = grow(x, label, np.ones(20, np.float32), (x, label), Growth(4), 0)
    assert len(forest.leaf) == 0
    np.testing.assert_allclose(torch.sigmoid(forest(torch.from_numpy(x))), label, atol=1e-3)


def test_a_leaf_above_the_last_floor_fills_what_is_below_it():
    forest = Forest(1)
    nodes = np.zeros(1, [("value", float), ("is_leaf", bool)])
    nodes["value"], nodes["is_leaf"] = 2.5, True
    boosted_trees._place(nodes, 0, forest, 0, 0)
    assert forest(torch.randn(7, 1)).tolist() == [2.5] * 7
