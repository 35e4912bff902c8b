import numpy as np
import pyarrow as pa
import pytest
import torch

from augment.errors import BadInput, UsageError
from augment.samples import sample_schema
from consumers import Recommender
from gan.victim import Condition

MODELS = [{}, {"model": "mf"}, {"model": "mf", "loss": "bpr"}, {"model": "lightgcn"}]


@pytest.fixture(scope="module")
def shop():
    """Two groups of users who like two groups of items: what a recommender must find out."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(80):
        liked = rng.choice(20, size=12, replace=False) + 20 * (user % 2)
        rows += [(f"u{user}", f"i{item:02}", place) for place, item in enumerate(liked)]
    tables = []
    for first, last in ((0, 8), (8, 9), (9, 12)):
        users, items, _ = zip(*[r for r in rows if first <= r[2] < last], strict=True)
        tables.append(pa.table({"user_id": users, "item_id": items}))
    return tables


def synthetic(items, targets, negatives, weight=1.0):
    decoded = pa.struct([(name, pa.list_(pa.string())) for name in ("items", "targets", "negatives")])
    schema = sample_schema(decoded)
    values = {
        "decoded": [
            {"items": i, "targets": t, "negatives": n} for i, t, n in zip(items, targets, negatives, strict=True)
        ],
        "weight": [weight] * len(items),
    }
    return pa.table({f.name: values.get(f.name, pa.nulls(len(items), f.type)) for f in schema}, schema)


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_every_model_learns_the_groups_far_better_than_popularity(shop, settings):
    train, valid, test = shop
    learnt = Recommender(**settings).fit(train, valid).evaluate(test, {})["ndcg@20"].value()
    popular = Recommender(model="popular").fit(train, valid).evaluate(test, {})["ndcg@20"].value()
    assert learnt > 1.3 * popular


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_the_mix_changes_the_model_and_a_seed_repeats_it(shop, settings):
    train, valid, _ = shop
    # Synthetic users who saw i00 and want i39 link the two groups.
    mix = synthetic([["i00", "i01"]] * 60, [["i00", "i01", "i39"]] * 60, [["i30"]] * 60)
    seen = [u for u, i in zip(*train.to_pydict().values(), strict=True) if i == "i00"]
    users = pa.table({"user_id": seen})
    plain, first, second = (Recommender(**settings).fit(train, valid, m) for m in (None, mix, mix))
    target = first.items_.index("i39").as_py()
    np.testing.assert_array_equal(first.predict(users), second.predict(users))
    gain = first.predict(users) - plain.predict(users)
    assert gain[:, target].mean() > np.delete(gain[:, 20:], target - 20, axis=1).mean() + 0.01


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_a_saved_model_predicts_the_same(shop, settings, tmp_path):
    train, valid, test = shop
    model = Recommender(**settings).fit(train, valid)
    model.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(test), model.predict(test))
    before, after = (m.evaluate(test, m.attacks(test, 0)) for m in (model, loaded))
    assert {k: v.value() for k, v in before.items()} == {k: v.value() for k, v in after.items()}


def test_an_unknown_user_gets_what_is_popular(shop):
    train, valid, _ = shop
    model = Recommender().fit(train, valid)
    scores = model.predict(pa.table({"user_id": ["stranger"]}))
    np.testing.assert_array_equal(scores[0], np.asarray(model.seen_.sum(axis=0)).ravel())


def test_test_rows_are_never_history(shop):
    train, valid, _ = shop
    assert Recommender().fit(train, valid).seen_.nnz == len(train) + len(valid)


def test_the_attack_pushes_its_targets_into_lists(shop):
    train, valid, test = shop
    model = Recommender(model="mf").fit(train, valid)
    fakes = model.attacks(test, 0)["shilling"]
    assert fakes.equals(model.attacks(test, 0)["shilling"])
    assert len(set(fakes.filter(pa.compute.equal(fakes["kind"], "target"))["item_id"].to_pylist())) == 5
    assert "target_hit@50" in model.evaluate(test, {"shilling": fakes})


def test_the_victim_finds_a_liked_item_easier_than_one_of_the_other_group(shop):
    train, valid, _ = shop
    model = Recommender().fit(train, valid)
    _, vectors = model.tables()["item_id"]
    victim = model.as_victim()
    user = torch.tensor(vectors[:10].sum(axis=0, keepdims=True))
    user = (user / user.norm()).requires_grad_(True)
    own, other = (Condition(torch.tensor([i]), torch.tensor([0]), torch.zeros(1, 1)) for i in (15, 35))
    assert victim.loss(user, own) < victim.loss(user, other)
    victim.loss(user, own).sum().backward()
    assert torch.isfinite(user.grad).all()
    assert user.grad.abs().sum() > 0


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'ease'"):
        Recommender(model="eas")
    with pytest.raises(BadInput, match="no model"):
        Recommender.load(tmp_path)
