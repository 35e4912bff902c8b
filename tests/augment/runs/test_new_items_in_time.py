"""New items of a log that is split by time: those first met after the training rows end."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ran import run

from augment.recipes import loading
from augment.sources.prepare import prepare
from consumers import Recommender, open_mix

KINDS, EACH, USERS, DAYS = 4, 40, 90, 40
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
RECIPE = """
name = "shop"
seed = 3
output = "{folder}/out"
[sources.orders]
path = "{folder}/orders.parquet"
columns = {{ user = "user", item = "item", timestamp = "at" }}
split = {{ by = "time", valid = 0.15, test = 0.15 }}
[sources.catalogue]
path = "{folder}/catalogue.csv"
columns = {{ item = "sku", fields = ["kind"] }}
[tasks.recommend]
consumer = "{consumer}"
source = "orders"
products = "catalogue"
options = {{ {options} }}
new_items = {{ maps = ["ridge", "attention"] }}
verdict = {{ seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["ndcg_all@20", "recall_new@20"] }}
"""
OPTIONS = {"recommender": "l2 = 20.0, recency = 0.0", "sequence": 'model = "transitions"'}


def shop(folder):
    """One item of each kind comes out a day; users like one kind, and mostly what came out lately."""
    rng = np.random.default_rng(1)
    rows = []
    for user in range(USERS):
        for day in np.sort(rng.uniform(0, DAYS, 24)):
            out = int(day * EACH / DAYS)
            item = f"k{user % KINDS}-{max(0, out - rng.geometric(0.25) + 1)}"
            rows.append((f"u{user}", item, START + timedelta(days=float(day))))
    users, items, times = zip(*rows, strict=True)
    pq.write_table(pa.table({"user": users, "item": items, "at": times}), folder / "orders.parquet")
    lines = [f"k{kind}-{n},kind {kind}|thing" for kind in range(KINDS) for n in range(EACH)]
    (folder / "catalogue.csv").write_text("\n".join(["sku,kind", *lines]), "utf-8")


def recipe(folder, consumer):
    return loading.parse(RECIPE.format(folder=folder, consumer=consumer, options=OPTIONS[consumer]), "shop.toml")


def items(table):
    return set(table["item_id"].to_pylist())


@pytest.mark.parametrize("consumer", OPTIONS)
def test_items_that_came_out_after_training_are_found_by_their_rows(tmp_path, consumer):
    shop(tmp_path)
    task = run(recipe(tmp_path, consumer), device="cpu", threads=1)["tasks"]["recommend"]
    assert task["status"] == "published", task["reason"]
    metrics = task["verdict"]
    assert metrics["recall_new@20"]["real"] == 0
    assert metrics["recall_new@20"]["mix"] > 0.5
    assert metrics["ndcg_all@20"]["low"] > 0
    assert metrics["ndcg@20"]["real"] == metrics["ndcg@20"]["mix"]


def test_what_came_out_between_training_and_test_is_asked_again_and_what_nobody_asks_for_is_not_listed(tmp_path):
    shop(tmp_path)
    source = recipe(tmp_path, "recommender").sources["orders"]
    found = prepare("orders", source, "sequences", tmp_path / "splits", 3)
    train, valid, test = (pq.read_table(getattr(found, name)) for name in ("train", "valid", "test"))
    assert max(train["timestamp"].to_pylist()) < min(valid["timestamp"].to_pylist())
    early, late = items(valid) - items(train), items(test) - items(train)
    assert early & late
    assert early - late
    assert late - early
    run(recipe(tmp_path, "recommender"), device="cpu", threads=1)
    mix = open_mix(tmp_path / "out", "recommend").to_table()
    assert late | early <= set(mix["anchor_id"].to_pylist())
    model = Recommender(l2=20.0, recency=0.0).fit(train, valid, mix)
    listed = model.new_.listed(test, model.was_new_, model.items_).to_pylist()
    assert set(listed) == late | (set(mix["anchor_id"].to_pylist()) - early - items(train))
    measured = model.evaluate(test, {})
    asks = test.filter(pc.is_in(test["item_id"], pa.array(sorted(late))))
    assert measured["recall_new@20"].size == pc.count_distinct(asks["user_id"]).as_py()
