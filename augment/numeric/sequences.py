"""Sequences: what each user did, from first to last, repeats included. All end to end, and where each begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.columns import whole
from augment.numeric.histories import moments

TAU = 10.0  # an item that so many later ones follow counts 1/e of the latest in a user's vector


@dataclass(frozen=True)
class Sequences:
    """items: int64[N], codes of all users' items, end to end; offsets: int64[n + 1]."""

    items: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table, users: pa.Array, items: pa.Array) -> Sequences:
        """Of each of `users` what it did with `items`, in the order of time; rows of others are left out.

        Of equal times, the later row is the later one.
        """
        found = (pc.index_in(whole(rows[name]), ids) for name, ids in (("user_id", users), ("item_id", items)))
        user, item = (pc.fill_null(column, -1).to_numpy(zero_copy_only=False).astype(np.int64) for column in found)
        order = np.lexsort((moments(rows), user))
        order = order[(user[order] >= 0) & (item[order] >= 0)]
        return cls(item[order], _offsets(np.bincount(user[order], minlength=len(users))))

    @classmethod
    def lists(cls, column: pa.Array, items: pa.Array) -> Sequences:
        """Of lists of item names; those that `items` has not are left out."""
        code = pc.fill_null(pc.index_in(column.flatten(), items), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        row = np.repeat(np.arange(len(column)), pc.list_value_length(column).to_numpy(zero_copy_only=False))
        return cls(code[code >= 0], _offsets(np.bincount(row[code >= 0], minlength=len(column))))

    @classmethod
    def joined(cls, parts: list[np.ndarray]) -> Sequences:
        """Of codes int64[·], one array for each."""
        items = np.concatenate(parts) if parts else np.empty(0)
        return cls(items.astype(np.int64), _offsets(np.array([len(part) for part in parts], np.int64)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """The items int64[·] of each."""
        return (self.items[start:stop] for start, stop in pairwise(self.offsets.tolist()))

    @property
    def lengths(self) -> np.ndarray:
        """int64[n]"""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """int64[N]: whose each item is."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def ages(self) -> np.ndarray:
        """int64[N]: how many later items follow each."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.items))

    def take(self, index: np.ndarray) -> Sequences:
        """Those at int64[m], repeats allowed."""
        lengths = self.lengths[index]
        offsets = _offsets(lengths)
        place = np.repeat(self.offsets[index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sequences(self.items[place], offsets)

    def kept(self, which: np.ndarray) -> Sequences:
        """The items where bool[N] is true; all users stay."""
        return Sequences(self.items[which], _offsets(np.bincount(self.owners[which], minlength=len(self))))

    def last(self, count: int) -> Sequences:
        """The latest `count` of each."""
        return self.kept(self.ages < count)

    def before(self, asked: np.ndarray) -> Sequences:
        """For each item where bool[N] is true, all that its user did before it, m sequences in the items' order."""
        owner, at = self.owners, np.flatnonzero(asked)
        first = self.offsets[owner[at]]
        offsets = _offsets(at - first)
        place = np.repeat(first - offsets[:-1], at - first) + np.arange(offsets[-1])
        return Sequences(self.items[place], offsets)

    def matrix(self, items: int, tau: float = 0.0) -> csr_matrix:
        """float32[n, items]: exp(−age / tau) of each item, added up where it repeats; tau 0: how often it occurs.

        What is older than 5 tau, which would count less than 1%, is left out.
        """
        used = self.last(int(np.ceil(5 * tau))) if tau else self
        weight = np.exp(-used.ages / tau) if tau else np.ones(len(used.items))
        found = csr_matrix((weight.astype(np.float32), used.items, used.offsets), shape=(len(used), items))
        found.sum_duplicates()
        return found


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
