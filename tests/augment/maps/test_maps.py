"""Maps from content to behaviour, and what a new item's row does under a model."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.base.errors import Refused, UsageError
from augment.contracts.content_map import check, map_class, settings
from augment.contracts.registry import every
from augment.contracts.tally import Tally
from augment.generation import new_items
from augment.generation.catalogue import Catalogue
from augment.generation.weighted import Stamp
from augment.numeric.new_items import MET, OWN, new_scores, rows_of, standardised, weights_of
from augment.recipes.schema import NewItems
from augment.testing import maps

KINDS, EACH, USERS = 5, 24, 150

TestMaps = maps.suite(*every("maps").values())


def shop(seed=0, fresh=2):
    """Interactions of users who like one kind of items, and a catalogue of them and of new items."""
    rng = np.random.default_rng(seed)
    known = [(f"k{kind}-{n}", kind) for kind in range(KINDS) for n in range(EACH)]
    rows = []
    for user in range(USERS):
        kind = user % KINDS
        liked = rng.choice(EACH, 10, replace=False)
        rows += [(f"u{user}", f"k{kind}-{n}") for n in liked]
        rows += [(f"u{user}", known[rng.integers(len(known))][0]) for _ in range(2)]
    rows = sorted(set(rows))
    train = pa.table({"user_id": [u for u, _ in rows], "item_id": [i for _, i in rows]})
    new = [(f"new{kind}-{n}", kind) for kind in range(KINDS) for n in range(fresh)]
    products = pa.table({
        "item_id": [name for name, _ in known + new],
        "kind": [f"kind {kind}|all" for _, kind in known + new],
        "colour": [str(rng.integers(3)) for _ in known + new],
    })  # fmt: skip
    return train, products


def catalogue(products):
    return Catalogue.of(products, lambda texts: pytest.fail("there is no text to encode"))


def test_nystrom_by_all_items_as_landmarks_is_the_exact_solution():
    rng = np.random.default_rng(0)
    content = rng.standard_normal((60, 8)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    exact = settings("kernel-ridge", {"tau": 0.4, "l2": 0.3}, 0)[0].fit(content, content).weights(content[:5] * -1)
    marks = {"tau": 0.4, "l2": 0.3, "exact": 10, "landmarks": 60}
    by_marks = settings("kernel-ridge", marks, 0)[0].fit(content, content).weights(content[:5] * -1)
    assert np.corrcoef(exact.ravel(), by_marks.ravel())[0, 1] > 0.99


def test_a_map_or_an_option_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'ridge'"):
        check("rige", {}, "tasks.x.new_items")
    with pytest.raises(UsageError, match="unknown option 'l3'; known: l2"):
        check("ridge", {"l3": 1.0}, "tasks.x.new_items")
    with pytest.raises(UsageError, match="no map is registered"):
        map_class("nothing")


def test_properties_of_several_values_count_one_by_one():
    table = pa.table({"item_id": ["a", "b", "c"], "tags": ["[x, y]", "x", None], "brand": ["x|z", None, None]})
    found = catalogue(table)
    likeness = found.vectors(1.0) @ found.vectors(1.0).T
    assert likeness[0, 1] > 0.1  # both have the tag x
    assert not found.vectors(1.0)[2].any()  # of which nothing is said
    assert found.shares == (1.0,)


def test_the_chosen_map_finds_kinds_and_says_nothing_of_items_without_content():
    train, products = shop()
    products = pa.concat_tables([products, pa.table({"item_id": ["dark"], "kind": [None], "colour": [None]},
                                                    schema=products.schema)])  # fmt: skip
    seen = catalogue(products)
    known = new_items.Known.of(train, seen)
    found = new_items.choose(seen, known, NewItems(maps=["ridge", "attention"]), 0)
    assert found.ndcg > 0.65  # by chance about .4
    mapped = new_items.apply(found, seen, known, 15)
    assert mapped.names.to_pylist() == [f"new{kind}-{n}" for kind in range(KINDS) for n in range(2)]
    assert mapped.weights.getnnz(axis=1).max() <= 15
    for name, row in zip(mapped.names.to_pylist(), mapped.weights.toarray(), strict=True):
        best = known.items.take(pa.array(np.argsort(-row)[:5])).to_pylist()
        assert all(item.startswith(f"k{name[3]}-") for item in best), (name, best)


def test_an_item_that_few_have_met_is_new_still_and_nobodys_neighbour():
    train, products = shop()
    met = [(f"u{n}", "new0-0") for n in range(MET - 1)] + [(f"u{n}", "new1-0") for n in range(MET)]
    users, items = zip(*met, strict=True)
    train = pa.concat_tables([train, pa.table({"user_id": list(users), "item_id": list(items)})])
    seen = catalogue(products)
    known = new_items.Known.of(train, seen)
    assert known.items.filter(pa.array(known.young)).to_pylist() == ["new0-0"]
    found = new_items.choose(seen, known, NewItems(maps=["attention"]), 0)
    mapped = new_items.apply(found, seen, known, 200)
    assert "new0-0" in mapped.names.to_pylist()
    assert "new1-0" not in mapped.names.to_pylist()
    assert not mapped.weights[:, known.young].nnz
    assert mapped.weights[:, known.items.index("new1-0").as_py()].nnz


def test_an_old_item_that_few_want_is_no_new_one():
    train, products = shop()
    train = train.append_column("timestamp", pa.array(np.linspace(0, 100, len(train)), pa.float64()))
    few = {"user_id": ["u1", "u2", "u1", "u1"], "item_id": ["new0-0", "new1-0", "new1-0", "new1-0"],
           "timestamp": [1.0, 99.0, 100.0, 100.0]}  # fmt: skip
    known = new_items.Known.of(pa.concat_tables([pa.table(few), train]), catalogue(products))
    assert known.items.filter(pa.array(known.young)).to_pylist() == ["new1-0"]
    assert known.place[known.items.index("new0-0").as_py()] >= 0


def test_an_item_that_was_met_and_wanted_by_hardly_anyone_is_no_new_one():
    train, _ = shop()
    train = train.append_column("timestamp", pa.array(np.linspace(0, 100, len(train)), pa.float64()))
    left_out = pa.table({"item_id": ["new0-0", "new1-0", "k0-1"], "timestamp": [1.0, 99.0, 1.0]})
    assert new_items.had_their_time(train, left_out).to_pylist() == ["new0-0"]  # one is just out, one is known
    few = train.slice(0, 2)
    assert not len(new_items.had_their_time(few, left_out))


def test_where_hardly_any_item_was_met_often_all_of_them_are_known():
    train, products = shop()
    few = train.filter(pa.array(np.arange(len(train)) % 12 == 0))
    known = new_items.Known.of(few, catalogue(products))
    assert (known.history.getnnz(axis=0) >= MET).sum() < new_items.LEAST < len(known.items)
    assert not known.young.any()
    assert len(known.described) == len(known.items)


class Bags:
    """Texts as counts of their letters."""

    def encode(self, texts):
        return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], np.float32)


def test_what_a_misspelt_copy_weighs_is_its_items():
    train, products = shop()
    kinds = ["apple", "brick", "clock", "dogma", "fjord"]
    texts = [f"{kinds[int(kind[5])] * 6} {colour}" for kind, colour in zip(
        products["kind"].to_pylist(), products["colour"].to_pylist(), strict=True)]  # fmt: skip
    named = pa.table({"item_id": products["item_id"], "text": texts})
    plain, seen = (Catalogue.of(named, lambda texts: Bags(), typos) for typos in (None, 0))
    assert plain.misspelt is None
    assert np.abs(seen.misspelt - seen.text).max() > 0.01
    known = new_items.Known.of(train, seen)
    found = new_items.choose(seen, known, NewItems(maps=["kernel-ridge"]), 0)
    by_both, alone = (new_items.apply(found, one, known, 200).weights for one in (seen, plain))
    assert by_both.shape == alone.shape
    assert by_both.has_canonical_format
    assert np.abs(by_both.toarray() - alone.toarray()).max() > 1e-4
    assert np.corrcoef(by_both.toarray().ravel(), alone.toarray().ravel())[0, 1] > 0.8


def test_a_catalogue_of_other_items_is_refused():
    train, products = shop()
    other = products.set_column(0, "item_id", pa.array([f"x{n}" for n in range(len(products))]))
    named, arena = Stamp("t", "r", "all", 1.0), Arena(train)
    made = new_items.made(named, NewItems(), catalogue(other), None, None, arena, 0, Tally())
    with pytest.raises(Refused, match="are their ids the same"):
        next(made)


class Arena:
    def __init__(self, train):
        self.train = self.valid = train


@pytest.mark.parametrize("exposure", [0.1, 0.5, 0.9])
def test_the_scale_gives_new_items_the_places_that_are_asked_for(exposure):
    rng = np.random.default_rng(0)
    old = -np.sort(-rng.standard_normal((400, 500)), axis=1)[:, :20]
    new = -np.sort(-rng.gamma(2, 0.1, (400, 20)), axis=1)
    scaled = new * new_items.scale_for(exposure, old, new)
    every = np.concatenate([old, scaled], axis=1)
    top = np.argsort(-every, axis=1)[:, :20]
    assert (top >= 20).mean() == pytest.approx(exposure, abs=0.03)


def test_places_that_new_items_cannot_have_do_not_blow_up_the_scale():
    rng = np.random.default_rng(0)
    old = -np.sort(-rng.standard_normal((400, 500)), axis=1)[:, :20]
    new = np.concatenate([rng.gamma(2, 0.1, (400, 2)), -np.ones((400, 18))], axis=1)
    assert new_items.scale_for(0.5, old, -np.sort(-new, axis=1)) < 300


def test_scores_of_new_items_are_weighted_sums_and_do_not_hang_on_the_models_units():
    scores = np.array([[1.0, 2.0, 3.0, 6.0]], np.float32)
    history = csr_matrix(np.array([[0, 7, 0, 0]], np.float32))  # whatever the entry says, it is one
    weights = csr_matrix(np.array([[0, 0.5, 0, 0.25], [0, 0, 1, 0]], np.float32))
    z = standardised(scores)[0]
    expected = [0.5 * (z[1] + OWN) + 0.25 * z[3], z[2]]
    np.testing.assert_allclose(new_scores(scores, history, weights)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(new_scores(100 * scores - 7, history, weights)[0], expected, rtol=1e-4)
    np.testing.assert_array_equal(new_scores(np.ones((1, 4), np.float32), csr_matrix((1, 4)), weights), [[0, 0]])


def rows(*said):
    names = ("strategy", "anchor_id", "day", "sample_id", "neighbour_ids", "neighbour_weights")
    return pa.table({name: [row[i] for row in said] for i, name in enumerate(names)})


def test_of_nights_rows_for_one_item_the_latest_counts():
    mix = rows(
        ("gan", "u1", "2026-01-03", "a", ["u2"], None),
        ("new-items", "i1", "2026-01-01", "b", ["k1"], [1.0]),
        ("new-items", "i1", "2026-01-02", "c", ["k2", "gone"], [2.0, 5.0]),
        ("new-items", "i0", "2026-01-01", "d", ["k1"], [3.0]),
    )
    found = rows_of(mix)
    assert found["sample_id"].to_pylist() == ["d", "c"]
    np.testing.assert_array_equal(weights_of(found, pa.array(["k1", "k2"])).toarray(), [[3, 0], [0, 2]])
    assert not len(rows_of(mix.drop_columns("neighbour_weights")))
