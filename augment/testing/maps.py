"""What a map from content to behaviour promises: finite weights, alike items first, the same each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from augment.contracts.content_map import ContentMap
from augment.contracts.options import checked
from augment.numeric.vectors import unit
from augment.testing.promises import check_described, check_prose, check_refused, tests_of

KINDS, EACH, DIM = 6, 20, 24


@dataclass(frozen=True)
class Case:
    map: type[ContentMap]
    options: Mapping[str, Any]

    def fitted(self) -> tuple[ContentMap, np.ndarray, np.ndarray]:
        """The map, fitted on items of a few kinds; new items, one of each kind; and the kind int64[I] of known ones."""
        rng = np.random.default_rng(0)
        centre = rng.standard_normal((KINDS, DIM)).astype(np.float32)
        kind = np.repeat(np.arange(KINDS), EACH)
        content = unit(centre[kind] + 0.3 * rng.standard_normal((len(kind), DIM)).astype(np.float32))
        behaviour = unit(np.eye(KINDS, dtype=np.float32)[kind] + 0.1)
        new = unit(centre + 0.3 * rng.standard_normal((KINDS, DIM)).astype(np.float32))
        made = self.map(checked(self.map.Options, self.options, self.map.name), seed=0)
        return made.fit(content, behaviour), new, kind


def suite(*maps: type[ContentMap], options: Mapping[str, Any] | None = None) -> type:
    """The tests of maps with these options."""
    return tests_of(MapPromises, {one.name: Case(one, options or {}) for one in maps})


class MapPromises:
    def test_it_says_what_it_is(self, case: Case) -> None:
        check_prose("what", case.map.what)
        check_described(case.map.Options)
        for options in case.map.grid:
            checked(case.map.Options, options, case.map.name)

    def test_an_unknown_option_is_refused(self, case: Case) -> None:
        check_refused(case.map.Options, case.options)

    def test_weights_are_finite_and_the_same_each_time(self, case: Case) -> None:
        fitted, new, kind = case.fitted()
        weights = fitted.weights(new)
        assert weights.shape == (len(new), len(kind)), "a weight for each new item and each known one"
        assert weights.dtype == np.float32, "weights are float32"
        assert np.isfinite(weights).all(), "weights are finite"
        np.testing.assert_array_equal(weights, case.fitted()[0].weights(new), err_msg="fitted again, it says the same")

    def test_a_new_item_gets_most_of_its_score_from_its_like(self, case: Case) -> None:
        fitted, new, kind = case.fitted()
        for own, row in enumerate(fitted.weights(new)):
            others = [row[kind == other].mean() for other in range(KINDS) if other != own]
            assert row[kind == own].mean() > max(others), "known items of another kind weigh as much"

    def test_what_it_says_of_an_item_hangs_on_no_other(self, case: Case) -> None:
        fitted, new, _ = case.fitted()
        np.testing.assert_allclose(fitted.weights(new[2:3]), fitted.weights(new)[2:3], atol=1e-4)
