"""Click models on target statistics: boosted trees, and networks that read them beside what they learn."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_ctr import mix_of

from augment.base.errors import UsageError
from augment.numeric.measures import Auc
from consumers import ClickModel
from consumers.models import click_trees as ctr_trees
from gan.victim import Condition

KINDS = [
    {"model": "trees", "leaves": 8},
    {"model": "logistic", "target_statistics": True, "lr": 2e-2},
    {"model": "dcnv2", "target_statistics": True},
]


@pytest.fixture(scope="module")
def clicks(clicks):
    train, valid, test = clicks
    return train.slice(3000), valid, test


def quick(**settings):
    return ClickModel(**{"weight_decay": 0.03, "epochs": 3, "attacked_rows": 200, **settings})


@pytest.fixture(scope="module")
def fitted(clicks):
    train, valid, _ = clicks
    return [quick(**kind).fit(train, valid) for kind in KINDS]


def auc(model, rows):
    return Auc(rows["label"].to_numpy(), model.predict(rows)).value()


def test_statistics_predict_real_clicks(clicks, fitted):
    train, valid, test = clicks
    plain = auc(ClickModel(model="logistic", lr=2e-2).fit(train, valid), test)
    trees, logistic, network = (auc(model, test) for model in fitted)
    assert trees > plain
    assert min(logistic, network) > 0.6


def test_labels_by_chance_teach_nothing(clicks):
    train, valid, test = clicks
    rng = np.random.default_rng(0)
    shuffled = [
        rows.set_column(rows.column_names.index("label"), "label", pa.array(rng.permutation(rows["label"].to_numpy())))
        for rows in (train, valid, test)
    ]
    for kind in KINDS:
        model = quick(**kind).fit(*shuffled[:2])
        assert abs(auc(model, shuffled[2]) - 0.5) < 0.04
        assert np.std(model.predict(test)) < 0.05  # it says the overall rate, rather than what it remembers


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_seed_repeats_and_a_saved_model_predicts_the_same(clicks, fitted, number, tmp_path):
    train, valid, test = clicks
    model = fitted[number]
    again = quick(**KINDS[number]).fit(train, valid)
    np.testing.assert_array_equal(model.predict(test), again.predict(test))
    model.save(tmp_path)
    loaded = ClickModel.load(tmp_path)
    before, after = (m.evaluate(test, m.attacks(test, 0)) for m in (model, loaded))
    np.testing.assert_equal({k: v.value() for k, v in before.items()}, {k: v.value() for k, v in after.items()})
    for name, (values, table) in loaded.tables().items():
        assert model.tables()[name][0] == values
        np.testing.assert_array_equal(model.tables()[name][1], table)


def test_null_and_new_values_are_one(clicks, fitted):
    _, _, test = clicks
    strange = test.slice(0, 1)
    place = strange.column_names.index("item_id")
    null, new = (strange.set_column(place, "item_id", pa.array([v], pa.string())) for v in (None, "no such item"))
    for model in fitted:
        assert model.predict(null) == model.predict(new) != model.predict(strange)


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_the_victim_answers_as_the_model_and_has_a_gradient(clicks, fitted, number):
    _, _, test = clicks
    model = fitted[number]
    parts = []
    for name, (values, table) in model.tables().items():
        place = {value: i for i, value in enumerate(values)}
        parts.append(table[[place.get(value, 0) for value in test[name].to_pylist()]])
    embedding = torch.tensor(np.concatenate(parts, axis=1), requires_grad=True)
    victim = model.as_victim()
    assert victim.dim == embedding.shape[1]
    condition = Condition(torch.ones(len(test)), torch.zeros(len(test)).long(), torch.zeros(len(test), 2))
    loss = victim.loss(embedding, condition)
    logit = -torch.log(torch.expm1(loss)) + model.prior_
    np.testing.assert_allclose(torch.sigmoid(logit).detach(), model.predict(test), atol=1e-4)
    loss.sum().backward()
    assert torch.isfinite(embedding.grad).all()
    assert embedding.grad.abs().sum() > 0
    step = embedding.detach() + 0.2 * embedding.norm(dim=1, keepdim=True) * torch.nn.functional.normalize(
        embedding.grad
    )
    assert victim.loss(step, condition).mean() > loss.mean()  # up the gradient the model's own loss grows


def test_the_mix_teaches_and_its_soft_labels_count(clicks):
    train, valid, test = clicks
    label = train["label"].to_numpy()
    for kind in KINDS:
        plain, worse = (auc(quick(**kind).fit(train, valid, m), test) for m in (None, mix_of(train, 1 - label)))
        assert worse < plain - 0.03
        half = quick(**kind).fit(train, valid, mix_of(train, np.full(len(train), 0.5), weight=50.0)).predict(test)
        assert np.abs(half - 0.5).mean() < 0.05


def test_copies_read_the_statistics_of_their_anchors(clicks, monkeypatch):
    """Copies of all rows, with their labels, change nothing in what a row and its copy read."""
    train, valid, _ = clicks
    seen = []

    def grow(x, label, weight, *rest):
        seen.append(x)
        return original(x, label, weight, *rest)

    original = ctr_trees.boosted_trees.grow
    monkeypatch.setattr(ctr_trees.boosted_trees, "grow", grow)
    mix = mix_of(train, train["label"].to_numpy())
    mix = mix.set_column(mix.column_names.index("anchor_id"), "anchor_id", train["row_id"])
    quick(model="trees", leaves=4).fit(train, valid, mix)
    assert len(seen) == ctr_trees.FORESTS
    for x in seen:
        np.testing.assert_array_equal(x[: len(train)], x[len(train) :])
    assert (seen[0] != seen[1]).any()  # each forest has folds of its own


@pytest.mark.parametrize("rows", [1, 2, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_one_field_and_one_value_are_no_error(rows, kind):
    table = pa.table({
        "row_id": [str(i) for i in range(rows)], "colour": ["red"] * rows,
        "label": pa.array([i % 2 for i in range(rows)], pa.float32()),
    })  # fmt: skip
    model = quick(**kind).fit(table, table)
    assert np.isfinite(model.predict(table)).all()
    assert np.isfinite(model.evaluate(table, model.attacks(table, 0))["logloss"].value())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"adversarial": "fgm"}, "model 'trees' has no `adversarial`"),
        ({"loss": "hinge"}, "model 'trees' has no"),
        ({"leaves": 1}, "leaves = 1 must be from 2 to 32"),
        ({"leaves": 33}, "leaves = 33 must be from 2 to 32"),
    ],
)
def test_what_trees_cannot_do_is_said_at_once(options, said):
    with pytest.raises(UsageError, match=said):
        ClickModel(model="trees", **options)
