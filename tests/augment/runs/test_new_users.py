"""New users from a log to a verdict, and in the hands of someone who has no model of ours."""

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ran import night, recipe_of, run

from augment.base.errors import BadInput, UsageError
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.runs.single import train
from augment.sources.prepare import prepare
from consumers import Recommender, new_user_scores, open_mix

KINDS, EACH, USERS = 8, 20, 300
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
EXAMPLES = Path(__file__).parents[3] / "scripts" / "examples" / "new_users"
RECIPE = """
name = "shop"
seed = 3
output = "{folder}/out"
[sources.orders]
path = "{folder}/orders.parquet"
columns = {{ user = "user", item = "item", timestamp = "at" }}
split = {{ by = "new_users", valid = 0.1, test = 0.25 }}
[tasks.recommend]
consumer = "recommender"
source = "orders"
options = {{ model = "mf", l2 = 1.0, epochs = 5 }}
new_users = {{ neighbours = 40 }}
verdict = {{ seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["ndcg_new_users@20"] }}
"""


def shop(folder):
    """Orders of users who like one kind, and of each item of a kind rather the first ones."""
    rng = np.random.default_rng(0)
    rows, liking = [], 1 / np.arange(2, EACH + 2)
    for user in range(USERS):
        liked = rng.choice(EACH, 9, replace=False, p=liking / liking.sum())
        items = [f"k{user % KINDS}-{n}" for n in liked] + [f"k{rng.integers(KINDS)}-{rng.integers(EACH)}"]
        rows += [(f"u{user}", item, START + timedelta(days=float(rng.random() * 20))) for item in items]
    users, items, times = zip(*rows, strict=True)
    pq.write_table(pa.table({"user": users, "item": items, "at": times}), folder / "orders.parquet")


def recipe(folder, **replaced):
    return recipe_of(RECIPE.format(folder=folder), **replaced)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    shop(folder)
    return folder, run(recipe(folder), device="cpu", threads=1)["tasks"]["recommend"]


def splits(folder, where, seed=3):
    found = prepare("orders", recipe(folder).sources["orders"], "behaviour", where, seed)
    return {name: pq.read_table(getattr(found, name)) for name in ("train", "valid", "test")}


def test_a_split_by_new_users_leaves_the_first_rows_of_theirs_to_train_on(tmp_path):
    shop(tmp_path)
    found = splits(tmp_path, tmp_path / "splits")
    sizes = {name: pc.value_counts(rows["user_id"].combine_chunks()).to_pylist() for name, rows in found.items()}
    train = {one["values"]: one["counts"] for one in sizes["train"]}
    few = {user for user, count in train.items() if count <= 3}
    assert set(train.values()) >= {1, 2, 3}
    assert 0.2 < len(few) / USERS < 0.5
    assert len(train) == USERS
    asked = {name: few & set(rows["user_id"].to_pylist()) for name, rows in found.items()}
    assert not asked["valid"] & asked["test"]
    assert asked["valid"]
    times = {}
    for name, rows in found.items():
        for user, at in zip(rows["user_id"].to_pylist(), rows["timestamp"].to_pylist(), strict=True):
            times.setdefault((user, name), []).append(at)
    for user in asked["test"]:
        assert max(times[user, "train"]) <= min(times[user, "test"])
    assert splits(tmp_path, tmp_path / "other", 4)["test"]["user_id"] != found["test"]["user_id"]


def test_it_is_published_with_a_verdict(ran):
    _, task = ran
    metrics = task["verdict"]
    assert task["status"] == "published", task["reason"]
    assert metrics["ndcg_new_users@20"]["diff"] > 0.05
    assert metrics["recall_new_users@20"]["mix"] > metrics["recall_new_users@20"]["real"]
    assert metrics["ndcg@20"]["diff"] > 0  # they are users too


def test_a_row_says_what_it_is_made_of(ran, tmp_path):
    folder, _ = ran
    mix, shown = open_mix(folder / "out", "recommend").to_table(), splits(folder, tmp_path)["train"]
    has = {}
    for user, item in zip(shown["user_id"].to_pylist(), shown["item_id"].to_pylist(), strict=True):
        has.setdefault(user, set()).add(item)
    assert set(mix["strategy"].to_pylist()) == {"new-users"}
    rows = mix.to_pylist()
    assert {row["anchor_id"] for row in rows} == {user for user, items in has.items() if len(items) <= 3}
    for row in rows:
        assert set(row["decoded"]["items"]) == has[row["anchor_id"]]
        assert not row["decoded"]["targets"]
        assert sum(row["neighbour_weights"]) == pytest.approx(1, abs=1e-5)
        others = [name for name in row["neighbour_ids"] if name != row["anchor_id"]]
        assert len(others) <= 40
        assert all(len(has[name]) > 3 for name in others)
        assert row["label_source"] in ("items", "vectors")
        assert 0 < row["plausibility"] <= 1


def test_what_is_published_passes_the_audit(ran):
    folder, _ = ran
    assert Dataset(folder / "out" / "recommend").verify() == []


def test_the_same_run_again_is_the_same_version(ran):
    folder, _ = ran
    run(recipe(folder, **{"/out": "/again"}), device="cpu", threads=1)
    ids = [open_mix(folder / out, "recommend").to_table()["sample_id"].to_pylist() for out in ("out", "again")]
    assert ids[0] == ids[1]


def test_a_model_keeps_its_new_users_on_disk(ran, tmp_path):
    folder, task = ran
    made = recipe(folder)
    train(made, "recommend", tmp_path / "model", device="cpu", threads=1)
    model, rows = Recommender.load(tmp_path / "model"), splits(folder, tmp_path / "s")
    found = model.evaluate(rows["test"], {})["ndcg_new_users@20"].value()
    assert found == pytest.approx(task["verdict"]["ndcg_new_users@20"]["mix"], abs=1e-6)


def test_scores_by_our_function_by_pandas_and_by_sql_are_the_recommenders_own(ran, tmp_path):
    folder, _ = ran
    mix, rows = open_mix(folder / "out", "recommend").to_table(), splits(folder, tmp_path)
    plain, taught = (
        Recommender(model="mf", l2=1.0, epochs=5, seed=3).fit(rows["train"], rows["valid"], made)
        for made in (None, mix)
    )
    every = pa.table({"user_id": plain.users_})
    scores, users = plain.predict(every), plain.users_.to_pylist()
    names, expected = new_user_scores(mix, users, scores, plain.seen_)
    still = [i for i, name in enumerate(names) if plain.seen_[users.index(name)].nnz <= 3]
    assert len(still) > 20
    asked = pa.table({"user_id": [names[i] for i in still]})
    np.testing.assert_allclose(taught.predict(asked), expected[still], rtol=1e-3, atol=1e-4)
    grown = [name for i, name in enumerate(names) if i not in still]  # by validation rows: they speak for themselves
    assert grown
    others = pa.table({"user_id": grown})
    np.testing.assert_array_equal(taught.predict(others), plain.predict(others))

    items = plain.items_.to_pylist()
    user, item = np.divmod(np.arange(scores.size), len(items))
    long = pd.DataFrame(
        {"user_id": [users[u] for u in user], "item_id": [items[i] for i in item], "score": scores.ravel()}
    )
    had = long[plain.seen_.toarray().ravel() > 0][["user_id", "item_id"]]
    paths = [tmp_path / f"{name}.parquet" for name in ("scores", "history", "new")]
    long.to_parquet(paths[0])
    had.to_parquet(paths[1])
    subprocess.run([sys.executable, EXAMPLES / "score.py", folder / "out" / "recommend", *paths], check=True)
    with duckdb.connect() as db:
        for name, table in (("published", mix), ("scores", long), ("history", had)):
            db.register(name, table)
        by_sql = db.execute((EXAMPLES / "score.sql").read_text("utf-8")).df()
    for found in (pd.read_parquet(paths[2]), by_sql):
        wide = found.pivot(index="anchor_id", columns="item_id", values="new_score").loc[names, items].to_numpy()
        np.testing.assert_allclose(wide, expected, rtol=1e-3, atol=1e-3)


def test_who_came_yesterday_is_in_tonights_version(tmp_path):
    shop(tmp_path)
    orders = pq.read_table(tmp_path / "orders.parquet")
    times = [START + timedelta(days=5), START + timedelta(days=19, hours=3)]
    late = pa.table({"user": ["early", "late"], "item": ["k3-0", "k3-0"], "at": times})
    pq.write_table(pa.concat_tables([orders, late.cast(orders.schema)]), tmp_path / "orders.parquet")
    text = RECIPE.format(folder=tmp_path).replace(
        '"new_users", valid = 0.1, test = 0.25', '"time", valid = 0.02, test = 0.02'
    )
    text = text.replace('improve = ["ndcg_new_users@20"]', 'improve = ["ndcg_new_users@20", "coverage"]')
    nightly = "\n[nightly]\nwindow_days = 30\nkeep_days = 3\nmin_free_gb = 0.0\ndrop_poison = false\n"
    made = loading.parse(text + nightly, "shop.toml")
    made_of = []
    for day in (18, 19):
        found = night(made, as_of=(START + timedelta(days=day)).date(), device="cpu", threads=1)["tasks"]["recommend"]
        made_of.append(found["strategies"]["new-users"]["kept"])
    assert made_of == [1, 2]


@pytest.mark.parametrize(("changes", "message"), [
    ({', timestamp = "at"': ""}, "a split by new_users needs the role 'timestamp'"),
    ({"new_users = { neighbours = 40 }": ""}, "give `strategies`, or `products` .* or `new_users`"),
    ({"neighbours = 40": "neighbors = 40"}, "unknown .*'neighbors'|neighbors"),
    ({'"recommender"': '"sequence"', 'model = "mf", l2 = 1.0, epochs = 5': "",
      '["ndcg_new_users@20"]': '["recall@20"]'}, "new_users: published for recommenders, not sequence"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, changes, message):
    shop(tmp_path)
    with pytest.raises((BadInput, UsageError), match=message) as error:
        run(recipe(tmp_path, **changes), device="cpu", threads=1)
    assert "\n" not in str(error.value)
