import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from augment.base.errors import UsageError
from augment.contracts.sample import sample_schema
from augment.drafting.draft import write_recipe
from augment.drafting.guess import Choices
from augment.judging.verdict import Comparison, decide
from augment.recipes import loading
from consumers import ClickModel
from consumers.models.clicks import HEADS
from gan.victim import Condition


def quick(**settings):
    return ClickModel(**{"weight_decay": 0.03, "epochs": 4, "attacked_rows": 300, **settings})


def mix_of(rows, label, weight=1.0):
    fields = ["user_id", "item_id", "gender", "occupation", "genre"]
    decoded = pa.StructArray.from_arrays([rows[f].combine_chunks() for f in fields], fields)
    schema = sample_schema(decoded.type)
    values = {
        "decoded": decoded,
        "label": pa.array(label, pa.float32()),
        "weight": pa.array([weight] * len(rows), pa.float32()),
    }
    return pa.table({f.name: values.get(f.name, pa.nulls(len(rows), f.type)) for f in schema}, schema)


@pytest.mark.parametrize("model", HEADS)
def test_every_model_predicts_real_clicks(clicks, model):
    train, valid, test = clicks
    fitted = quick(model=model, lr=2e-2 if model == "logistic" else 2e-3, epochs=10).fit(train, valid)
    measures = fitted.evaluate(test, fitted.attacks(test, 0))
    assert measures["auc"].value() > 0.6
    assert measures["logloss"].value() < 0.69
    assert measures["auc_swapped"].value() < measures["auc_masked"].value() < measures["auc"].value() + 0.02
    assert measures["auc_pgd"].value() < measures["auc"].value()
    assert set(measures) == {m for group in ClickModel.metrics.values() for m in group}


def test_null_rare_and_new_values_are_one_trained_unknown(clicks):
    train, valid, test = clicks
    model = quick(epochs=1).fit(train, valid)
    strange = test.slice(0, 1)
    place = strange.column_names.index("item_id")
    null, new = (strange.set_column(place, "item_id", pa.array([v], pa.string())) for v in (None, "no such item"))
    assert model.predict(null) == model.predict(new)
    assert model.predict(null) != model.predict(strange)
    start = model.net_.starts[list(model.values_).index("item_id")]
    fresh = model._net().table.weight[start]
    assert (model.net_.table.weight[start] - fresh).abs().sum() > 0  # rare training values have moved it


def test_the_mix_teaches_and_its_soft_labels_count(clicks):
    train, valid, test = clicks
    flipped, kept = (mix_of(train, label) for label in (1 - train["label"].to_numpy(), train["label"].to_numpy()))
    plain, worse, same = (quick().fit(train, valid, m).evaluate(test, {})["auc"].value() for m in (None, flipped, kept))
    assert worse < plain - 0.03
    assert same > worse
    half = quick(epochs=2).fit(train, valid, mix_of(train, np.full(len(train), 0.5), weight=50.0)).predict(test)
    assert np.abs(half - 0.5).mean() < 0.05


def test_a_seed_repeats_and_a_saved_model_predicts_the_same(clicks, tmp_path):
    train, valid, test = clicks
    first, second = (quick(epochs=2, seed=3).fit(train, valid) for _ in range(2))
    np.testing.assert_array_equal(first.predict(test), second.predict(test))
    first.save(tmp_path)
    loaded = ClickModel.load(tmp_path)
    before, after = (m.evaluate(test, m.attacks(test, 0)) for m in (first, loaded))
    before, after = ([m.value() for m in measures.values()] for measures in (before, after))
    np.testing.assert_array_equal(before, after)  # not a number included: these rows have no time


def test_models_agree_on_which_rows_are_rare(clicks):
    train, valid, test = clicks
    sizes = {quick(epochs=1, min_count=m).fit(train, valid).evaluate(test, {})["auc_rare"].size for m in (1, 2, 6)}
    assert len(sizes) == 1


def test_attacks_are_aligned_and_repeatable(clicks):
    _, _, test = clicks
    model = quick()
    attacked, again = (model.attacks(test, 5) for _ in range(2))
    assert attacked["swapped"].equals(again["swapped"])
    assert len(attacked["swapped"]) == 16 * len(attacked["masked"])
    labels = dict(zip(test["row_id"].to_pylist(), test["label"].to_pylist(), strict=True))
    for row in attacked["swapped"].slice(0, 100).to_pylist():
        assert labels[row["row_id"]] == row["label"]
    nulls = sum(attacked["masked"][f].null_count for f in ("user_id", "item_id", "gender", "occupation", "genre"))
    assert nulls == 300 * 2  # 30% of five fields, rounded


def test_the_victim_is_the_model_in_the_space_of_its_tables(clicks):
    train, valid, test = clicks
    model = quick(epochs=1).fit(train, valid)
    parts = []
    for name, (values, table) in model.tables().items():
        place = {value: i for i, value in enumerate(values)}
        parts.append(table[[place.get(value, 0) for value in test[name].to_pylist()]])
    vectors = np.concatenate(parts, axis=1)
    ones = torch.ones(len(test))
    condition = Condition(ones, torch.zeros(len(test), dtype=torch.long), torch.zeros(len(test), 2))
    embedding = torch.tensor(vectors, requires_grad=True)
    victim = model.as_victim()
    assert victim.dim == vectors.shape[1]
    loss = victim.loss(embedding, condition)
    logit = -torch.log(torch.expm1(loss)) + model.prior_
    np.testing.assert_allclose(torch.sigmoid(logit).detach(), model.predict(test), atol=1e-4)
    loss.sum().backward()
    assert torch.isfinite(embedding.grad).all()
    assert not any(p.requires_grad for p in model.net_.parameters())


def test_an_unknown_model_gets_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'dcnv2'"):
        ClickModel(model="dcn2")


def test_its_first_recipe_publishes_what_gains_on_clean_rows_alone(tmp_path):
    rows = {"click": [i % 2 for i in range(240)], "size": ["S", "M", "L"] * 80, "week": ["odd", "even"] * 120}
    pq.write_table(pa.table(rows), tmp_path / "clicks.parquet")
    (task,) = loading.parse(write_recipe([tmp_path / "clicks.parquet"], Choices(task="ctr")), "written").tasks.values()
    assert task.samples == 20_000
    settings = task.verdict
    same = {name: Comparison(0.7, 0.7, 0.7, "", 0.0, -0.001, 0.001, 1.0, "higher") for name in settings.improve}
    same["logloss"] = Comparison(0.5, 0.49, 0.5, "", -0.01, -0.014, -0.006, 1e-4, "lower")
    gain = Comparison(0.7, 0.71, 0.7, "", 0.01, 0.006, 0.014, 1e-4, "higher")
    for better, published in (("auc", True), ("auc_renamed", True), ("auc_masked", False)):
        found = {**same, better: gain}
        verdict = decide(found, settings.clean, settings.improve, tolerance=0.002, confidence=0.95,
                         rehearsed=ClickModel.rehearsed)  # fmt: skip
        assert verdict.accepted is published, verdict.reason
