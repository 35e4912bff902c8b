"""EASE beside a factor model, whose standardised scores are added."""

import numpy as np
import pyarrow as pa

from augment.numeric.new_items import standardised
from consumers import Recommender
from consumers.rankers import RANKERS


def logs(users=90, seed=0):
    """Each user's items come from two of four groups, the last two for validation."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(users):
        group = rng.choice(4, 2, replace=False)
        own = np.concatenate([10 * g + rng.permutation(10)[:4] for g in group])
        rows += [(f"u{user}", f"i{item}", place) for place, item in enumerate(own)]
    table = pa.table(dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)))
    early = pa.compute.less(table["timestamp"], 6)
    return table.filter(early), table.filter(pa.compute.invert(early))


def test_scores_are_the_sum_of_both_and_survive_a_save(tmp_path):
    train, valid = logs()
    ages = {"recency": 3.0, "recency_floor": 0.1, "seed": 1}
    both = Recommender(model="blend", l2=20.0, **ages).fit(train, valid)
    ease = Recommender(l2=20.0, **ages).fit(train, valid)
    factors = Recommender(model="mf", l2=1.0, fold_in=1.0, **ages).fit(train, valid)
    expected = standardised(ease.predict(train)) + standardised(factors.predict(train))
    np.testing.assert_allclose(both.predict(train), expected, atol=1e-4)
    both.save(tmp_path)
    np.testing.assert_array_equal(Recommender.load(tmp_path).predict(train), both.predict(train))


def test_factors_are_trained_once_for_all_l2(monkeypatch):
    train, valid = logs()
    fits, fit = [], RANKERS["mf"].fit
    monkeypatch.setattr(RANKERS["mf"], "fit", lambda self, rows, l2s: fits.append(l2s) or fit(self, rows, l2s))
    model = Recommender(model="blend").fit(train, valid)
    assert fits == [(1.0,)]
    assert model.l2_ in RANKERS["blend"].grid
    assert model.evaluate(valid, {})["ndcg@20"].value() > 0.2
