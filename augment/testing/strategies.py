"""What a strategy promises: documented options, and candidates that any gate can judge, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.contracts.options import checked
from augment.contracts.registry import every
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates
from augment.numeric.vectors import cosine
from augment.testing.modalities import SAME
from augment.testing.promises import check_described, check_prose, check_refused, skip, tests_of
from augment.testing.shop import Shop, usual


@dataclass(frozen=True)
class Case:
    strategy: type[Strategy]
    shop: Shop
    options: Mapping[str, Any]

    def made(self, folder: Path) -> Strategy:
        """The strategy in a workshop of its own folder."""
        options = checked(self.strategy.Options, self.options, self.strategy.name)
        if remedy := self.strategy.missing(options, self.shop.modality):
            skip(remedy)
        return self.strategy(replace(self.shop.studio.workshop, folder=folder), options)

    @property
    def all_anchors(self) -> np.ndarray:
        return np.arange(len(self.shop.studio.anchors))


def suite(*strategies: type[Strategy], options: Mapping[str, Any] | None = None, shop: Shop | None = None) -> type:
    """The tests of strategies with these options, on every modality that they serve, or in `shop` alone."""
    shops = [shop] if shop else [usual(modality) for modality in every("modalities").values()]
    cases = {f"{strategy.name}-{one.modality.name}": Case(strategy, one, options or {})
             for strategy in strategies for one in shops if strategy.serves(one.modality)}  # fmt: skip
    for strategy in strategies:
        served = any(case.strategy is strategy for case in cases.values())
        assert served, f"'{strategy.name}' serves no rows that are known here: `needs` says which, `shop` gives others"
    return tests_of(StrategyPromises, cases)


class StrategyPromises:
    def test_it_says_what_it_is(self, case: Case) -> None:
        check_prose("what", case.strategy.what)
        check_described(case.strategy.Options)

    def test_an_unknown_option_is_refused(self, case: Case) -> None:
        check_refused(case.strategy.Options)

    def test_candidates_have_the_right_shapes(self, case: Case, tmp_path: Path) -> None:
        found = case.made(tmp_path).propose(case.all_anchors, np.random.default_rng(0))
        assert len(found) or case.strategy.idle, "it proposes nothing of any row, and `idle` does not say why"
        check_candidates(found, case, case.all_anchors)

    def test_what_nights_lend_again_is_there(self, case: Case, tmp_path: Path) -> None:
        case.made(tmp_path)
        for name in case.strategy.keeps:
            assert (tmp_path / name).is_file(), f"keeps: it wrote no {name} into the workshop's folder"

    def test_candidates_are_of_the_anchors_asked_for(self, case: Case, tmp_path: Path) -> None:
        strategy = case.made(tmp_path)
        for asked in ([3], [3, 3, 3], [9, 1, 5]):
            check_candidates(strategy.propose(np.array(asked), np.random.default_rng(0)), case, np.array(asked))

    def test_the_same_seed_gives_the_same_candidates(self, case: Case, tmp_path: Path) -> None:
        found = []
        for number in (0, 1):
            (tmp_path / str(number)).mkdir()
            # Nothing may draw from what is global.
            np.random.seed(number)  # noqa: NPY002
            torch.manual_seed(number)
            strategy = case.made(tmp_path / str(number))
            found.append(strategy.propose(case.all_anchors[:40], np.random.default_rng(7)))
        one, other = found
        assert np.array_equal(one.anchor, other.anchor), "the same seed gives candidates of other anchors"
        assert np.array_equal(one.embedding, other.embedding), "the same seed gives other vectors"
        assert one.rows.equals(other.rows), "the same seed gives other rows"

    def test_it_changes_nothing_that_it_is_given(self, case: Case, tmp_path: Path) -> None:
        shop, asked = case.shop.studio.workshop, case.all_anchors[:40]
        given = (shop.anchors.embedding, shop.anchors.label, *shop.anchors.described, shop.bank.embedding,
                 shop.bank.origin, asked)  # fmt: skip
        before = [array.copy() for array in given]
        case.made(tmp_path).propose(asked, np.random.default_rng(0))
        assert all(map(np.array_equal, given, before)), "anchors, bank or what it was asked for is not what it was"

    def test_the_gates_can_judge_them(self, case: Case, tmp_path: Path) -> None:
        found = case.made(tmp_path).propose(case.all_anchors, np.random.default_rng(0))
        if not len(found):
            skip(case.strategy.idle)
        judged = case.shop.studio.gatekeeper.judge(found, case.strategy.novel)
        assert np.isfinite(judged.hardness).all(), "the victim's loss of a candidate is not a number"
        assert (judged.refused < 0).any(), "even the widest gates let none of its candidates through"


def check_candidates(found: Candidates, case: Case, asked: np.ndarray) -> None:
    modality, count = case.shop.studio.modality, len(found.anchor)
    assert found.anchor.dtype == np.int64, "`anchor` is int64[n]"
    assert np.isin(found.anchor, asked).all(), "a candidate is made from an anchor that was not asked for"
    assert len(found.rows) == count, "`rows` has one row for each candidate"
    assert found.embedding.shape == (count, modality.dim), "`embedding` is float32[n, dim]"
    assert found.embedding.dtype == np.float32, "`embedding` is float32[n, dim]"
    assert np.isfinite(found.embedding).all(), "a vector is not finite"
    if modality.normalised:
        lengths = np.linalg.norm(found.embedding, axis=1)
        assert np.allclose(lengths, 1, atol=1e-4), "this modality's vectors have unit length"
    assert modality.as_decoded(found.rows).type == modality.decoded, "`rows` are in the modality's columns"
    near = cosine(found.embedding, modality.encode(found.rows))
    assert (near > SAME).all(), "a vector is not that of its row: who reads `rows` alone learns something else"
    if found.label is not None:
        wanted = case.shop.studio.anchors.label[found.anchor].shape  # [n], or [n, K]
        assert found.label.shape == wanted, "`label` is float32[n], or float32[n, K] of K classes"
        assert ((found.label >= 0) & (found.label <= 1)).all(), "`label` is a probability"
