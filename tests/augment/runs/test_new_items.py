"""New items from a catalogue to a verdict, by a night, and in the hands of someone who has no model of ours."""

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ran import night, recipe_of, run

from augment.base.errors import BadInput, UsageError
from augment.numeric.measures import Mean
from augment.recipes import loading
from augment.runs import run as pipeline
from augment.runs.new_items import exposure_alarms
from augment.runs.rows import read_rows
from augment.runs.single import train
from augment.runs.task import Job
from augment.search.search import search
from augment.sources.prepare import prepare
from consumers import Recommender, new_item_scores, open_mix

KINDS, EACH, USERS = 5, 30, 120
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
EXAMPLES = Path(__file__).parents[3] / "scripts" / "examples" / "new_items"
RECIPE = """
name = "shop"
seed = 3
output = "{folder}/out"
[sources.orders]
path = "{folder}/orders.parquet"
columns = {{ user = "user", item = "item", timestamp = "at" }}
split = {{ by = "new_items", valid = 0.1, test = 0.15 }}
[sources.catalogue]
path = "{folder}/catalogue.csv"
columns = {{ item = "sku", fields = ["kind"], numbers = ["price"] }}
max_bad_share = 0.1
[tasks.recommend]
consumer = "recommender"
source = "orders"
products = "catalogue"
options = {{ l2 = 20.0, recency = 0.0 }}
new_items = {{ maps = ["ridge", "attention"], neighbours = 40 }}
verdict = {{ seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["ndcg_all@20", "recall_new@20"] }}
"""


def shop(folder, days=20):
    """Orders of users who like one kind, and a catalogue with two items nobody has met and two bad rows."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        liked = [f"k{user % KINDS}-{n}" for n in rng.choice(EACH, 14, replace=False)]
        liked += [f"k{rng.integers(KINDS)}-{rng.integers(EACH)}" for _ in range(3)]
        rows += [(f"u{user}", item, START + timedelta(days=float(rng.random() * days))) for item in liked]
    users, items, times = zip(*rows, strict=True)
    pq.write_table(pa.table({"user": users, "item": items, "at": times}), folder / "orders.parquet")
    lines = [f"k{kind}-{n},{'kind ' + str(kind)}|thing,{kind + n / 100}" for kind in range(KINDS) for n in range(EACH)]
    lines += ["fresh-2,kind 2|thing,2.1", "fresh-4,kind 4|thing,4.1", "k0-0,kind 3,1", "bad,kind 1,dear"]
    (folder / "catalogue.csv").write_text("\n".join(["sku,kind,price", *lines]), "utf-8")


def recipe(folder, **replaced):
    return recipe_of(RECIPE.format(folder=folder), **replaced)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    shop(folder)
    return folder, run(recipe(folder), device="cpu", threads=1)["tasks"]["recommend"]


def test_a_split_by_new_items_leaves_no_row_of_theirs_to_train_on(tmp_path):
    shop(tmp_path)
    found = prepare("orders", recipe(tmp_path).sources["orders"], "behaviour", tmp_path / "splits", 3)
    items = {
        name: set(pq.read_table(getattr(found, name))["item_id"].to_pylist()) for name in ("train", "valid", "test")
    }
    new = items["test"] - items["train"]
    assert 0.05 < len(new) / (KINDS * EACH) < 0.3
    assert not new & items["valid"]
    assert items["valid"] - items["train"]
    other = prepare("orders", recipe(tmp_path).sources["orders"], "behaviour", tmp_path / "other", 4)
    assert (
        set(pq.read_table(other.test)["item_id"].to_pylist()) - set(pq.read_table(other.train)["item_id"].to_pylist())
        != new
    )


def test_an_item_whose_rows_were_left_out_long_ago_is_not_new(tmp_path, capsys):
    shop(tmp_path)
    sparse = {"user": ["u0", "u1"], "item": ["fresh-2", "fresh-4"], "at": [START, START + timedelta(days=13)]}
    orders = pq.read_table(tmp_path / "orders.parquet")
    orders = pa.concat_tables([orders, pa.table(sparse).cast(orders.schema)])
    pq.write_table(orders, tmp_path / "orders.parquet")
    by_time = recipe(tmp_path, **{'by = "new_items", valid = 0.1, test = 0.15': 'by = "time", core = 2'})
    products = read_rows(Job(by_time, "recommend", "cpu"), tmp_path / "work").products["item_id"].to_pylist()
    assert "fresh-2" not in products
    assert {"fresh-4", "k0-0"} <= set(products)  # one is just out
    assert "items of catalogue not new, though no row of them is left: 1\n" in capsys.readouterr().err


def test_it_is_published_with_a_verdict_and_known_items_rank_as_before(ran):
    _, task = ran
    metrics = task["verdict"]
    assert task["status"] == "published", task["reason"]
    assert metrics["recall_new@20"]["real"] == 0
    assert metrics["recall_new@20"]["mix"] > 0.5
    assert metrics["ndcg_all@20"]["diff"] > 0.05
    for name in ("ndcg@20", "recall@20", "coverage", "target_hit@50"):
        assert metrics[name]["real"] == metrics[name]["mix"], name
    assert 0.1 < metrics["exposure_new@20"]["mix"] < 0.7


def test_a_sequence_model_reads_the_same_kind_of_rows(tmp_path):
    shop(tmp_path)
    wanted = {
        'consumer = "recommender"': 'consumer = "sequence"',
        "options = { l2 = 20.0, recency = 0.0 }": 'options = { model = "transitions" }',
    }
    task = run(recipe(tmp_path, **wanted), device="cpu", threads=1)["tasks"]["recommend"]
    assert task["status"] == "published", task["reason"]
    metrics = task["verdict"]
    assert metrics["recall_new@20"]["real"] == 0 < metrics["recall_new@20"]["mix"]
    assert metrics["ndcg_all@20"]["low"] > 0
    assert metrics["ndcg@20"]["real"] == metrics["ndcg@20"]["mix"]


def test_bad_rows_of_the_catalogue_are_quarantined_under_its_name(ran):
    _, task = ran
    assert task["quarantined"] == 2
    assert {"catalogue: duplicate item": 1, "catalogue: price not a number": 1}.items() <= task["quarantine"].items()


def test_a_row_says_what_it_is_made_of(ran):
    folder, _ = ran
    mix = open_mix(folder / "out", "recommend").to_table()
    assert set(mix["strategy"].to_pylist()) == {"new-items"}
    (fresh,) = mix.filter(pc.equal(mix["anchor_id"], "fresh-2")).to_pylist()
    assert fresh["decoded"] == {"items": [], "targets": ["fresh-2"], "negatives": []}
    assert fresh["label_source"] in ("ridge", "attention")
    assert len(fresh["neighbour_ids"]) == len(fresh["neighbour_weights"]) <= 40
    assert sum(item.startswith("k2-") for item in fresh["neighbour_ids"][:10]) > 7
    assert 0 < fresh["plausibility"] <= 1


def test_the_same_run_again_is_the_same_version(ran):
    folder, _ = ran
    assert run(recipe(folder), device="cpu", threads=1)["tasks"]["recommend"]["status"] == "unchanged"
    again = recipe(folder, **{"/out": "/again"})
    run(again, device="cpu", threads=1)
    ids = [open_mix(folder / out, "recommend").to_table()["sample_id"].to_pylist() for out in ("out", "again")]
    assert ids[0] == ids[1]


def test_a_model_keeps_its_new_items_on_disk(ran, tmp_path):
    folder, task = ran
    train(recipe(folder), "recommend", tmp_path / "model", device="cpu", threads=1)
    model = Recommender.load(tmp_path / "model")
    assert "fresh-2" in model.new_.names.to_pylist()
    test = pq.read_table(prepare("orders", recipe(folder).sources["orders"], "behaviour", tmp_path / "s", 3).test)
    found = model.evaluate(test, {})["ndcg_all@20"].value()
    assert found == pytest.approx(task["verdict"]["ndcg_all@20"]["mix"], abs=1e-6)


def test_pandas_and_sql_say_what_our_function_says(ran, tmp_path):
    folder, _ = ran
    mix = open_mix(folder / "out", "recommend").to_table()
    rng = np.random.default_rng(0)
    items = sorted({name for near in mix["neighbour_ids"].to_pylist() for name in near})
    scores, history = rng.standard_normal((3, len(items))), rng.random((3, len(items))) < 0.1
    from scipy.sparse import csr_matrix

    names, expected, _ = new_item_scores(mix, items, scores.astype(np.float32), csr_matrix(history.astype(np.float32)))
    user, item = np.divmod(np.arange(scores.size), len(items))
    long = pd.DataFrame(
        {"user_id": [f"u{u}" for u in user], "item_id": [items[i] for i in item], "score": scores.ravel()}
    )
    had = long[history.ravel()][["user_id", "item_id"]]
    long.to_parquet(tmp_path / "scores.parquet")
    had.to_parquet(tmp_path / "history.parquet")
    paths = [
        folder / "out" / "recommend",
        tmp_path / "scores.parquet",
        tmp_path / "history.parquet",
        tmp_path / "new.parquet",
    ]
    subprocess.run([sys.executable, EXAMPLES / "score.py", *paths], check=True)
    with duckdb.connect() as db:
        for name, table in (("published", mix), ("scores", long), ("history", had)):
            db.register(name, table)
        by_sql = db.execute((EXAMPLES / "score.sql").read_text("utf-8")).df()
    for found in (pd.read_parquet(tmp_path / "new.parquet"), by_sql):
        wide = found.pivot(index="user_id", columns="anchor_id", values="new_score")[names].to_numpy()
        np.testing.assert_allclose(wide, expected, rtol=1e-3, atol=1e-4)


def test_an_item_of_todays_catalogue_is_in_tonights_version(tmp_path):
    shop(tmp_path)
    text = {'by = "new_items", valid = 0.1, test = 0.15': 'by = "time", valid = 0.1, test = 0.2',
            '["ndcg_all@20", "recall_new@20"]': '["coverage", "ndcg@20"]'}  # fmt: skip
    nightly = "\n[nightly]\nwindow_days = 30\nkeep_days = 3\nmin_free_gb = 0.0\ndrop_poison = false\n"
    made = recipe(tmp_path, **text)
    made = loading.parse(RECIPE.format(folder=tmp_path).replace(*next(iter(text.items()))) + nightly, "shop.toml")
    day = (START + timedelta(days=19)).date()
    found = night(made, as_of=day, device="cpu", threads=1)["tasks"]["recommend"]
    first = json.loads(json.dumps(found))
    assert first["strategies"]["new-items"]["kept"] >= 2
    with (tmp_path / "catalogue.csv").open("a", encoding="utf-8") as file:
        file.write("\nfresh-1,kind 1|thing,1.2")
    found = night(made, as_of=day + timedelta(days=1), device="cpu", threads=1)["tasks"]["recommend"]
    assert found["strategies"]["new-items"]["kept"] == first["strategies"]["new-items"]["kept"] + 1


@pytest.mark.parametrize(("changes", "message"), [
    ({'products = "catalogue"': 'products = "catalog"'}, "no source 'catalog'; did you mean 'catalogue'"),
    ({'maps = ["ridge", "attention"]': 'maps = ["rige"]'}, "unknown map 'rige'; did you mean 'ridge'"),
    ({'item = "sku", fields = ["kind"], numbers = ["price"]': 'item = "sku"'}, "name what items are"),
    ({'item = "sku", fields': 'fields'}, "needs the role 'item'"),
    ({'products = "catalogue"': ""}, "give `strategies`, or `products`"),
    ({'source = "orders"': 'source = "orders"\nsamples = 5'}, "`samples`, at least 1, and `strategies` go together"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, changes, message):
    shop(tmp_path)
    with pytest.raises((BadInput, UsageError), match=message) as error:
        pipeline.run(recipe(tmp_path, **changes), device="cpu", threads=1)
    assert "\n" not in str(error.value)


def test_new_items_are_for_recommenders_alone(tmp_path):
    shop(tmp_path)
    text = {
        'consumer = "recommender"': 'consumer = "ctr"',
        "options = { l2 = 20.0, recency = 0.0 }": "",
        'clean = ["ndcg@20"]': 'clean = ["auc"]',
        'improve = ["ndcg_all@20", "recall_new@20"]': 'improve = ["auc_masked"]',
    }
    with pytest.raises(UsageError, match="new items are published for recommenders, not ctr"):
        pipeline.run(recipe(tmp_path, **text), device="cpu", threads=1)


@pytest.mark.parametrize(("shown", "said"), [(0.9, "a flood: new items have 90%"), (0.25, ""), (0.02, "silence: new")])
def test_a_flood_of_new_items_and_silence_about_them_are_alarms(shown, said):
    rows = {"train": pa.table({"item_id": ["a", "b"]}), "test": pa.table({"item_id": ["a", "b", "new", "a"]})}
    (found, *_) = [*exposure_alarms({"exposure_new@20": Mean(np.full(4, shown))}, SimpleNamespace(**rows)), ""]
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_task_of_new_items_alone_is_not_searched(tmp_path):
    shop(tmp_path)
    with pytest.raises(UsageError, match="new items need no search"):
        search(recipe(tmp_path), trials=1, device="cpu", threads=1)
