import numpy as np
import pyarrow as pa
import pytest

from augment.base.errors import BadInput
from augment.contracts.modality import Prepared, Tools
from augment.contracts.values import Bank
from augment.modalities.sequences import LONGEST, Sequences

COUNT = 40
NAMES = [f"i{n:02}" for n in range(COUNT)]


class Victim:
    """Items are near to those of like numbers."""

    def tables(self):
        angle = np.arange(COUNT) * np.pi / COUNT
        return {"item_id": (NAMES, np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32))}


def history(lengths):
    users = [f"u{n}" for n, length in enumerate(lengths) for _ in range(length)]
    items = [NAMES[(3 * n + at) % COUNT] for n, length in enumerate(lengths) for at in range(length)]
    times = [at for length in lengths for at in range(length)]
    rows = pa.table({"user_id": users, "item_id": items, "timestamp": times})
    return rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))


@pytest.fixture
def modality():
    return Sequences.around(history([12, 4, 3, 9]), Prepared(), Victim(), Tools(0, (), None))


@pytest.fixture
def anchors(modality):
    return modality.anchors(history([12, 4, 3, 9]))


def test_an_anchor_is_all_but_the_last_item_which_is_what_comes_next(anchors):
    found = anchors.to_pylist()
    assert [one["row_id"] for one in found] == ["u0", "u1", "u3"]
    assert found[1]["items"] == ["i03", "i04", "i05"]
    assert found[1]["targets"] == ["i06"]


def test_of_long_histories_the_latest_items_are_an_anchor(modality):
    (row,) = modality.anchors(history([LONGEST + 20])).to_pylist()
    assert len(row["items"]) == LONGEST
    assert row["targets"] == [NAMES[(LONGEST + 19) % COUNT]]


def test_too_few_long_enough_histories_are_said():
    with pytest.raises(BadInput, match="1 of 3 users have 4 rows in 10 training rows"):
        Sequences.check_enough("log", history([3, 4, 3]))


def edited(modality, anchors, kind, seed=0):
    rows = modality.perturb(anchors, np.random.default_rng(seed), kind)
    assert rows["targets"].equals(anchors["targets"])
    return list(zip(anchors["items"].to_pylist(), rows["items"].to_pylist(), strict=True))


def is_part(short, long):
    left = iter(long)
    return all(item in left for item in short)


@pytest.mark.parametrize("seed", range(4))
def test_each_edit_is_what_it_says(modality, anchors, seed):
    for old, new in edited(modality, anchors, "crop", seed):
        assert new == old[-len(new) :]
        assert 0.6 * len(old) <= len(new) < len(old)
    for old, new in edited(modality, anchors, "mask", seed):
        assert is_part(new, old)
        assert len(new) == len(old) - round(0.3 * len(old))
    for old, new in edited(modality, anchors, "insert", seed):
        assert is_part(old, new)
        assert len(new) == len(old) + max(1, round(0.2 * len(old)))
    for old, new in edited(modality, anchors, "substitute", seed):
        changed = [(NAMES.index(a), NAMES.index(b)) for a, b in zip(old, new, strict=True) if a != b]
        assert 0 < len(changed) <= max(1, round(0.2 * len(old)))
        assert all(abs(a - b) <= 10 for a, b in changed)  # the nearest by vectors are the nearest by number
    for old, new in edited(modality, anchors, "reorder", seed):
        assert sorted(new) == sorted(old)
        moved = [at for at, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        assert not moved or moved[-1] - moved[0] < max(2, round(0.5 * len(old)))


def test_the_smallest_sequence_can_be_edited(modality, anchors):
    one = modality.with_items(anchors.slice(0, 1), "items", np.array([7]), np.array([1]))
    for kind in Sequences.perturbations:
        assert modality.perturb(one, np.random.default_rng(0), kind)["items"].to_pylist()[0]


def test_a_vector_tells_the_order(modality, anchors):
    back = modality.with_items(anchors.slice(0, 1), "items", np.arange(11)[::-1], np.array([11]))
    forth = modality.with_items(anchors.slice(0, 1), "items", np.arange(11), np.array([11]))
    latest = modality.vectors[10]
    assert (modality.encode(forth) @ latest)[0] > (modality.encode(back) @ latest)[0]


def test_a_vector_decodes_to_the_real_edit_that_is_nearest(modality, anchors):
    bank = Bank(np.arange(0), 1, anchors.slice(0, 0), np.empty((0, 2)), np.empty((0, 2)), "cpu")
    away = modality.vectors[[20, 20, 20]]
    rows, vectors = modality.decode(away, anchors, bank, np.random.default_rng(0))
    others = [modality.encode(modality.perturb(anchors, np.random.default_rng(seed))) for seed in range(5)]
    assert (vectors * away).sum() > np.mean([(other * away).sum() for other in others])
    for row in rows.to_pylist():
        assert row["negatives"]
        assert not {*row["negatives"]} & {*row["targets"]}
