import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.sparse import vstack

from augment.base.errors import BadInput, UsageError
from augment.contracts.sample import sample_schema
from augment.numeric.histories import flipped, ordered
from consumers import Recommender
from consumers.rankers.embedding import LOSSES
from consumers.rankers.samplers import SAMPLERS
from consumers.scoring import shilling
from gan.victim import Condition

GRAPH = {"model": "lightgcn", "loss": "bpr", "sampler": "mixgcf", "filter_share": 0.05, "epochs": 100, "l2": 0.1}
MODELS = [
    {},
    {"dropout": 0.3},
    {"recency": 3.0, "recency_floor": 0.1},
    {"model": "als", "dim": 8},
    {"model": "neighbours"},
    {"model": "transitions"},
    {"model": "mf"},
    {"model": "mf", "loss": "bpr"},
    {"model": "mf", "loss": "sl@k", "distill": 0.5},
    {"model": "mf", "adversarial": "apr", "radius": 0.1},
    {"model": "lightgcn"},
    GRAPH,
]
# On real data: every loss, every sampler.
LEARNERS = [
    *({"model": "mf", "loss": loss} for loss in LOSSES),
    *({"model": "mf", "loss": "bpr", "sampler": sampler} for sampler in SAMPLERS),
    {"model": "mf", "loss": "bpr", "sampler": "dns", "filter_share": 0.05},
    {"model": "lightgcn", "loss": "bpr", "sampler": "mixgcf", "filter_share": 0.1},
    {"model": "mf", "adversarial": "apr", "radius": 0.1},
    {"model": "mf", "distill": 1.0},
]


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


def synthetic(items, targets, negatives, weight=1.0, anchors=None):
    decoded = pa.struct([(name, pa.list_(pa.string())) for name in ("items", "targets", "negatives")])
    schema = sample_schema(decoded)
    values = {
        "decoded": [
            {"items": i, "targets": t, "negatives": n} for i, t, n in zip(items, targets, negatives, strict=True)
        ],
        "weight": [weight] * len(items),
        "anchor_id": anchors or [None] * len(items),
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
    mix = synthetic([["i00", "i01"]] * 60, [["i00", "i01", "i39"]] * 60, [["i30"]] * 60, 1.0, ["u0", "u1", "new"] * 20)
    model = Recommender(**settings).fit(train, valid, mix)
    model.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(test), model.predict(test))
    before, after = (m.evaluate(test, m.attacks(test, 0)) for m in (model, loaded))
    np.testing.assert_equal(*({k: v.value() for k, v in one.items()} for one in (after, before)))  # NaN is NaN


def test_an_unknown_user_gets_what_is_popular(shop):
    train, valid, _ = shop
    model = Recommender().fit(train, valid)
    scores = model.predict(pa.table({"user_id": ["stranger"]}))
    np.testing.assert_array_equal(scores[0], model.seen_.getnnz(axis=0))


def test_test_rows_are_never_history(shop):
    train, valid, _ = shop
    assert Recommender().fit(train, valid).seen_.nnz == len(train) + len(valid)


def test_the_attack_pushes_its_targets_into_lists(shop):
    train, valid, test = shop
    model = Recommender(model="mf").fit(train, valid)
    fakes = model.attacks(test, 0)["shilling"]
    assert fakes.equals(model.attacks(test, 0)["shilling"])
    assert len(set(fakes.filter(pa.compute.equal(fakes["kind"], "target"))["item_id"].to_pylist())) == 5
    assert model.evaluate(test, {"shilling": fakes})["target_hit@50"].better_is == "lower"


def test_every_metric_it_names_is_measured(shop):
    train, valid, test = shop
    model = Recommender().fit(train, valid)
    measured = model.evaluate(test, model.attacks(test, 0))
    assert set(measured) == {metric for group in Recommender.metrics.values() for metric in group}
    unknown = {name for name, measure in measured.items() if not np.isfinite(measure.value())}
    fresh = {*Recommender.metrics["new items"], *Recommender.metrics["new users"]}
    assert unknown == fresh  # no item of the test is new, and no user


def test_the_kinds_of_fake_users_make_up_their_union(shop):
    tables = shilling.attacks(shop[2], 0)
    kinds = [set(tables[f"shilling-{kind}"]["user_id"].to_pylist()) for kind in shilling.KINDS]
    assert all(kinds)
    assert set.union(*kinds) == set(tables["shilling"]["user_id"].to_pylist())
    assert sum(map(len, kinds)) == len(set.union(*kinds))


def test_flips_keep_each_users_count_and_move_a_tenth(shop):
    model = Recommender().fit(*shop[:2])
    history = model._history(pa.concat_tables(shop))  # twelve items each: one of them is flipped
    flips, users = shilling.flips(history, 0), np.arange(history.shape[0])
    moved = flipped(history, flips, users)
    assert (flips != shilling.flips(history, 0)).nnz == 0
    assert (flipped(history, flips, np.full_like(users, -1)) != history).nnz == 0
    np.testing.assert_array_equal(moved.getnnz(axis=1), history.getnnz(axis=1))
    for row in range(len(users)):  # a new item takes the old one's place
        assert sorted(moved[row].data) == list(range(1, 13))
    kept = moved.multiply(history).getnnz(axis=1)
    np.testing.assert_array_equal(kept, history.getnnz(axis=1) - 1)


@pytest.fixture(scope="module")
def movies(demo_folder):
    """MovieLens-100k ratings of 4 and 5: each user's last fifth is the test, an eighth before it validation."""
    ratings = pq.read_table(demo_folder / "behaviour.parquet").to_pandas()
    ratings = ratings[ratings["rating"] >= 4].astype({"user_id": str, "item_id": str})
    ratings = ratings[ratings.groupby("item_id")["user_id"].transform("size") >= 10]
    ratings = ratings.sort_values(["user_id", "timestamp", "item_id"])
    place = (ratings.groupby("user_id").cumcount() + 0.5) / ratings.groupby("user_id")["item_id"].transform("size")
    columns = ratings[["user_id", "item_id"]]
    parts = (columns[place < 0.7], columns[(place >= 0.7) & (place < 0.8)], columns[place >= 0.8])
    return [pa.Table.from_pandas(part, preserve_index=False) for part in parts]


@pytest.mark.parametrize("settings", LEARNERS, ids=str)
def test_every_loss_and_sampler_beats_popularity_on_real_data(movies, settings):
    train, valid, test = movies
    learnt = Recommender(**settings, l2=1.0).fit(train, valid).evaluate(test, {})["ndcg@20"].value()
    popular = Recommender(model="popular").fit(train, valid).evaluate(test, {})["ndcg@20"].value()
    assert learnt > 1.05 * popular


@pytest.mark.parametrize(
    "settings", [{"adversarial": "apr"}, {"loss": "bpr", "sampler": "mixgcf", "filter_share": 0.1}, {"distill": 1.0}]
)
def test_a_seed_repeats_a_model_and_another_does_not(movies, settings):
    train, valid, test = movies
    fitted = [Recommender(model="mf", l2=1.0, epochs=2, seed=s, **settings).fit(train, valid) for s in (0, 0, 1)]
    first, second, other = (model.predict(test.slice(0, 50)) for model in fitted)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("model", ["ease", "neighbours", "transitions"])
def test_of_a_real_log_what_was_liked_lately_tells_more(movies, model):
    train, valid, test = movies
    alike, recent = (Recommender(model=model, recency=r).fit(train, valid) for r in (0.0, -1.0))
    assert recent.recency_[0] > 0
    before, after = (m.evaluate(test, {})["ndcg@20"].value() for m in (alike, recent))
    assert after > before + 0.005


def test_where_the_order_says_nothing_recency_is_left_off():
    """Two kinds of users, whose items come in any order: the more of them are shown, the surer the kind."""
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{2 * item + u % 2}") for u in range(200) for item in rng.permutation(30)[:6]]
    rows += [(f"u{u}", f"i{item}") for u in range(200) for item in rng.permutation(60)[:6]]
    rng.shuffle(rows)
    users, items = (pa.array(column) for column in zip(*rows, strict=True))
    table = pa.table({"user_id": users, "item_id": items})
    model = Recommender(l2=50.0).fit(table.slice(0, 1400), table.slice(1400))
    assert model.recency_ == (0.0, 0.0) or model.recency_[1] > 0.2


def test_validation_rows_are_the_latest_that_is_shown(shop):
    train, valid, _ = shop
    model = Recommender(l2=20.0, recency=2.0, recency_floor=0.0).fit(train, valid)
    user = model.users_.index("u3").as_py()
    mine = [t.filter(pa.compute.equal(t["user_id"], "u3"))["item_id"].to_pylist() for t in (train, valid)]
    weights = np.zeros(len(model.items_))
    for age, item in enumerate(reversed(mine[0] + mine[1])):
        weights[model.items_.index(item).as_py()] = np.exp(-age / 2)
    scores = model.predict(pa.table({"user_id": ["u3"]}))[0]
    np.testing.assert_allclose(scores, weights @ model.state_["items"], rtol=1e-4, atol=1e-6)
    assert model.seen_[user].data.max() == len(mine[0] + mine[1])


def test_inverse_propensity_finds_more_of_the_tail(movies):
    train, valid, test = movies
    plain, weighed = (Recommender(l2=200.0, propensity=p).fit(train, valid).evaluate(test, {}) for p in (0.0, 0.3))
    assert weighed["tail_recall@20"].value() > 1.3 * plain["tail_recall@20"].value()
    assert weighed["coverage"].value() > plain["coverage"].value()
    assert weighed["mean_popularity"].value() < plain["mean_popularity"].value()


def test_fake_users_are_among_the_suspects(movies):
    train, valid, test = movies
    model = Recommender(l2=200.0).fit(train, valid)
    fakes = model.attacks(test, 0)["shilling"]
    fake = ordered(fakes, pa.compute.unique(fakes["user_id"].combine_chunks()), model.items_)
    found = shilling.suspects(vstack([model.history_, fake]).tocsr(), 0.05)
    assert found.sum() == round(0.05 * len(found))
    assert found[-fake.shape[0] :].mean() > 0.7
    wary = Recommender(l2=200.0, suspects=0.05).fit(train, valid)
    lift = [m.evaluate(test, {"shilling": fakes})["target_lift@50"].value() for m in (model, wary)]
    assert lift[1] < 0.5 * lift[0]


@pytest.mark.parametrize("suspects", [0.0, 0.05])
def test_copies_of_the_log_gain_nothing_under_attack(movies, suspects):
    """A mix of the real users themselves is the log twice: half the ridge, whatever else happens to the log."""
    train, valid, test = movies
    users = train.group_by("user_id").aggregate([("item_id", "list")])
    lists = users["item_id_list"].to_pylist()
    copies = synthetic(lists, lists, [[]] * len(lists), 1.0, users["user_id"].to_pylist())
    plain = Recommender(l2=200.0, suspects=suspects).fit(train, valid)
    doubled = Recommender(l2=400.0, suspects=suspects).fit(train, valid, copies)
    found = [model.evaluate(test, model.attacks(test, 0)) for model in (plain, doubled)]
    expected, values = ({name: measure.value() for name, measure in one.items()} for one in found)
    assert values == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_a_users_flips_are_made_in_its_samples(shop):
    model = Recommender().fit(*shop[:2])
    own = model.history_[0].indices
    names = model.items_.to_pylist()
    flips = shilling.flips(model._history(pa.concat_tables(shop)), 0)
    old = flips[0].indices[flips[0].data > 0][0]
    new = flips[0, old] - 1
    shown = [[names[i] for i in {*own.tolist(), int(old)}]] * 2
    mix = synthetic(shown, shown, [[names[new]]] * 2, 1.0, [model.users_[0].as_py(), "stranger"])
    made = Recommender().fit(*shop[:2], mix).mix_.flipped(flips)
    for matrix in (made.items, made.targets):
        assert (matrix[0, old], matrix[0, new], matrix[1, old], matrix[1, new]) == (0, 1, 1, 0)
    assert made.negatives.toarray()[:, new].tolist() == [0, 1]


def test_dropout_shrinks_what_popular_items_say(movies):
    train, valid, _ = movies
    plain, hidden = (Recommender(l2=100.0, dropout=p).fit(train, valid) for p in (0.0, 0.5))
    popularity = np.asarray(plain.history_.sum(axis=0)).ravel()
    popular, rare = popularity >= np.quantile(popularity, 0.9), popularity <= np.quantile(popularity, 0.5)
    strength = [np.abs(model.state_["items"]).sum(axis=1) for model in (plain, hidden)]
    assert strength[1][popular].sum() / strength[0][popular].sum() < strength[1][rare].sum() / strength[0][rare].sum()


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


def test_item_vectors_are_made_once_for_each_fit(shop):
    train, valid, _ = shop
    model = Recommender(l2=100.0, recency=0.0).fit(train, valid)
    vectors = model.tables()["item_id"][1]
    assert np.shares_memory(model.tables()["item_id"][1], vectors)
    few = train.slice(0, len(train) // 2)
    again = model.fit(few, valid).tables()["item_id"][1]
    alone = Recommender(l2=100.0, recency=0.0).fit(few, valid).tables()["item_id"][1]
    np.testing.assert_array_equal(again, alone)
    assert again.shape != vectors.shape or not np.array_equal(again, vectors)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "mf", "sampler": "dns"}, "'sampler' is read with loss bpr or hinge or l2 only; loss is 'softmax'"),
        ({"model": "mf", "loss": "sl@k", "filter_share": 0.1}, "'filter_share' is read with loss bpr"),
        ({"model": "mf", "loss": "bpr", "temperature": 0.1}, "'temperature' is read with loss softmax or sl@k"),
        ({"model": "mf", "loss": "bpr", "sampler": "dns", "nearest": 2}, "'nearest' is read with sampler dns-mn"),
        ({"model": "mf", "radius": 0.1}, "'radius' is read with adversarial apr"),
        ({"recency": 0.0, "recency_floor": 0.1}, "'recency_floor' is read with a recency other than 0"),
    ],
    ids=str,
)
def test_an_option_without_effect_is_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        Recommender(**settings)


def test_what_is_popular_heeds_weights(shop):
    train, valid, _ = shop
    mix = synthetic([["i00"]] * 8, [["i39"]] * 8, [[]] * 8, 0.25)
    plain, mixed = (Recommender(model="popular").fit(train, valid, m).state_["popularity"] for m in (None, mix))
    assert (mixed - plain).tolist() == [0.0] * 39 + [2.0]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'ease'"):
        Recommender(model="eas")
    with pytest.raises(BadInput, match="no model"):
        Recommender.load(tmp_path)
