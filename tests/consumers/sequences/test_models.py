"""Each model learns what its kind can learn, from real sequences and from those of a mix."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from augment.numeric.sequences import Sequences
from consumers.sequence import NextItem
from consumers.sequences import MODELS, Material, network

ITEMS = 12
NAMES = pa.array([f"i{n:02}" for n in range(ITEMS)])
ORDERED = ("sasrec", "gru4rec", "transitions")  # models that the order tells something
QUICK = {"epochs": 12, "patience": 12, "lr": 0.01, "dim": 32, "dropout": 0.1}


def walk(users, length, step=1):
    """Every user goes round the items, from anywhere: what comes next is certain."""
    start = np.arange(users)
    return Sequences.joined([(first + step * np.arange(length)) % ITEMS for first in start])


def mix(items, targets, weight=1.0, negatives=()):
    kind = pa.list_(pa.string())
    names = lambda codes: [NAMES[int(code)].as_py() for code in codes]  # noqa: E731
    lists = [[names(one) for one in part] for part in (items, targets, [negatives] * len(items))]
    decoded = pa.StructArray.from_arrays(
        [pa.array(one, kind) for one in lists], names=["items", "targets", "negatives"]
    )
    return pa.table({"decoded": decoded, "weight": pa.array([weight] * len(items), pa.float32())})


def fitted(name, real, mixed=None, tried=None, **options):
    """tried: in place of what finds the walk's next items."""
    options = {**(QUICK if name in ("sasrec", "gru4rec") else {}), **options}
    model = MODELS[name](MODELS[name].Options(**options), seed=0)
    material = Material.of(real, mixed, NAMES)
    asked, last = walk(ITEMS, 4), np.arange(ITEMS) + 4
    walked = lambda scores: float((scores(asked).argmax(axis=1) == last % ITEMS).mean())  # noqa: E731
    arrays = model.fit(material, tried or walked)
    return lambda shown: model.scores(dict(arrays), shown)


@pytest.mark.parametrize("name", ORDERED)
def test_what_always_follows_is_found(name):
    best = fitted(name, walk(48, 7))(walk(ITEMS, 5)).argmax(axis=1)
    assert (best == (np.arange(ITEMS) + 5) % ITEMS).mean() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_of_each_sequence_alone_even_of_an_empty_one(name):
    scores = fitted(name, walk(24, 7), **({"epochs": 2} if name in ("sasrec", "gru4rec") else {}))
    shown = Sequences.joined([np.array([3, 4]), np.array([], np.int64), np.arange(9)])
    found = scores(shown)
    assert found.shape == (3, ITEMS)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    for one in range(3):
        assert np.allclose(scores(shown.take(np.array([one])))[0], found[one], atol=1e-5)


def test_what_is_popular_is_counted_by_weight():
    scores = fitted("popular", Sequences.joined([np.array([1, 2, 2])]), mix([[3, 3]], [[3]], weight=2.0))
    assert scores(walk(1, 1))[0, :4].tolist() == [0, 1, 2, 6]


def test_session_neighbours_look_for_the_latest_items_alike():
    near, far = np.array([0, 1, 2, 5]), np.array([3, 4, 6, 7])
    scores = fitted("session-neighbours", Sequences.joined([near, near, far, far]), neighbours=2, tau=1.0)
    found = scores(Sequences.joined([np.array([3, 4, 2, 1])]))[0]
    assert found[5] > found[7] > found[8]


@pytest.mark.parametrize("name", ORDERED)
def test_a_mix_teaches_what_follows_by_its_weight(name):
    """Of item 5, the log says 6 in each case; the mix, which is far heavier, 9."""
    says = mix([[3, 4, 5]] * 40, [[9]] * 40, weight=20.0)
    shown = Sequences.joined([np.array([3, 4, 5])])
    assert fitted(name, walk(48, 7))(shown).argmax() == 6
    of_nine = lambda scores: float(scores(shown)[0, 9] - scores(shown).mean())  # noqa: E731
    assert fitted(name, walk(48, 7), says, of_nine)(shown).argmax() == 9


def test_of_several_targets_each_counts_its_share():
    says = mix([[3, 4, 5]] * 60, [[9, 10, 11]] * 60, weight=10.0)
    scores = fitted("sasrec", walk(24, 7), says)(Sequences.joined([np.array([3, 4, 5])]))[0]
    assert {*scores.argsort()[-3:].tolist()} == {9, 10, 11}


def test_a_hard_negative_falls():
    shown = Sequences.joined([np.array([3, 4, 5])])
    plain, hard = (mix([[3, 4, 5]] * 60, [[6]] * 60, 10.0, negatives) for negatives in ((), (9, 9, 9, 9, 9, 9)))
    options = {"epochs": 4, "lr": 0.003}
    before, after = (fitted("sasrec", walk(48, 7), one, **options)(shown)[0] for one in (plain, hard))
    assert after[9] - after.mean() < before[9] - before.mean()


def test_over_a_sample_of_a_large_catalogue_the_same_is_learnt(monkeypatch):
    monkeypatch.setattr(network, "WHOLE", 1)
    best = fitted("sasrec", walk(48, 7))(walk(ITEMS, 5)).argmax(axis=1)
    assert (best == (np.arange(ITEMS) + 5) % ITEMS).mean() > 0.9


def test_long_sequences_are_cut_and_nothing_of_them_is_lost():
    material = Material.of(walk(3, 11), mix([[1, 2, 3]], [[4, 5]], negatives=[7]), NAMES)
    windows = network.cut(material, 4)
    assert [len(one) for one in windows.shown] == [4, 4, 2] * 3 + [3]
    assert len(windows.target) == 3 * 10 + 2 + 2
    for one, entry in enumerate(windows.entry):
        items = list(windows.shown)[one]
        for at in entry[windows.column[entry] < len(items) - 1]:
            assert windows.target[at] == items[windows.column[at] + 1]
    assert windows.weight[-2:].tolist() == [0.5, 0.5]
    assert windows.target[-2:].tolist() == [4, 5]
    assert [len(one) for one in windows.avoided] == [0] * 9 + [1]


def test_each_step_has_all_that_belongs_to_its_windows():
    material = Material.of(walk(40, 9), None, NAMES)
    windows = network.cut(material, 5)
    seen = 0
    for batch in network.batches(windows, ITEMS, np.random.default_rng(0), "cpu"):
        flat = batch.items.flatten()
        assert torch.equal((flat[batch.place] + 1) % ITEMS, batch.target)
        seen += len(batch.target)
    assert seen == len(windows.target)


def test_the_states_of_a_place_know_nothing_of_later_ones():
    for name in ("sasrec", "gru4rec"):
        net = MODELS[name](MODELS[name].Options(), seed=0).net(ITEMS).eval()
        one, two = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, ITEMS]])
        assert torch.allclose(net(one)[:, :2], net(two)[:, :2], atol=1e-6)


def test_another_seed_is_another_model_and_global_randomness_is_left_alone():
    users = [f"u{n % 20}" for n in range(140)]
    items = [f"i{(n % 20 + n // 20) % ITEMS:02}" for n in range(140)]
    rows = pa.table({"user_id": users, "item_id": items, "timestamp": list(range(140))})
    train, valid = rows.slice(0, 120), rows.slice(120)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = NextItem(epochs=1, seed=1).fit(train, valid)
    assert torch.equal(torch.get_rng_state(), state)
    two = NextItem(epochs=1, seed=2).fit(train, valid)
    assert not np.allclose(one.predict(valid), two.predict(valid))
