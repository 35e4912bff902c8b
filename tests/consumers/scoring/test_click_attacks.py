import numpy as np
import pyarrow as pa
import pytest

from consumers import ClickModel
from consumers.scoring import click_attacks

ROWS = 400


@pytest.fixture(scope="module")
def test():
    """Impressions: a user's plan and device change with time, an item's shape never does."""
    rng = np.random.default_rng(0)
    user, item, time = rng.integers(20, size=ROWS), rng.integers(30, size=ROWS), rng.permutation(ROWS)
    return pa.table(
        {
            "row_id": [str(i) for i in range(ROWS)],
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in item],
            "ad_id": [f"a{i % 7}" for i in item],
            "timestamp": pa.array(time, pa.int64()),
            "plan": [f"plan {t // 200} of {u}" for u, t in zip(user, time, strict=True)],
            "shape": [f"shape {i % 9}" for i in item],
            "device": rng.choice(["app", "web", None], ROWS, p=[0.5, 0.3, 0.2]),
            "price": [f"q{b}" if b else None for b in rng.integers(16, size=ROWS)],
            "label": pa.array(rng.integers(2, size=ROWS), pa.float32()),
        }
    )


def made(test, mutable=None, seed=3):
    return click_attacks.made(test, np.arange(0, ROWS, 2), mutable, seed)


def changed(test, attacked):
    """Field → share of the attacked rows in which it is another."""
    old = test.take(pa.array([int(i) for i in attacked["row_id"].to_pylist()]))
    return {
        name: np.mean([a != b for a, b in zip(old[name].to_pylist(), attacked[name].to_pylist(), strict=True)])
        for name in test.column_names
    }


def test_swaps_touch_what_the_recipe_names_and_never_what_is_asked_about(test):
    named = changed(test, made(test, ("device", "user_id"))["swapped"])
    assert {name for name, share in named.items() if share} == {"device"}
    free = changed(test, made(test)["swapped"])
    assert {name for name, share in free.items() if share} == {"plan", "shape", "device", "price"}
    assert len(made(test, ())["swapped"]) == 0


def test_numbers_are_off_by_one_bin_within_the_bins_that_occur(test):
    moved = made(test)["off_bin"]
    assert {name for name, share in changed(test, moved).items() if share} == {"price"}
    old = test.take(pa.array([int(i) for i in moved["row_id"].to_pylist()]))["price"].to_pylist()
    for before, after in zip(old, moved["price"].to_pylist(), strict=True):
        if before is None:
            assert after is None
        else:
            assert abs(int(after[1:]) - int(before[1:])) <= 1
            assert 0 <= int(after[1:]) <= 15
    assert len(made(test.drop_columns(["price"]))["off_bin"]) == 0


def test_a_stale_profile_is_that_of_an_older_row_of_the_same_user(test):
    found = made(test)["stale"]
    assert {name for name, share in changed(test, found).items() if share} <= {"plan", "device", "price"}
    assert changed(test, found)["plan"] > 0.1
    known = {}
    for row in test.to_pylist():
        known.setdefault(row["user_id"], []).append(row)
    seen = set()
    for row in found.to_pylist():
        older = [r for r in known[row["user_id"]] if r["timestamp"] < row["timestamp"]]
        assert any(r["plan"] == row["plan"] for r in older)
        seen.add(row["row_id"])
    first = {min(rows, key=lambda r: r["timestamp"])["row_id"] for rows in known.values()}
    assert seen == {str(i) for i in range(0, ROWS, 2)} - first  # a user's first row has no older one
    for missing in ("timestamp", "user_id"):
        assert len(made(test.drop_columns([missing]))["stale"]) == 0


def test_a_renamed_category_has_its_new_name_wherever_it_stood(test):
    found = made(test)["renamed"]
    names = {name for name, share in changed(test, found).items() if share}
    assert names == {"plan", "shape", "device"}
    part = [row for row in found.to_pylist() if row["device"] and "(renamed)" in row["device"]]
    apps = [row for row in test.to_pylist()[::2] if row["device"] == "app"]
    assert len(part) == len(apps)


def test_the_newest_are_the_last_tenth_to_appear_and_those_never_seen(test):
    history = pa.table({"user_id": [f"u{i // 2}" for i in range(40)], "timestamp": pa.array(range(40), pa.int64())})
    older = click_attacks.older_ids(history.slice(0, 25), history.slice(25))
    rows = pa.table({"user_id": ["u0", "u17", "u18", "u19", "u99", None]})
    assert click_attacks.newest(rows, older).tolist() == [False, False, True, True, True, False]
    assert click_attacks.older_ids(history.drop_columns(["timestamp"])) == {}
    assert not click_attacks.newest(rows, {}).any()


def test_attacks_repeat_with_their_seed(test):
    first, again, other = made(test), made(test), made(test, seed=4)
    assert all(first[name].equals(again[name]) for name in first)
    assert not first["swapped"].equals(other["swapped"])


def test_nothing_is_chosen_by_the_held_out_families_and_they_are_not_what_samples_are_made_of(test):
    named = {f"auc_{attack}" for attack in ClickModel.held_out_attacks}
    assert named <= set(ClickModel.metrics["robust"])
    assert not named & set(ClickModel.rehearsed)
    model = ClickModel(model="logistic", epochs=1, weight_decay=0.03).fit(test.slice(0, 250), test.slice(250))
    attacked = model.attacks(test, 0)
    with_them = set(model.evaluate(test, attacked))
    without = set(model.evaluate(test, {k: v for k, v in attacked.items() if k not in ClickModel.held_out_attacks}))
    assert with_them - without == named
