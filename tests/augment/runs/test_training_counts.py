"""How many models a comparison trains and judges."""

import pyarrow as pa
import pytest

from augment.contracts.values import Arena
from augment.judging.arms import fit_seeds, judge, strongest_baseline
from augment.numeric.measures import Mean
from augment.recipes.schema import VerdictSettings

NOTHING = pa.table({"x": [0]})
SETTINGS = VerdictSettings(clean=["score"], improve=["score"], draws=100)
ARENA = Arena(NOTHING, NOTHING, NOTHING, lambda rows, without: {})


def consumer(*, alike):
    """A consumer that counts its fits and evaluations; `alike`: every seed is the same model."""
    counts = {"fits": 0, "evaluations": 0}

    class Counting:
        metrics = {"clean": ("score",), "robust": ("score",)}  # noqa: RUF012
        deterministic = alike

        def __init__(self, seed=0, level=0.0):
            self.seed, self.level = seed, level

        def fit(self, train, valid, mix=None):
            counts["fits"] += 1
            return self

        def evaluate(self, test, attacked):
            counts["evaluations"] += 1
            return {"score": Mean(pa.array([self.level + (0 if alike else self.seed), 1.0]).to_numpy())}

        @classmethod
        def baselines(cls, seed, device):
            return {"weak": cls(seed, -1.0), "strong": cls(seed, 2.0)}

    return Counting, counts


@pytest.mark.parametrize(("alike", "models"), [(True, 1), (False, 3)])
def test_a_model_without_chance_is_trained_and_judged_once(alike, models):
    kind, counts = consumer(alike=alike)
    real = fit_seeds(kind, [5, 6, 7], ARENA, None)
    assert [len(real), len(set(map(id, real))), counts["fits"]] == [3, models, models]
    assert [model.seed for model in real] == ([5] * 3 if alike else [5, 6, 7])
    name, plain = strongest_baseline(kind, [5, 6, 7], ARENA, "cpu")
    assert name == "strong"
    assert [len(plain), len(set(map(id, plain))), counts["fits"]] == [3, models, models + 2 + models - 1]
    counts["evaluations"] = 0
    verdict = judge(real, real, (name, plain), ARENA, SETTINGS, 0)
    assert counts["evaluations"] == models + models  # what is in two arms is evaluated once
    assert verdict.comparisons["score"].diff == 0
