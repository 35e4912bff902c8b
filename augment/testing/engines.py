"""What an engine promises: what a plain loop would give, in order, and the errors of the work as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from augment.base.errors import BadInput
from augment.contracts.engine import Engine
from augment.testing.promises import error_of, tests_of


@dataclass(frozen=True)
class Case:
    engine: Callable[[], Engine]

    def mapped(self, work: Callable[[Any], Any], items: Any) -> list[Any]:
        return list(self.engine().map(work, items))


def suite(engine: type[Engine]) -> type:
    """The tests of an engine, which is made without arguments."""
    return tests_of(EnginePromises, {engine.name: Case(engine)})


class EnginePromises:
    def test_results_come_in_the_order_of_the_items(self, case: Case) -> None:
        def work(item: int) -> int:
            time.sleep(0.01 * (4 - item))  # later items are done sooner
            return item * item

        assert case.mapped(work, range(5)) == [0, 1, 4, 9, 16], "results are in the order of the items, each once"

    def test_results_are_those_of_a_plain_loop(self, case: Case) -> None:
        def work(seed: int) -> list[float]:
            torch.manual_seed(seed)  # as some of our trainings do for a moment
            time.sleep(0.01)
            return torch.rand(3).tolist()

        assert case.mapped(work, range(6)) == list(map(work, range(6))), "work meets other work in one process"

    def test_any_iterable_will_do(self, case: Case) -> None:
        assert case.mapped(str, []) == [], "no item, no result"
        assert case.mapped(str, (number for number in (3, 1))) == ["3", "1"], "items may come from a generator"
        assert case.mapped(len, {"a": "xyz"}.values()) == [3], "items may be a view"

    def test_an_error_of_the_work_is_raised_as_it_is(self, case: Case) -> None:
        def work(item: int) -> int:
            if item == 2:
                raise BadInput("item 2: no rows")
            return item

        results = case.engine().map(work, range(4))
        assert list(islice(results, 2)) == [0, 1], "results before the error are given"
        assert error_of(BadInput, lambda: next(results)) == "item 2: no rows", "the error is the work's own"

    def test_who_asks_may_stop_early(self, case: Case) -> None:
        results = case.engine().map(lambda item: item, range(1000))
        assert next(results) == 0, "the first result can be taken alone"
        del results
        assert case.mapped(str, [1]) == ["1"], "it works again after somebody stopped early"
