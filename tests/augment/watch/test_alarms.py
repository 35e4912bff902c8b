import numpy as np
import pyarrow as pa
import pytest

from augment.watch.alarms import signs

LISTS = pa.list_(pa.string())
ITEMS = [f"i{n}" for n in range(50)]
RNG = np.random.default_rng(0)
USERS = {f"u{u}": RNG.choice(ITEMS, 10, replace=False).tolist() for u in range(40)}


def interactions(of):
    return pa.table({"user_id": [u for u in of for _ in of[u]], "item_id": [i for u in of for i in of[u]]})


def samples(items, negatives):
    decoded = pa.StructArray.from_arrays(
        [pa.array(items, LISTS), pa.array(items, LISTS), pa.array(negatives, LISTS)], ["items", "targets", "negatives"]
    )
    return pa.table({"anchor_id": list(USERS), "decoded": decoded})


TRAIN = interactions({u: items[:8] for u, items in USERS.items()})
VALID = interactions({u: items[8:] for u, items in USERS.items()})


def test_uniform_negatives_of_real_histories_raise_nothing():
    rng = np.random.default_rng(1)
    found = signs(samples([i[:8] for i in USERS.values()], [rng.choice(ITEMS, 20).tolist() for _ in USERS]), TRAIN,
                  VALID)  # fmt: skip
    assert found.raised == []
    assert found.false_negatives == pytest.approx(1, abs=0.5)
    assert found.popularity == pytest.approx(0.9, abs=0.1)


def test_each_alarm_is_raised_for_what_it_is_for():
    histories = [i[:8] for i in USERS.values()]
    assert "collapse" in signs(samples(histories, [["i1", "i2"]] * 40), TRAIN, VALID).raised[0]
    likely = signs(samples(histories, [i[8:] for i in USERS.values()]), TRAIN, VALID)
    assert any("false negatives" in line for line in likely.raised)
    rare = sorted(ITEMS, key=lambda i: TRAIN["item_id"].to_pylist().count(i))[:3]
    # Histories are the anchors' own, popular as they may be: only negatives can go wrong.
    assert any("popularity" in line for line in signs(samples(histories, [rare] * 40), TRAIN, VALID).raised)
    assert not any("popularity" in line for line in signs(samples([rare] * 40, histories), TRAIN, VALID).raised)


def test_without_negatives_nothing_can_be_told():
    found = signs(samples([i[:8] for i in USERS.values()], [[]] * 40), TRAIN, VALID)
    assert found.unique_items is None
    assert found.false_negatives is None
    assert found.popularity is None
    assert found.raised == []
