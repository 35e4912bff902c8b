"""Histories: which items each user has, and in what order. A sparse row per user; ages become weights.

A history is a float32[U, I] whose entries are places in the user's order of time, from 1: the later the greater. What
only asks who has what reads where entries are (`binary`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.columns import whole

TIMES = ("timestamp", "position")  # columns that tell the order, the first that is there; else that of the rows


def ordered(rows: pa.Table, users: pa.Array, items: pa.Array) -> csr_matrix:
    """The history of each of `users` among `items`; rows of others are left out.

    An item met again counts at its latest time; of equal times, the later row is the later one.
    """
    row, column = (pc.index_in(whole(rows[name]), ids) for name, ids in (("user_id", users), ("item_id", items)))
    known = pc.and_(row.is_valid(), column.is_valid())
    moment = moments(rows)[known.to_numpy(zero_copy_only=False)]
    row, column = row.filter(known).to_numpy(), column.filter(known).to_numpy()
    place = np.empty(len(row), np.int64)
    place[np.argsort(moment, kind="stable")] = np.arange(1, len(row) + 1)
    history = latest(row, column, place, (len(users), len(items)))
    history.data = _counted(history, earlier=True) + np.float32(1)
    return history


def together(first: pa.Table, second: pa.Table) -> pa.Table:
    """The rows of both, with what `ordered` reads; without times in both, those of the second are the later ones."""
    times = [name for name in TIMES if name in first.column_names and name in second.column_names]
    columns = ["user_id", "item_id", *times[:1]]
    return pa.concat_tables([rows.select(columns) for rows in (first, second)], promote_options="permissive")


def latest(row: np.ndarray, column: np.ndarray, place: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """float32 of `shape` with `place` at (row, column); of entries that meet there, the greatest."""
    order = np.lexsort((place, column, row))
    row, column, place = row[order], column[order], place[order]
    last = np.append((np.diff(row) != 0) | (np.diff(column) != 0), True)[: len(row)]
    return csr_matrix((place[last].astype(np.float32), (row[last], column[last])), shape=shape)


def binary(history: csr_matrix) -> csr_matrix:
    """float32[U, I]: one where there is an entry."""
    ones = np.ones(history.nnz, np.float32)
    return csr_matrix((ones, history.indices, history.indptr), shape=history.shape)


def recent(history: csr_matrix, tau: float, floor: float) -> csr_matrix:
    """float32[U, I]: an item weighs floor + (1 − floor) exp(−rank / tau), rank 0 the user's latest; tau 0: one."""
    if not tau:
        return binary(history)
    weights = floor + (1 - floor) * np.exp(-_counted(history, earlier=False) / tau)
    return csr_matrix((weights.astype(np.float32), history.indices, history.indptr), shape=history.shape)


def minus(matrix: csr_matrix, other: csr_matrix) -> csr_matrix:
    """`matrix` without the entries that `other` has."""
    left = (matrix - matrix.multiply(binary(other))).tocsr()
    left.eliminate_zeros()
    return left


def flipped(rows: csr_matrix, flips: csr_matrix, user: np.ndarray) -> csr_matrix:
    """float32[n, I]: `rows` with the `shilling.flips` of the user that each is of, at int64[n]; −1 is nobody's.

    A new item comes at the place of the old one, or where the row had it already, at the later of both.
    """
    row, column = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices
    new = np.asarray(flips[user[row], column]).ravel() * (user[row] >= 0)
    return latest(row, np.where(new > 0, new - 1, column), rows.data, rows.shape)


def by_time(history: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Users and items int64[entries], user after user, each one's items from the first to the last."""
    owner = _owners(history)
    order = np.lexsort((history.data, owner))
    return owner[order], history.indices[order]


def _owners(history: csr_matrix) -> np.ndarray:
    return np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))


def _counted(history: csr_matrix, *, earlier: bool) -> np.ndarray:
    """float32[entries]: how many of its user's entries are earlier than each, or later."""
    owner = _owners(history)
    order = np.lexsort((history.data if earlier else -history.data, owner))
    count = np.empty(history.nnz, np.float32)
    count[order] = np.arange(history.nnz) - history.indptr[owner]
    return count


def moments(rows: pa.Table) -> np.ndarray:
    """float64[N] or int64[N], the later the greater; a missing time is the earliest."""
    name = next((name for name in TIMES if name in rows.column_names), None)
    if name is None:
        return np.arange(len(rows))
    column = whole(rows[name])
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    return pc.fill_null(column.cast(pa.float64()), -np.inf).to_numpy(zero_copy_only=False)
