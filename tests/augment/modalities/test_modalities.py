import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from augment.contracts.values import Anchors
from augment.generation.studio import build_bank
from augment.modalities.behaviour import Behaviour, item_texts
from augment.modalities.fields import Fields


@pytest.fixture
def fields():
    rng = np.random.default_rng(0)
    colours = ["", "red", "green", "blue"]
    sizes = ["", "S", "M", "L", "XL"]
    tables = {
        "colour": (colours, rng.standard_normal((4, 6)).astype(np.float32)),
        "size": (sizes, rng.standard_normal((5, 6)).astype(np.float32)),
    }
    rows = pa.table(
        {
            "row_id": [str(i) for i in range(200)],
            "colour": pa.array([["red", "green", "blue", "puce", None][i % 5] for i in range(200)]),
            "size": pa.array([["S", "M", "L", "XL"][i % 4] for i in range(200)]),
        }
    )
    return Fields(tables, rows), rows


def test_fields_decode_what_they_encode(fields):
    modality, rows = fields
    decoded, embedding = modality.decode(modality.encode(rows), rows, bank=None, rng=None)
    assert decoded.select(["colour", "size"]).equals(rows.select(["colour", "size"]))  # 'puce' and null keep their form
    np.testing.assert_array_equal(embedding, modality.encode(rows))


def test_a_field_that_kept_its_vector_keeps_its_value_among_those_that_share_it():
    shared = np.array([[0.0], [1.0], [1.0], [2.0]], np.float32)
    rows = pa.table({"row_id": ["1", "2"], "shop": ["b", "b"]})
    modality = Fields({"shop": (["", "a", "b", "c"], shared)}, rows)
    decoded, embedding = modality.decode(np.array([[1.2], [1.9]], np.float32), rows, bank=None, rng=None)
    assert decoded["shop"].to_pylist() == ["b", "c"]
    assert embedding.tolist() == [[1.0], [2.0]]


def test_what_moves_towards_entry_zero_takes_a_value_unless_it_had_none(fields):
    modality, rows = fields
    hidden = modality.encode(rows.set_column(1, "colour", pa.nulls(len(rows), pa.string())))
    decoded, embedding = modality.decode(hidden, rows, bank=None, rng=None)
    found = decoded["colour"].to_pylist()
    assert all(value in ("red", "green", "blue") for start in range(3) for value in found[start::5])
    assert found[3::5] == ["puce"] * 40  # of entry zero before and after
    assert found[4::5] == [None] * 40
    np.testing.assert_array_equal(embedding, modality.encode(decoded))


def test_gaps_come_by_chance_alone(fields):
    """As many in each field, whatever its value: a model must not learn what a gap goes with."""
    modality, rows = fields
    rows = pa.concat_tables([rows] * 50).combine_chunks()
    gapped = modality.with_gaps(rows, np.random.default_rng(0))
    lost = modality.gaps(gapped, rows)
    known = rows["colour"].is_valid().to_numpy()
    assert abs(lost[known].mean() - 0.5) < 0.02  # half of the copies lose one of their two fields
    for name in ("colour", "size"):
        for value in rows[name].unique().drop_null().to_pylist():
            hidden = gapped[name].filter(pc.equal(rows[name], value)).is_null().to_numpy()
            assert abs(hidden.mean() - 0.25) < 0.03
    assert modality.with_gaps(rows, np.random.default_rng(0)).equals(gapped)


def test_fields_unknown_and_missing_values_share_entry_zero(fields):
    modality, rows = fields
    vectors = modality.encode(rows)
    np.testing.assert_array_equal(vectors[3, :6], vectors[4, :6])


def test_fields_perturb_changes_some_fields_with_values_that_exist(fields):
    modality, rows = fields
    copy = modality.perturb(rows, np.random.default_rng(1))
    assert copy["row_id"].equals(rows["row_id"])
    changed = sum(a != b for a, b in zip(copy["size"].to_pylist(), rows["size"].to_pylist(), strict=True))
    assert 20 < changed < 180
    assert set(copy["size"].to_pylist()) <= {None, "S", "M", "L", "XL"}
    again = modality.perturb(rows, np.random.default_rng(1))
    assert again.equals(copy)


@pytest.fixture
def behaviour():
    rng = np.random.default_rng(0)
    items = [f"i{n}" for n in range(40)]
    tables = {"item_id": (items, rng.standard_normal((40, 8)).astype(np.float32))}
    pairs = {(f"u{u}", items[i]) for u in range(30) for i in rng.choice(40, size=rng.integers(3, 15), replace=False)}
    users, history = zip(*sorted(pairs), strict=True)
    train = pa.table({"user_id": users, "item_id": history})
    return Behaviour(tables, train), train


def test_behaviour_anchors_are_the_users_with_enough_items(behaviour):
    modality, train = behaviour
    anchors = modality.anchors(train)
    lengths = [len(items) for items in anchors["items"].to_pylist()]
    assert min(lengths) >= 4
    first = anchors.slice(0, 1).to_pylist()[0]
    mine = {i for u, i in zip(*train.to_pydict().values(), strict=True) if u == first["row_id"]}
    assert set(first["items"]) == set(first["targets"]) == mine


def test_histories_are_in_the_order_of_their_first_times(behaviour):
    modality, train = behaviour
    time = np.random.default_rng(1).permutation(len(train))
    timed = pa.concat_tables([train.append_column("timestamp", pa.array(t)) for t in (time, time + len(train))])
    anchors = modality.anchors(timed)
    times = dict(zip(zip(*train.to_pydict().values(), strict=True), time.tolist(), strict=True))
    for row in anchors.to_pylist():
        assert row["items"] == sorted(row["items"], key=lambda item: times[row["row_id"], item])
    assert anchors.equals(modality.anchors(timed.take(pa.array(np.random.default_rng(2).permutation(len(timed))))))


def test_behaviour_perturb_hides_items_and_keeps_targets(behaviour):
    modality, train = behaviour
    anchors = modality.anchors(train)
    copy = modality.perturb(anchors, np.random.default_rng(0))
    for row in copy.to_pylist():
        assert set(row["items"]) <= set(row["targets"])
        assert len(row["items"]) >= 2
    assert copy["targets"].equals(anchors["targets"])
    hidden = 1 - sum(map(len, copy["items"].to_pylist())) / sum(map(len, anchors["items"].to_pylist()))
    assert 0.2 < hidden < 0.6


def test_behaviour_decode_moves_towards_the_vector_and_never_proposes_an_owned_item_as_negative(behaviour):
    modality, train = behaviour
    anchors = modality.anchors(train)
    start = modality.encode(anchors)
    goal = np.roll(start, 1, axis=0)
    rows, embedding = modality.decode(goal, anchors, bank=None, rng=None)
    assert ((embedding * goal).sum(axis=1) > (start * goal).sum(axis=1)).mean() > 0.9
    for row in rows.to_pylist():
        assert set(row["items"]) < set(row["targets"])
        assert not set(row["negatives"]) & set(row["targets"])
        assert row["negatives"]


def test_the_bank_holds_real_perturbations_of_its_own_anchors(fields):
    modality, rows = fields
    described = modality.describe(rows, np.zeros(len(rows), np.float32), np.random.default_rng(0))
    anchors = Anchors(rows, modality.encode(rows), np.zeros(len(rows), np.float32), described, "cpu")
    bank = build_bank(anchors, modality, 50, 3, np.random.default_rng(0))
    assert bank.displacements.shape == (50, 3, 12)
    rebuilt = bank.origin[:, None] + bank.displacements
    np.testing.assert_allclose(rebuilt.reshape(150, 12), modality.encode(bank.rows), atol=1e-5)


def added(modality, rows):
    """What pseudo-interactions add to the targets of each row."""
    copy = modality.perturb(rows, np.random.default_rng(0), "pseudo-interactions")
    pairs = zip(copy["targets"].to_pylist(), rows["targets"].to_pylist(), strict=True)
    return [set(new) - set(old) for new, old in pairs]


def test_the_tail_is_one_and_the_same_in_every_batch(behaviour):
    modality, train = behaviour
    rows = modality.anchors(train)
    counts = pa.compute.value_counts(pa.compute.list_flatten(rows["targets"])).to_pylist()
    head = {c["values"] for c in sorted(counts, key=lambda c: -c["counts"])[: 40 // 5 - 1]}
    lengths = np.array([len(items) for items in rows["targets"].to_pylist()])
    more = [found for start in range(0, len(rows), 3) for found in added(modality, rows.slice(start, 3))]
    busy = lengths > np.median(lengths)
    assert not set.union(*(found for found, b in zip(more, busy, strict=True) if b)) & head
    assert set.union(*(found for found, b in zip(more, busy, strict=True) if not b)) & head


def test_pseudo_interactions_are_with_items_alike_in_content():
    """Users like even items; an item's text says whether it is even, and its vector says nothing."""
    rng = np.random.default_rng(0)
    items = [f"i{n:02}" for n in range(60)]
    pairs = [(f"u{u:02}", items[2 * i]) for u in range(30) for i in rng.choice(30, size=10, replace=False)]
    train = pa.table({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs]})
    tables = {"item_id": (items, rng.standard_normal((60, 8)).astype(np.float32))}
    texts = np.eye(2, dtype=np.float32)[np.arange(59) % 2] + 0.01 * rng.standard_normal((59, 2)).astype(np.float32)
    plain, alike = (Behaviour(tables, train, content) for content in (None, (items[:59], texts)))
    odd = [sum(int(i[1:]) % 2 for found in added(m, m.anchors(train)) for i in found) for m in (plain, alike)]
    assert odd[0] > 10
    assert odd[1] == 0


def test_an_items_text_is_its_first(behaviour):
    rows = pa.table({"item_id": ["a", "b", "a", "c", "b"], "text": [None, "x", "y", None, "z"]})
    assert item_texts(rows) == (["a", "b"], ["y", "x"])


def test_items_that_the_victim_never_saw_are_left_out(behaviour):
    """The victim may be that of an earlier night."""
    modality, train = behaviour
    new = pa.table({"user_id": ["u1"] * 9, "item_id": [f"new{i}" for i in range(9)]})
    assert modality.anchors(pa.concat_tables([train, new])).equals(modality.anchors(train))
