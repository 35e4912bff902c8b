"""The consumer of sequences: what it asks, what it is shown, what it refuses."""

import numpy as np
import pyarrow as pa
import pytest

from augment.base.errors import BadInput, UsageError
from consumers import NextItem
from consumers.sequences import MODELS

ITEMS = 10


def rows(*users, start=0):
    """user, first place, items → rows whose times are their places."""
    found = [(user, item, first + at) for user, first, items in users for at, item in enumerate(items)]
    user, item, place = zip(*found, strict=True)
    return pa.table({
        "row_id": [f"{one}-{at}" for one, _, at in found],
        "user_id": list(user),
        "item_id": [f"i{one}" for one in item],
        "timestamp": [at + start for at in place],
    })  # fmt: skip


def shop(model="transitions", **options):
    """Everyone goes round the items."""
    train = rows(*((f"u{n}", 0, [(n + at) % ITEMS for at in range(6)]) for n in range(ITEMS)))
    valid = rows(*((f"u{n}", 6, [(n + 6) % ITEMS]) for n in range(ITEMS)))
    return NextItem(model=model, **options).fit(train, valid), train, valid


class Spy:
    """Keeps what the model was shown."""

    def __init__(self, model):
        self.shown, self._scores = [], model.model_.scores
        model.model_.scores = self

    def __call__(self, arrays, shown):
        self.shown += [one.tolist() for one in shown]
        return self._scores(arrays, shown)


def test_a_test_row_is_asked_after_all_that_its_user_did_before():
    model, _, _ = shop()
    spy = Spy(model)
    model.evaluate(rows(("u0", 7, [7, 8, 9])), {})
    assert spy.shown == [[*range(7)], [*range(8)], [*range(9)]]


def test_validation_rows_are_not_in_their_own_history():
    model, _, valid = shop()
    spy = Spy(model)
    model.evaluate(valid, {})
    assert spy.shown[0] == [0, 1, 2, 3, 4, 5]


def test_rows_in_any_order_ask_the_same():
    model, _, _ = shop()
    test = rows(("u0", 7, [7, 8, 9]), ("u3", 7, [0, 1]))
    mixed = test.take(pa.array(np.random.default_rng(1).permutation(len(test))))
    one, two = (model.evaluate(table, {})["ndcg@20"].value() for table in (test, mixed))
    assert one == two > 0.9


def test_a_session_never_seen_is_asked_from_its_second_row_on():
    model, _, _ = shop()
    spy = Spy(model)
    found = model.evaluate(rows(("new", 7, [4, 5, 6])), {})
    assert spy.shown == [[4], [4, 5]]
    assert found["ndcg@20"].value() == 1


def test_items_not_in_training_are_no_questions_and_nobody_was_shown_them():
    model, _, _ = shop()
    spy = Spy(model)
    found = model.evaluate(rows(("new", 7, [4, 77, 5])), {})
    assert spy.shown[0] == [4] == max(spy.shown, key=len)
    assert found["ndcg@20"].value() == 1


def test_where_nothing_can_be_asked_nothing_is_measured():
    model, _, _ = shop()
    found = model.evaluate(rows(("new", 7, [4])), model.attacks(rows(("new", 7, [4])), 0))
    assert all(np.isnan(measure.value()) for measure in found.values())


def test_items_come_again_where_they_did_in_validation_rows():
    assert shop()[0].hide_
    train = rows(*((f"u{n}", 0, [n, n + 1, n, n + 1]) for n in range(ITEMS - 1)))
    valid = rows(*((f"u{n}", 4, [n]) for n in range(ITEMS - 1)))
    again = NextItem(model="transitions").fit(train, valid)
    assert not again.hide_
    assert again.evaluate(rows(("u0", 5, [1])), {})["ndcg@20"].value() == 1
    assert NextItem(model="transitions", repeats="no").fit(train, valid).hide_


def test_a_new_item_is_a_weighted_sum_of_the_scores_of_warm_ones():
    model, _, _ = shop()
    scores = model.scores(pa.array([["i3", "i4"], ["i8"]]))
    assert model.items_[int(scores[0].argmax())].as_py() == "i5"
    assert scores.shape == (2, ITEMS)
    published = {"i5": 0.5, "i6": 0.25}  # warm neighbours of an item that nobody met
    at = [model.items_.index(name).as_py() for name in published]
    new = scores[:, at] @ np.array([*published.values()], np.float32)
    assert new[0] > new[1]


def test_rows_of_new_items_in_the_mix_are_no_sequences():
    plain, train, valid = shop()
    kind = pa.list_(pa.string())
    lists = [pa.array([one], kind) for one in (["i3", "i9"], ["i1"], [])]
    decoded = pa.StructArray.from_arrays(lists, names=["items", "targets", "negatives"])
    said = {"new-items": [[0.5]], "crop": pa.nulls(1, pa.list_(pa.float32()))}
    mixed = {
        name: pa.table(
            {
                "decoded": decoded,
                "weight": [50.0],
                "strategy": [name],
                "anchor_id": ["new"],
                "neighbour_ids": [["i1"]],
                "neighbour_weights": weights,
            }
        )
        for name, weights in said.items()
    }
    found = {name: NextItem(model="transitions").fit(train, valid, mix).predict(valid) for name, mix in mixed.items()}
    assert np.array_equal(found["new-items"], plain.predict(valid))
    assert not np.array_equal(found["crop"], plain.predict(valid))


def test_attacks_that_are_made_by_a_seed_hurt_what_needs_the_latest_item():
    model, _, _ = shop()
    test = rows(*((f"u{n}", 7, [(n + 7) % ITEMS, (n + 8) % ITEMS]) for n in range(ITEMS)))
    found = model.evaluate(test, model.attacks(test, 5))
    clean = found["ndcg@20"].value()
    assert found["ndcg_misclicks@20"].value() < clean
    again = model.evaluate(test, model.attacks(test, 5))
    assert again["ndcg_shuffled@20"].value() == found["ndcg_shuffled@20"].value()


def test_too_little_is_said():
    train, valid = rows(("u", 0, [1, 2, 3])), rows(("u", 4, [1]))
    with pytest.raises(BadInput, match="at least 2 users and 2 items; the training rows have 1 and 3"):
        NextItem().fit(train, valid)
    two = rows(("u", 0, [1, 2, 3]), ("v", 0, [1, 2]))
    with pytest.raises(BadInput, match="no validation row has an item of training"):
        NextItem().fit(two, rows(("u", 4, [77])))
    with pytest.raises(BadInput, match="no user has two training rows"):
        NextItem().fit(rows(("u", 0, [1]), ("v", 0, [2])), rows(("u", 4, [2])))


def test_options_are_those_of_the_model():
    with pytest.raises(UsageError, match=r"unknown option 'tau' of model 'sasrec' \(an option of"):
        NextItem(tau=3.0)
    with pytest.raises(UsageError, match="unknown model 'sasrek'; did you mean 'sasrec'"):
        NextItem(model="sasrek")
    assert NextItem(model="session-neighbours", tau=3.0).tau == 3.0


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_of_any_kind_answers_as_before(model, tmp_path):
    options = {"epochs": 1} if model in ("sasrec", "gru4rec") else {}
    found, train, _ = shop(model, **options)
    found.save(tmp_path)
    loaded, test = NextItem.load(tmp_path), rows(("u0", 7, [7, 8]), ("new", 7, [1, 2, 3]))
    assert np.allclose(loaded.predict(train), found.predict(train), atol=1e-6)
    one, two = (one.evaluate(test, one.attacks(test, 1)) for one in (found, loaded))
    assert {name: m.value() for name, m in one.items()} == pytest.approx(
        {n: m.value() for n, m in two.items()}, nan_ok=True
    )
