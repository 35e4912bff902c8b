"""What a modality promises: vectors of rows, really perturbed copies, and rows of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from augment.base.errors import BadInput
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Classes, Modality
from augment.contracts.values import Anchors, Candidates
from augment.numeric.vectors import cosine
from augment.testing.promises import check_prose, error_of, skip, tests_of
from augment.testing.shop import GATES, Shop, shop_of, usual

SAME = 0.999  # cosine of two vectors that are one


@dataclass(frozen=True, eq=False)
class Case:
    shop: Shop

    @property
    def modality(self) -> Modality:
        return self.shop.studio.modality

    @cached_property
    def anchors(self) -> Anchors:
        return self.shop.studio.anchors

    def perturbed(self, kind: str, seed: int = 0) -> pa.Table:
        return self.modality.perturb(self.anchors.rows, np.random.default_rng(seed), kind)


def suite(modality: type[Modality], rows: pa.Table | None = None, consumer: type[Consumer] | None = None) -> type:
    """The tests of a modality around a consumer of its own, or a stand-in where there is none.

    rows: the author's own, where those of `augment.testing.data` have not what it reads; see `shop_of`.
    """
    shop = usual(modality, consumer) if rows is None else shop_of(modality, rows, consumer)
    return tests_of(ModalityPromises, {modality.name: Case(shop)})


class ModalityPromises:
    def test_it_says_what_it_is(self, case: Case) -> None:
        for name, about in type(case.modality).perturbations.items():
            check_prose(f"perturbation '{name}'", about.what)
        assert case.modality.encoder.count("@") == 1, "`encoder` is name@version, on which the vectors depend"
        assert pa.types.is_struct(case.modality.decoded), "`decoded` is the Arrow struct of a published row"

    def test_an_empty_table_is_too_few_and_training_rows_are_enough(self, case: Case) -> None:
        train = case.shop.real.train
        said = error_of(BadInput, lambda: case.modality.check_enough("rows", train.slice(0, 0)))
        assert said.startswith("sources.rows: "), f"the error begins with the source, not: {said}"
        case.modality.check_enough("rows", train)

    def test_anchors_have_ids_of_their_own(self, case: Case) -> None:
        ids = case.anchors.rows["row_id"].to_pylist()
        assert len(ids) == len(set(ids)) > 0, "`anchors` gives one row per anchor, each with a `row_id`"

    def test_vectors_are_those_of_the_rows(self, case: Case) -> None:
        vectors, some = case.modality.encode(case.anchors.rows), case.anchors.rows.slice(5, 9)
        assert vectors.shape == (len(case.anchors), case.modality.dim), "`encode` gives float32[n, dim]"
        assert vectors.dtype == np.float32, "`encode` gives float32[n, dim]"
        assert np.isfinite(vectors).all(), "a vector is not finite"
        assert np.allclose(case.modality.encode(some), vectors[5:14], atol=1e-6), "a vector depends on other rows"
        if case.modality.normalised:
            assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4), "`normalised`: vectors have unit length"

    def test_a_copy_is_another_row_in_its_place(self, case: Case) -> None:
        for kind in (kind for kind, missing in self._kinds(case).items() if not missing):
            copy, before = case.perturbed(kind), case.anchors.rows
            assert copy["row_id"].equals(before["row_id"]), f"perturb '{kind}': row_id and order stay"
            same = case.modality.as_decoded(copy).equals(case.modality.as_decoded(before))
            assert not same, f"perturb '{kind}' changes nothing"
            assert case.modality.encode(copy).shape == case.anchors.embedding.shape, f"perturb '{kind}': can be encoded"
            assert copy.equals(case.perturbed(kind)), f"perturb '{kind}': the same seed gives the same copies"

    def test_each_perturbation_is_available_here(self, case: Case) -> None:
        if missing := "; ".join(filter(None, self._kinds(case).values())):
            skip(missing)

    @staticmethod
    def _kinds(case: Case) -> dict[str, str]:
        return {"": ""} | {name: about.missing() for name, about in type(case.modality).perturbations.items()}

    def test_what_is_decoded_is_what_was_encoded(self, case: Case) -> None:
        modality, given, bank = case.modality, case.anchors.embedding, case.shop.studio.workshop.bank
        away = np.random.default_rng(0).standard_normal(given.shape, np.float32)
        for moved in (given, given + away * np.float32(bank.scale / modality.dim**0.5)):
            rows, vectors = modality.decode(moved, case.anchors.rows, bank, np.random.default_rng(1))
            assert rows["row_id"].equals(case.anchors.rows["row_id"]), "`decode` keeps the anchors' ids and order"
            assert vectors.shape == given.shape, "`decode` gives a vector for each"
            assert np.allclose(vectors, modality.encode(rows), atol=1e-3), "vectors to publish are those of the rows"
            again, _ = modality.decode(moved, case.anchors.rows, bank, np.random.default_rng(1))
            assert again.equals(rows), "`decode`: the same seed gives the same rows"

    def test_gaps_are_left_to_chance(self, case: Case) -> None:
        modality, rows = case.modality, case.anchors.rows
        assert not modality.gaps(rows, rows).any(), "`gaps`: a row lacks nothing that it has"
        gapped = modality.with_gaps(rows, np.random.default_rng(0))
        assert gapped["row_id"].equals(rows["row_id"]), "`with_gaps` keeps ids and order"
        assert gapped.equals(modality.with_gaps(rows, np.random.default_rng(0))), "`with_gaps`: a seed repeats them"
        whole = pa.array(~modality.gaps(gapped, rows))
        assert gapped.filter(whole).equals(rows.filter(whole)), "`with_gaps` changes nothing but what it hides"

    def test_published_rows_have_their_type(self, case: Case) -> None:
        decoded = case.modality.as_decoded(case.perturbed(""))
        assert decoded.type == case.modality.decoded, "`as_decoded` gives the type `decoded`"
        assert len(decoded) == len(case.anchors), "`as_decoded` gives each row"
        if isinstance(case.modality, Classes):
            back = case.modality.as_rows(pa.Table.from_struct_array(decoded), case.shop.real.train.column_names)
            assert len(back) == len(decoded), "`as_rows` gives each row"
            near = cosine(case.modality.encode(back), case.modality.encode(case.perturbed("")))
            assert near.min() > SAME, "what is published is all that a vector is made of"

    def test_conditions_have_their_shapes(self, case: Case) -> None:
        target, segment, context = case.anchors.described
        count = len(case.anchors)
        assert target.shape[:1] == segment.shape == (count,), "target and segment of `describe` have n rows"
        assert target.dtype in (np.float32, np.int64), "target is float32[n], or int64[n] of items"
        assert segment.dtype == np.int64, "segment is int64[n]"
        assert (context.ndim, len(context), context.dtype) == (2, count, np.float32), "context is float32[n, C]"

    def test_labels_are_judged(self, case: Case) -> None:
        anchors, rows = case.anchors, case.perturbed("")
        validity = case.modality.validity(anchors.rows, anchors.embedding, GATES, 0)
        assert ((validity.label >= 0) & (validity.label <= 1)).all(), "labels are in [0, 1], soft where there was none"
        every = np.arange(len(anchors))
        agreement = validity.agreement(Candidates(every, rows, case.modality.encode(rows)))
        assert agreement.shape == every.shape, "`agreement` is float[n]"
        assert ((agreement >= 0) & (agreement <= 1)).all(), "`agreement` is in [0, 1]"
        assert len(validity.filter(every, rows)[0]) == len(rows), "`filter` keeps every row"
