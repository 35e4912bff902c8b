"""Users whom nobody has met yet, by what they declare: from a log and a file of users to a verdict."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ran import recipe_of, run

from augment.base.errors import BadInput, UsageError
from augment.runs.single import train
from consumers import Recommender, open_mix

KINDS, EACH, USERS, LATE = 6, 15, 240, 60
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
RECIPE = """
name = "shop"
seed = 3
output = "{folder}/out"
[sources.orders]
path = "{folder}/orders.parquet"
columns = {{ user = "user", item = "item", timestamp = "at" }}
split = {{ by = "time", valid = 0.1, test = 0.2 }}
[sources.people]
path = "{folder}/people.csv"
columns = {{ user = "who", fields = ["taste"], numbers = ["age"] }}
max_bad_share = 0.1
[tasks.recommend]
consumer = "recommender"
source = "orders"
options = {{ l2 = 20.0, recency = 0.0 }}
new_users = {{ neighbours = 60, attributes = "people" }}
verdict = {{ seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["ndcg_unmet_users@20"] }}
"""


def shop(folder, told=True):
    """Orders of users who like one kind, the last of whom come late, and what they say of it themselves."""
    rng = np.random.default_rng(0)
    rows, lines = [], ["who,taste,age"]
    for user in range(USERS + LATE):
        items = [f"k{user % KINDS}-{n}" for n in rng.choice(EACH, 8, replace=False)]
        from_day, days = (0, 20) if user < USERS else (18.5, 1.5)
        rows += [(f"u{user}", item, START + timedelta(days=from_day + float(rng.random() * days))) for item in items]
        taste = user % KINDS if told else rng.integers(KINDS)
        lines.append(f"u{user},likes {taste},{rng.choice([30, 50])}")
    users, items, times = zip(*rows, strict=True)
    pq.write_table(pa.table({"user": users, "item": items, "at": times}), folder / "orders.parquet")
    lines += ["nobody,likes 3,30", "u0,likes 1,30", "silent,,"]
    (folder / "people.csv").write_text("\n".join(lines), "utf-8")


def recipe(folder, **replaced):
    return recipe_of(RECIPE.format(folder=folder), **replaced)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    shop(folder)
    return folder, run(recipe(folder), device="cpu", threads=1)["tasks"]["recommend"]


def test_users_who_are_really_new_find_more_than_what_is_popular(ran):
    _, task = ran
    metrics = task["verdict"]
    assert task["status"] == "published", task["reason"]
    assert metrics["ndcg_unmet_users@20"]["diff"] > 0.2
    assert metrics["ndcg@20"]["real"] == metrics["ndcg@20"]["mix"]
    assert task["quarantine"]["people: duplicate user"] == 1


def test_a_row_names_known_users_of_like_attributes(ran):
    folder, _ = ran
    mix = open_mix(folder / "out", "recommend").to_table()
    mix = mix.filter(pc.equal(mix["strategy"], "unmet-users"))
    rows = {row["anchor_id"]: row for row in mix.to_pylist()}
    assert "silent" not in rows  # who says nothing
    assert "u0" not in rows  # who has rows
    row = rows["nobody"]
    assert row["decoded"]["items"] == []
    assert sum(row["neighbour_weights"]) == pytest.approx(1, abs=1e-5)
    nearest_edits = row["neighbour_ids"][:10]
    assert sum(int(name[1:]) % KINDS == 3 for name in nearest_edits) >= 9
    assert row["label_source"] == "attributes"


def test_a_saved_model_recommends_to_somebody_it_never_met(ran, tmp_path):
    folder, _ = ran
    train(recipe(folder), "recommend", tmp_path / "model", device="cpu", threads=1)
    model = Recommender.load(tmp_path / "model")
    asked = pa.table({"user_id": ["nobody", "stranger"]})
    of_nobody, popular = model.predict(asked)
    best = model.items_.take(pa.array(np.argsort(-of_nobody)[:10])).to_pylist()
    assert all(item.startswith("k3-") for item in best)
    np.testing.assert_array_equal(popular, model.seen_.getnnz(axis=0))


def test_attributes_that_say_nothing_make_no_rows(tmp_path):
    shop(tmp_path, told=False)
    strategies = {"new_users = ": "samples = 20\nstrategies = { item-drop = 1.0 }\nnew_users = "}
    task = run(recipe(tmp_path, **strategies), device="cpu", threads=1)["tasks"]["recommend"]
    assert task["strategies"]["unmet-users"]["kept"] == 0
    assert any("no better by neighbours of like attributes" in line for line in task["warnings"])


@pytest.mark.parametrize(("changes", "message"), [
    ({'attributes = "people"': 'attributes = "poeple"'}, "no source 'poeple'; did you mean 'people'"),
    ({', fields = ["taste"], numbers = ["age"]': ""}, "name what users are"),
    ({'user = "who", ': ""}, "needs the role 'user'"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, changes, message):
    shop(tmp_path)
    with pytest.raises((BadInput, UsageError), match=message) as error:
        run(recipe(tmp_path, **changes), device="cpu", threads=1)
    assert "\n" not in str(error.value)
