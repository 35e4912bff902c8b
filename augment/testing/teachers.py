"""What a teacher promises: probabilities with a spread, the same each time, and of a row that it says it never saw none
that the row's own label has a part in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from augment.contracts.consumer import Consumer
from augment.contracts.options import checked
from augment.contracts.registry import every
from augment.contracts.teacher import Room, Teacher
from augment.contracts.values import Candidates
from augment.testing.promises import check_described, check_prose, check_refused, tests_of
from augment.testing.shop import Shop, usual


@dataclass(frozen=True)
class Case:
    teacher: type[Teacher]
    shop: Shop
    options: Mapping[str, Any]

    def made(self, train: pa.Table | None = None) -> Teacher:
        made = self.teacher(checked(self.teacher.Options, self.options, self.teacher.name))
        return made_in(self.shop, made, train)

    @property
    def candidates(self) -> Candidates:
        """Copies of training rows, really perturbed."""
        anchors, modality = self.shop.studio.anchors, self.shop.modality
        chosen = np.flatnonzero(anchors.own_label.is_valid().to_numpy(zero_copy_only=False))[:40]
        rows = self.shop.studio.modality.perturb(anchors.rows.take(pa.array(chosen)), np.random.default_rng(0))
        assert modality.perturbations, "a modality has perturbations"
        return Candidates(chosen, rows, self.shop.studio.modality.encode(rows))


def made_in(shop: Shop, teacher: Teacher, train: pa.Table | None = None) -> Teacher:
    """The teacher, fitted in a shop, on these training rows where they are not the shop's own."""
    consumer = type(shop.victim)

    def trained(wanted: Mapping[str, tuple[Consumer, pa.Table]]) -> list[Consumer]:
        return [model.fit(rows, shop.held_out[0]) for model, rows in wanted.values()]

    make: Callable[[int], Consumer] = lambda seed: consumer(**shop.options, seed=seed)  # noqa: E731
    rows = shop.real.train if train is None else train
    room = Room(rows, shop.held_out[0], shop.modality, consumer, make, trained,
                lambda seed: consumer.baselines(seed, "cpu"), 0, "cpu")  # fmt: skip
    return teacher.fit(room)


def suite(*teachers: type[Teacher], options: Mapping[str, Any] | None = None, shop: Shop | None = None) -> type:
    """The tests of teachers with these options, on every modality that they serve, or in `shop` alone."""
    shops = [shop] if shop else [usual(modality) for modality in every("modalities").values()]
    cases = {f"{teacher.name}-{one.modality.name}": Case(teacher, one, options or {})
             for teacher in teachers for one in shops
             if one.consumer and issubclass(one.modality, teacher.needs)
             and not teacher.unfit(checked(teacher.Options, options or {}, teacher.name), one.consumer)}  # fmt: skip
    assert cases, "no teacher serves rows that are known here: `needs` and `unfit` say which, `shop` gives others"
    return tests_of(TeacherPromises, cases)


class TeacherPromises:
    def test_it_says_what_it_is(self, case: Case) -> None:
        check_prose("what", case.teacher.what)
        check_described(case.teacher.Options)

    def test_an_unknown_option_is_refused(self, case: Case) -> None:
        check_refused(case.teacher.Options, case.options)

    def test_labels_are_probabilities_with_a_spread(self, case: Case) -> None:
        asked = case.candidates
        taught = case.made().label(asked)
        assert len(taught) == len(asked), "each candidate gets a label, and none goes"
        assert taught.rows.equals(asked.rows), "the rows stay as they are"
        for name, found in (("label", taught.label), ("spread", taught.spread)):
            assert found is not None, f"`{name}` is given"
            assert found.dtype == np.float32, f"`{name}` is float32"
            assert np.all((found >= 0) & (found <= 1)), f"`{name}` lies in [0, 1]"

    def test_what_it_says_of_a_row_hangs_on_no_other(self, case: Case) -> None:
        teacher, asked = case.made(), case.candidates
        whole, part = teacher.label(asked), teacher.label(asked.take(np.arange(7, 12)))
        assert whole.label is not None
        assert part.label is not None
        np.testing.assert_allclose(whole.label[7:12], part.label, atol=1e-6, err_msg="labels hang on other rows")

    def test_it_is_measured_as_the_consumer_is(self, case: Case) -> None:
        primary = type(case.shop.victim).metrics["clean"][0]
        found = case.made().measures(case.shop.held_out[1])
        assert primary in found, f"`measures` has the consumer's first clean metric, {primary}"
        assert np.isfinite(found[primary].value()), f"{primary} can be measured"

    def test_of_a_row_that_it_never_saw_it_knows_no_label(self, case: Case) -> None:
        teacher, train = case.made(), case.shop.real.train
        if not teacher.unseen:
            return
        row = 3
        label = train["label"].to_numpy().copy()
        label[row] = 1 - label[row]
        place = train.column_names.index("label")
        turned = case.made(train.set_column(place, "label", pa.array(label, train["label"].type)))
        one = train.slice(row, 1)
        asked = Candidates(np.zeros(1, np.int64), one, case.shop.studio.modality.encode(one))
        before, after = teacher.label(asked), turned.label(asked)
        np.testing.assert_array_equal(before.label, after.label, err_msg="its own label has a part in what is said")
