"""A sequence model and the rows that are published of items which it never met."""

import numpy as np
import pyarrow as pa
import pytest

from consumers import NextItem

ITEMS, USERS = 40, 80


def rows(*users, start=0):
    """user, items → rows whose times are their places."""
    found = [(user, item, start + at) for user, items in users for at, item in enumerate(items)]
    user, item, place = zip(*found, strict=True)
    return pa.table({"user_id": list(user), "item_id": list(item), "timestamp": list(place)})


def published(**neighbours):
    """New item → its warm neighbours and their weights, as a mix's table."""
    names, said = list(neighbours), list(neighbours.values())
    none = pa.array([[]] * len(names), pa.list_(pa.string()))
    wanted = pa.array([[name] for name in names], pa.list_(pa.string()))
    return pa.table({
        "sample_id": names,
        "day": ["all"] * len(names),
        "strategy": ["new-items"] * len(names),
        "anchor_id": names,
        "decoded": pa.StructArray.from_arrays([none, wanted, none], names=["items", "targets", "negatives"]),
        "weight": [1.0] * len(names),
        "neighbour_ids": [list(near) for near in said],
        "neighbour_weights": pa.array([list(near.values()) for near in said], pa.list_(pa.float32())),
    })  # fmt: skip


def shop(mix=None, valid=()):
    """Everyone goes round the items; `new` comes where i5 would."""
    train = rows(*((f"u{n}", [f"i{(n + at) % ITEMS}" for at in range(6)]) for n in range(USERS)))
    known = [(f"u{n}", [f"i{(n + 6) % ITEMS}"]) for n in range(USERS)]
    return NextItem(model="transitions").fit(train, rows(*known, *valid, start=6), mix)


# u10 was at i4 last, u9 at i3: what comes next is the new item, and, for u9, i4 before it
TEST = rows(("u10", ["new"]), ("u9", ["i4", "new"]), start=7)


def test_a_next_item_that_is_new_is_found_by_its_row_alone():
    plain, known = shop().evaluate(TEST, {}), shop(published(new={"i5": 3.0})).evaluate(TEST, {})
    assert plain["recall_new@20"].value() == 0
    assert known["recall_new@20"].value() == 1
    assert known["ndcg_all@20"].value() > plain["ndcg_all@20"].value() > 0  # i4 is found by both
    assert known["ndcg@20"].value() == plain["ndcg@20"].value()  # among known items all is as before
    assert plain["exposure_new@20"].value() == 0 < known["exposure_new@20"].value()


def test_a_row_that_names_what_comes_next_ranks_before_one_that_does_not():
    found = {name: shop(published(new={name: 3.0})).evaluate(TEST, {}) for name in ("i5", "i9")}
    assert found["i5"]["ndcg_all@20"].value() > found["i9"]["ndcg_all@20"].value()


def test_known_and_new_are_asked_together_user_by_user():
    found = shop(published(new={"i5": 3.0})).evaluate(TEST, {})
    assert [found[name].size for name in ("ndcg_all@20", "recall_new@20", "ndcg@20")] == [2, 2, 1]


def test_what_a_user_did_with_new_items_is_not_shown():
    model, shown = shop(published(new={"i5": 3.0})), []
    scores = model.model_.scores

    def spy(arrays, sequences):
        shown.extend(one.tolist() for one in sequences)
        return scores(arrays, sequences)

    model.model_.scores = spy
    model.evaluate(rows(("u10", ["new", "i6"]), ("stranger", ["new", "new"]), start=7), {})
    assert shown
    assert max(len(one) for one in shown) == 7
    assert all(code < len(model.items_) for one in shown for code in one)


def test_a_new_item_of_validation_rows_takes_no_place_in_the_tests_lists():
    mix = published(new={"i5": 3.0}, was={"i5": 3.0})
    had = shop(mix, valid=[("u3", ["was"])]).evaluate(TEST, {})["exposure_new@20"].value()
    assert had < shop(mix).evaluate(TEST, {})["exposure_new@20"].value()


def test_of_a_test_without_new_items_nothing_is_said():
    found = shop(published(new={"i5": 3.0})).evaluate(rows(("u1", ["i8"]), start=7), {})
    assert all(np.isnan(found[name].value()) for name in NextItem.metrics["new items"])


def test_a_saved_model_knows_its_new_items(tmp_path):
    model = shop(published(new={"i5": 3.0}, was={"i2": 1.0}), valid=[("u3", ["was"])])
    model.save(tmp_path)
    other = NextItem.load(tmp_path)
    found, again = (one.evaluate(TEST, {})["ndcg_all@20"].value() for one in (model, other))
    assert again == pytest.approx(found)
    assert again > 0
    assert other.was_new_.to_pylist() == ["was"]
