"""What a consumer promises: options kept, predictions in range and by seed, every metric, attacks, a victim, a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from augment.base.errors import UsageError
from augment.contracts.consumer import Consumer, check_options, options_of
from augment.numeric.columns import labels_of
from augment.testing.promises import check_described, error_of, tests_of
from augment.testing.shop import Shop, around


@dataclass(frozen=True)
class Case:
    consumer: type[Consumer]
    shop: Shop

    def made(self, seed: int = 0) -> Consumer:
        return self.consumer(**self.shop.options, seed=seed)

    def trained(self, seed: int = 0, mix: pa.Table | None = None) -> Consumer:
        return self.made(seed).fit(self.shop.real.train, self.shop.held_out[0], mix)

    @property
    def test(self) -> pa.Table:
        return self.shop.held_out[1]


def suite(consumer: type[Consumer], options: Mapping[str, Any] | None = None, rows: pa.Table | None = None) -> type:
    """The tests of a consumer with these options; rows: the author's own, see `shop_of`."""
    return tests_of(ConsumerPromises, {consumer.__name__: Case(consumer, around(consumer, rows, options))})


class ConsumerPromises:
    def test_options_are_kept_under_their_names(self, case: Case) -> None:
        model = case.made(seed=5)
        assert (model.seed, model.device) == (5, "cpu"), "`seed` and `device` are kept"  # type: ignore[attr-defined]
        for option in options_of(case.consumer, case.shop.options):
            kept = getattr(model, option.name)
            assert kept == case.shop.options.get(option.name, option.default), (
                f"option '{option.name}' is kept as given"
            )
        if hasattr(case.consumer, "Options"):
            check_described(case.consumer.Options)

    def test_an_unknown_option_is_refused(self, case: Case) -> None:
        said = error_of(UsageError, lambda: check_options(case.consumer, {"no_such_option": 1}, "here"))
        assert said.startswith("here: "), f"the error begins with where it is, not: {said}"

    def test_predictions_have_their_shape_and_range(self, case: Case) -> None:
        found = case.shop.victim.predict(case.test)
        assert found.dtype == np.float32 and np.isfinite(found).all(), "predictions are float32, and finite"  # noqa: PT018
        if case.shop.modality.rows.classes:
            wanted = labels_of(case.test["label"]).shape
            assert found.shape == wanted, "`predict` gives float32[n], or float32[n, K] of K classes"
            assert ((found >= 0) & (found <= 1)).all(), "predictions are probabilities"
        else:
            assert (found.ndim, len(found)) == (2, len(case.test)), "`predict` gives float32[n, items]"
        some = case.shop.victim.predict(case.test.slice(3, 4))
        assert np.allclose(some, found[3:7], atol=1e-5), "a prediction depends on the other rows"

    def test_a_seed_repeats_itself(self, case: Case) -> None:
        torch.manual_seed(1)
        again = case.trained().predict(case.test)
        assert np.array_equal(again, case.shop.victim.predict(case.test)), "the same seed gives another model"
        if getattr(case.made(), "deterministic", False):
            assert np.allclose(case.trained(9).predict(case.test), again), "`deterministic`: any seed, the same model"

    def test_every_metric_is_measured(self, case: Case) -> None:
        attacked = {
            name: case.shop.real.prepared.attach(rows) for name, rows in case.made().attacks(case.test, 3).items()
        }
        found = case.shop.victim.evaluate(case.test, attacked)
        for metric in (name for names in case.consumer.metrics.values() for name in names):
            assert metric in found, f"`evaluate` gives no '{metric}', which `metrics` names"
            measure = found[metric]
            assert measure.better_is in ("higher", "lower"), f"'{metric}': better_is 'higher' or 'lower'"
            value, twice = measure.value(), measure.value(np.full(measure.size, 2.0))
            assert np.isclose(value, twice, equal_nan=True), f"'{metric}' depends on how often all units are drawn"
        assert np.isfinite(found[case.consumer.metrics["clean"][0]].value()), "the first clean metric is a number"

    def test_attacks_are_copies_of_the_rows(self, case: Case) -> None:
        ids = set(case.test["row_id"].to_pylist())
        for name, rows in case.made().attacks(case.test, 3).items():
            if "row_id" in rows.column_names:
                assert set(rows["row_id"].to_pylist()) <= ids, f"attack '{name}' has rows that the test has not"
                assert set(rows.column_names) <= set(case.test.column_names), f"attack '{name}' has columns of its own"
            assert rows.equals(case.made().attacks(case.test, 3)[name]), f"attack '{name}' is not repeated by its seed"

    def test_it_can_be_sparred_with(self, case: Case) -> None:
        anchors, victim, some = case.shop.studio.anchors, case.shop.studio.workshop.victim, np.arange(8)
        loss = victim.loss(moved := torch.from_numpy(anchors.embedding[some]).requires_grad_(), anchors.condition(some))
        assert victim.dim == anchors.embedding.shape[1], "`dim` is that of the modality's vectors"
        assert loss.shape == (8,), "`loss` gives float[B]"
        (gradient,) = torch.autograd.grad(loss.sum(), moved)
        assert 0 < gradient.abs().sum() < np.inf, "the loss has no gradient in the embedding, or no finite one"

    def test_a_saved_model_is_the_same(self, case: Case, tmp_path: Path) -> None:
        case.shop.victim.save(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.json"}, "two files, safe ones"
        loaded = case.consumer.load(tmp_path).predict(case.test)
        assert np.allclose(loaded, case.shop.victim.predict(case.test), atol=1e-6), (
            "a loaded model predicts something else"
        )

    def test_it_learns_from_the_mix(self, case: Case) -> None:
        mixed = case.trained(mix=case.shop.mix).predict(case.test)
        assert not np.array_equal(mixed, case.shop.victim.predict(case.test)), "the mix changes nothing"

    def test_plain_models_can_be_told_apart(self, case: Case) -> None:
        valid, first = case.shop.held_out[0], case.consumer.metrics["clean"][0]
        for name, model in case.consumer.baselines(0, "cpu").items():
            measure = model.fit(case.shop.real.train, valid).evaluate(valid, {})[first]
            assert np.isfinite(measure.value()), f"baseline '{name}': its {first} on validation rows is not a number"
