import numpy as np
import pyarrow as pa
import pytest

from augment.numeric.measures import Auc, Clustered
from consumers.scoring import classification as shared


def rows(label, **columns):
    return pa.table({"row_id": [str(i) for i in range(len(label))], "label": pa.array(label, pa.float32()), **columns})


def test_attacked_rows_are_drawn_at_random_with_the_labels_shares():
    """A file sorted by label shows both classes, and its first rows are not the ones."""
    label = np.repeat([0.0, 1.0], [900, 100])
    chosen = shared.attacked_rows(rows(label), 100)
    assert len(set(chosen.tolist())) == 100
    assert label[chosen].sum() == 10
    assert np.ptp(chosen[label[chosen] == 0]) > 800
    np.testing.assert_array_equal(chosen, shared.attacked_rows(rows(label), 100))
    np.testing.assert_array_equal(shared.attacked_rows(rows(label), 5000), np.arange(1000))


def test_users_are_units_and_a_missing_user_is_one_of_its_own():
    test = rows([0, 1, 0, 1, 1], user_id=pa.array(["a", None, "b", "a", None]))
    users = shared.Users(test)
    measure = users.drawn({"auc": Auc(np.arange(5) % 2, np.arange(5.0))})["auc"]
    assert isinstance(measure, Clustered)
    assert measure.size == 4  # a, b, and two that nobody knows
    assert measure.codes[0] == measure.codes[3]
    part = users.drawn({"auc": Auc(np.ones(2), np.ones(2))}, np.array([0, 3]))["auc"]
    assert part.size == 1
    np.testing.assert_array_equal(users.places(np.array(["4", "0"], object)), [4, 0])


def test_without_users_every_row_is_a_unit():
    measures = {"auc": Auc(np.array([0.0, 1.0]), np.array([0.0, 1.0]))}
    assert shared.Users(rows([0, 1])).drawn(measures) == measures


def test_variants_count_for_the_user_of_their_row():
    """The variants' own user may be hidden by the attack: whose row it is, the test says."""
    test = rows([0, 1, 1], user_id=["a", "a", "b"])
    variants = test.take(pa.array([2, 0, 0, 1])).set_column(2, "user_id", pa.nulls(4, pa.string()))
    measures = shared.attacked_measures({"any": variants}, lambda r: np.linspace(0.2, 0.8, len(r)), shared.Users(test))
    assert measures["auc_any"].size == 2
    # The negative's worse variant has .6, the positives .2 and .8: half of the pairs are in order.
    assert measures["auc_any"].value() == pytest.approx(0.5)


def test_an_attack_without_rows_asks_no_model():
    found = shared.attacked_measures({"none": rows([])}, lambda _: pytest.fail("no rows"), shared.Users(rows([0, 1])))
    assert np.isnan(found["auc_none"].value())


def test_one_class_leaves_the_threshold_in_the_middle():
    assert shared.best_threshold(np.ones(3), np.array([0.1, 0.2, 0.9])) == 0.5
