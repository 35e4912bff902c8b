"""Factor models beside whose own vector of a user counts what the user took lately."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from augment.numeric.histories import binary
from consumers import Recommender
from consumers.rankers import RANKERS, Rows


@pytest.mark.parametrize("name", ["mf", "lightgcn"])
def test_what_a_user_shows_counts_half_as_much_as_its_own_vector(name):
    order = csr_matrix(np.random.default_rng(0).integers(0, 3, (60, 12)).astype(np.float32))
    inputs, ones = binary(order), np.ones(12, np.float32)
    small = {"dim": 8, "epochs": 2, "loss": "bpr"}  # whose vectors have lengths

    def ranker(**options):
        return RANKERS[name](RANKERS[name].Options(**small, **options))

    arrays, everyone = next(ranker().fit(Rows(60, inputs, inputs, order, np.ones(60), ones), (1.0,))), np.arange(60)
    user, item = arrays["user"], arrays["item"]
    shown = csr_matrix(np.eye(12, dtype=np.float32)[everyone % 12])  # an item each
    alone, took = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (user, item[everyone % 12]))
    half = ranker(fold_in=0.5)
    np.testing.assert_allclose(
        half.scores(arrays, shown, everyone), (alone + 0.5 * took) @ item.T, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(half.scores(arrays, 0 * shown, everyone), alone @ item.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ranker().scores(arrays, shown, everyone), user @ item.T, rtol=1e-5, atol=1e-6)


def logs():
    """Users who took six of the first twenty items, then two of the last twenty, and want more of these."""
    rng, rows = np.random.default_rng(0), {"train": [], "valid": []}
    for user in range(150):
        old, new = rng.permutation(20), 20 + rng.permutation(20)
        kind = user % 3  # the others stay with the ones or the others
        before, after = {0: (old[:6], new[:2]), 1: (old[:8], []), 2: (new[:8], [])}[kind]
        last = old[8:10] if kind == 1 else new[8:10]
        rows["train"] += [(user, item, place) for place, item in enumerate([*before, *after])]
        rows["valid"] += [(user, item, 10 + place) for place, item in enumerate(last)]

    def table(found):
        user, item, time = zip(*found, strict=True)
        return pa.table({"user_id": [f"u{u}" for u in user], "item_id": [f"i{i}" for i in item], "timestamp": time})

    return table(rows["train"]), table(rows["valid"])


def test_a_taste_that_changed_is_followed_and_saved(tmp_path):
    train, valid = logs()

    def found(**options):
        model = Recommender(model="mf", dim=16, l2=1.0, **options).fit(train, valid)
        return model, model.evaluate(valid, {})["ndcg@20"].value()

    (model, folded), (_, plain) = found(fold_in=1.0), found()
    assert folded > plain + 0.05
    assert model.recency_[0] > 0  # tuned
    model.save(tmp_path)
    np.testing.assert_array_equal(Recommender.load(tmp_path).predict(train), model.predict(train))
