"""Impressions: one learnt table per categorical field; a row is the concatenation of its fields' vectors."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.contracts.modality import Perturbation, Prepared, RowRules, Tools
from augment.contracts.values import Bank, Described, classes
from augment.gates.labels import Labelled
from augment.numeric.neighbours import Neighbours
from augment.recipes.source import RESERVED, published
from augment.watch.floods import click_floods

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer

MASKED_COPIES = 0.5  # of the really perturbed ones, and of those that the generator moved
MASKED_SHARE = 0.3  # of the fields, in a masked copy
SWAPPED_FIELDS = 2  # at most, in a swapped copy
NEAR = 10  # a swap takes one of this many values nearest to the old one, or any value as often as it occurs


class Fields(Labelled):
    """Rows have one string column per field; null, and any value the tables do not know, is entry 0.

    The tables are the ones the victim learnt from real training rows, frozen: the name carries their hash.
    """

    name = "fields"
    rows = RowRules(needs=("label",), fields=True, unlabelled="asked")
    perturbations: ClassVar = {
        "masking": Perturbation("30% of the fields missing"),
        "swaps": Perturbation("one or two fields swapped for near or popular values"),
    }

    def __init__(self, tables: dict[str, tuple[list[str], np.ndarray]], train: pa.Table) -> None:
        self._names = list(tables)
        self._values = {name: pa.array(values, pa.string()) for name, (values, _) in tables.items()}
        self._tables = {name: np.ascontiguousarray(table, np.float32) for name, (_, table) in tables.items()}
        self._train = train.select(self._names)
        self.decoded = pa.struct([(name, pa.string()) for name in published(self._names)])
        self.dim = sum(table.shape[1] for table in self._tables.values())
        digest = hashlib.sha256(b"".join(table.tobytes() for table in self._tables.values())).hexdigest()
        self.encoder = f"fields@{digest[:12]}"

    @classmethod
    def bought(cls, rows: pa.Table, seed: int) -> dict[int, str]:
        """Floods of clicks, where users and times are known."""
        needed = ("user_id", "item_id", "label", "timestamp")
        if not {"user_id", "item_id", "timestamp"} <= set(rows.column_names):
            return {}
        return click_floods(*(rows[name].combine_chunks() for name in needed))

    @classmethod
    def around(cls, train: pa.Table, prepared: Prepared, victim: Consumer, tools: Tools) -> Fields:
        return cls(victim.tables(), train)

    @classmethod
    def as_rows(cls, decoded: pa.Table, like: list[str]) -> pa.Table:
        """Published columns have the source's own names."""
        columns = [c for c in like if c not in RESERVED]
        prepared = dict(zip(published(columns), columns, strict=True))
        return decoded.rename_columns([prepared.get(name, name) for name in decoded.column_names])

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        """The segment tells rows with an unknown or missing field from the others."""
        rare = np.any([self._codes(rows, name) == 0 for name in self._names], axis=0)
        return Described(label, rare.astype(np.int64), classes(label))

    def encode(self, rows: pa.Table) -> np.ndarray:
        return np.concatenate([self._tables[name][self._codes(rows, name)] for name in self._names], axis=1)

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """Half of the copies lose 30% of their fields ("masking"), the others have one or two swapped ("swaps")."""
        count = len(rows)
        masked = rng.random(count) < {"": MASKED_COPIES, "masking": 1.0, "swaps": 0.0}[kind]
        touched = self._some(np.where(masked, self._lost, rng.integers(1, SWAPPED_FIELDS + 1, count)), rng)
        for i, name in enumerate(self._names):
            old = rows[name].combine_chunks()
            swapped = self._swap(name, self._codes(rows, name), rng)
            new = pc.if_else(pa.array(masked), pa.scalar(None, pa.string()), swapped)
            rows = rows.set_column(rows.column_names.index(name), name, pc.if_else(pa.array(touched[:, i]), new, old))
        return rows

    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """Each field takes the value nearest to its part of the vector.

        What moves towards entry 0 hides nothing: a gap that hangs on where a vector went would tell of what is hidden.
        """
        start = 0
        for name, table in self._tables.items():
            part, own = embedding[:, start : start + table.shape[1]], self._codes(anchors, name)
            near = self._nearest(name, part, own)
            # A field that kept its vector keeps its own string: several values may have one, as those folded into 0 do.
            same = pa.array((table[near] == table[own]).all(axis=1))
            column = pc.if_else(same, anchors[name].combine_chunks(), self._strings(name, near))
            anchors = anchors.set_column(anchors.column_names.index(name), name, column)
            start += table.shape[1]
        return anchors, self.encode(anchors)

    def with_gaps(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Half of the rows lose 30% of their fields, whichever they are."""
        hidden = self._some(np.where(rng.random(len(rows)) < MASKED_COPIES, self._lost, 0), rng)
        for i, name in enumerate(self._names):
            column = pc.if_else(pa.array(hidden[:, i]), pa.scalar(None, pa.string()), rows[name].combine_chunks())
            rows = rows.set_column(rows.column_names.index(name), name, column)
        return rows

    def gaps(self, rows: pa.Table, anchors: pa.Table) -> np.ndarray:
        found = np.zeros(len(rows), bool)
        for name in self._names:
            lost = pc.and_(rows[name].combine_chunks().is_null(), anchors[name].combine_chunks().is_valid())
            found |= lost.to_numpy(zero_copy_only=False)
        return found

    def told(self, rows: pa.Table, anchors: pa.Table) -> pa.Table:
        """With the anchors' values where a copy lacks one; a value that was swapped stays as it is.

        The copies of many anchors then have, where they look alike, the mean of what those anchors were: what a field
        that is missing leaves to be known (privileged information: Vapnik & Vashist, 2009).
        """
        for name in self._names:
            whole = pc.coalesce(rows[name].combine_chunks(), anchors[name].combine_chunks())
            rows = rows.set_column(rows.column_names.index(name), name, whole)
        return rows

    def as_decoded(self, rows: pa.Table) -> pa.StructArray:
        columns = [rows[name].combine_chunks() for name in self._names]
        return pa.StructArray.from_arrays(columns, fields=list(self.decoded))

    def _codes(self, rows: pa.Table, name: str) -> np.ndarray:
        found = pc.index_in(rows[name].combine_chunks(), self._values[name])
        return pc.fill_null(found, 0).to_numpy(zero_copy_only=False).astype(np.int64)

    def _strings(self, name: str, index: np.ndarray) -> pa.Array:
        return self._values[name].take(pa.array(index, mask=index == 0))

    @property
    def _lost(self) -> int:
        """Fields that a masked copy lacks."""
        return max(1, round(MASKED_SHARE * len(self._names)))

    def _some(self, number: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """bool[n, F]: of each row, as many fields as int64[n] `number` says, whichever they are."""
        order = rng.random((len(number), len(self._names))).argsort(axis=1).argsort(axis=1)  # ranks of random keys
        return order < number[:, None]

    def _nearest(self, name: str, part: np.ndarray, own: np.ndarray) -> np.ndarray:
        """int64[n]: the entries nearest to vectors float32[n, d]; entry 0 only where the old one, `own`, is."""
        _, near = self._near[name].search(part, 2)
        found = np.where((near[:, 0] == 0) & (own != 0), near[:, -1], near[:, 0])
        return np.where(found == 0, own, found)  # where a search finds nothing but entry 0, a field stays as it is

    def _swap(self, name: str, old: np.ndarray, rng: np.random.Generator) -> pa.Array:
        """Half near values by FAISS, half values drawn as often as they occur among training rows."""
        _, near = self._near[name].search(self._tables[name][old], NEAR)
        near = near[np.arange(len(old)), rng.integers(near.shape[1], size=len(old))]
        common = self._train[name].take(pa.array(rng.integers(len(self._train), size=len(old)))).combine_chunks()
        return pc.if_else(pa.array((rng.random(len(old)) < 0.5) & (near != 0)), self._strings(name, near), common)

    @cached_property
    def _near(self) -> dict[str, Neighbours]:
        return {name: Neighbours(table) for name, table in self._tables.items()}
