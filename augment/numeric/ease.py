"""EASE: a linear item-to-item recommender in closed form (Steck, 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.sparse import csr_matrix, diags

from augment.base.errors import UsageError
from augment.base.progress import track

Ridge = float | np.ndarray
FILTER_L2 = 200.0  # of the models that judge others' work
FOLDS = 2
MAX_ITEMS = 20_000  # an item × item matrix of as many is inverted
USERS = 1024  # at a time: bounds the memory
THREADED = 10_000_000  # products of numbers from which threads pay
BLOCK = 256  # rows of a matrix that are inverted at a time
SPARSE = 1 / 32  # filled less, a matrix is multiplied faster as a sparse one


def ease(inputs: csr_matrix, targets: csr_matrix | None, l2: Ridge, weights: np.ndarray | None = None) -> np.ndarray:
    """Item-to-item weights B float32[I, I]; the scores of a user with items x are x @ B.

    inputs: float32[U, I], what each user shows; targets: what its scores should be, by default the inputs. Rows whose
    inputs hide some targets make it a denoising autoencoder (Steck, 2020). weights: float[U], how much each row counts.
    Minimises the weighted squared error plus l2 ‖B‖² (l2: a number, or one per row of B) subject to diag(B) = 0, so no
    item recommends itself. Raises UsageError where l2 is too small for there to be one solution.
    """
    return next(ease_path(inputs, targets, [l2], weights))


def ease_path(
    inputs: csr_matrix, targets: csr_matrix | None, l2s: Iterable[Ridge], weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """`ease` for each l2 in turn: they share the Gram matrix, of which only the diagonal differs.

    An inverse each: one eigendecomposition for all costs five times as much as an inverse, and then still a product of
    two matrices for every l2, which costs more than an inverse does. Holds the Gram matrix beside the one that it
    yields, and where there are targets a third; no more than that, if the caller lets go of what it was given.
    """
    gram, hidden = normal(inputs, targets, weights)
    for l2 in l2s:
        yield _weights(inverted(gram, l2), hidden)  # no name holds what was yielded while the next is made


def _weights(inverse: np.ndarray, hidden: csr_matrix | None) -> np.ndarray:
    return weights_of(inverse, times(inverse, hidden))


def normal(
    inputs: csr_matrix, targets: csr_matrix | None, weights: np.ndarray | None = None
) -> tuple[np.ndarray, csr_matrix | None]:
    """The Gram matrix float32[I, I] of the weighted inputs, and theirs with what they lack of the targets, sparse."""
    weighted = inputs if weights is None else diags(weights.astype(np.float32)) @ inputs
    gram = (inputs.T @ weighted).toarray(order="C").astype(np.float32, copy=False)
    return gram, None if targets is None else (weighted.T @ (targets - inputs)).tocsc().astype(np.float32)


def inverted(gram: np.ndarray, l2: Ridge) -> np.ndarray:
    """float32[I, I]: of gram + diag(l2), beside which it needs no other matrix.

    In single precision, which moves no score by more than some 1e-5, and in double where that is not enough.
    """
    for kind in (torch.float32, torch.float64):
        matrix = torch.from_numpy(gram).to(kind, copy=True, memory_format=torch.contiguous_format)
        matrix.diagonal().add_(torch.as_tensor(l2, dtype=kind))
        if _invert(matrix):
            found: np.ndarray = matrix.float().numpy()
            return found
    raise UsageError("recommender: EASE has no single solution at so small an l2; raise it")


def _invert(matrix: torch.Tensor) -> bool:
    """A symmetric matrix float[I, I] becomes its inverse; False, and it is spoilt, where it is not positive definite.

    One sweep of blocks over the lower triangle (Bientinesi et al., 2008): as few operations as by Cholesky's factor
    first, but nearly all of them in products of matrices, and in place.
    """
    size = len(matrix)
    parts = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    for own in parts:
        factor, failed = torch.linalg.cholesky_ex(matrix[own, own])
        if failed:
            return False
        column = torch.cat([matrix[own, : own.start].T, torch.zeros_like(factor), matrix[own.stop :, own]])
        column = torch.linalg.solve_triangular(factor.T, column, upper=True, left=False)
        for row in parts:
            if row != own:
                matrix[row, : row.stop].addmm_(column[row], column[: row.stop].T, alpha=-1)
        column = torch.linalg.solve_triangular(factor, column, upper=False, left=False)
        matrix[own, : own.start], matrix[own.stop :, own] = column[: own.start].T, column[own.stop :]
        matrix[own, own] = -torch.cholesky_inverse(factor)
    for row in parts:
        matrix[: row.start, row] = matrix[row, : row.start].T
    matrix.neg_()
    return True


def times(inverse: np.ndarray, hidden: csr_matrix | None) -> np.ndarray | None:
    """float32[I, I], or None for none: inverse @ hidden, of which the first is symmetric."""
    if hidden is None:
        return None
    if hidden.nnz < SPARSE * hidden.shape[0] ** 2:
        return product(hidden.T, inverse).T
    return (torch.from_numpy(inverse) @ torch.from_numpy(hidden.toarray())).numpy()


def weights_of(inverse: np.ndarray, more: np.ndarray | None) -> np.ndarray:
    """The weights B float32[I, I] that an inverse Gram matrix makes, in its place; more: what `times` makes of it.

    inverse @ gram = 1 − inverse · l2, and the Lagrange multipliers of the zero diagonal, one per column, take the
    second term out again: what is left is the inverse, each column scaled, and what the targets have more than inputs.
    """
    own = np.diag(inverse).copy()
    inverse *= -1 / own if more is None else -(1 + np.diag(more)) / own
    if more is not None:
        inverse += more
    np.fill_diagonal(inverse, 0.0)
    return inverse


def product(shown: csr_matrix, weights: np.ndarray) -> np.ndarray:
    """float32[n, I]: shown [n, I] @ weights [I, I], by as many threads as torch may use; SciPy takes one."""
    threads = torch.get_num_threads()
    if threads == 1 or shown.nnz * weights.shape[1] < THREADED:
        return np.asarray(shown @ weights, np.float32)
    found = np.empty((shown.shape[0], weights.shape[1]), np.float32)
    edges = np.searchsorted(shown.indptr, np.linspace(0, shown.nnz, threads + 1)[1:-1])
    edges = np.array([0, *edges, shown.shape[0]])

    def fill(start: int, stop: int) -> None:
        found[start:stop] = shown[start:stop] @ weights

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, edges[:-1].tolist(), edges[1:].tolist()))
    return found


class CrossFitted:
    """EASE models of the folds of users; each user is scored by one that it is not in.

    A model that saw a user would score what the user has, and what goes with it in its own row, too high.
    history: [U, I], of which only the entries count, not their values. weights: float[U], how much each user counts.
    """

    def __init__(self, history: csr_matrix, seed: int, weights: np.ndarray | None = None) -> None:
        self._history = (history > 0).astype(np.float32).tocsr()
        self._fold = np.random.default_rng(seed).permutation(history.shape[0]) % FOLDS
        weights = np.ones(history.shape[0]) if weights is None else weights
        others = [self._fold != fold for fold in range(FOLDS)]
        folds = track(others, "models of others' users", "fold")
        self._models = [ease(self._history[rows], None, FILTER_L2, weights[rows]) for rows in folds]

    def scores(self, users: np.ndarray, shown: csr_matrix | None = None) -> np.ndarray:
        """float32[n, I] for the users at int64[n], who show their history, or `shown` [n, I]."""
        shown, fold = self._history[users] if shown is None else shown, self._fold[users]
        scores = np.empty(shown.shape, np.float32)
        for f, model in enumerate(self._models):
            scores[fold == f] = product(shown[fold == f], model)
        return scores

    def likeliest(self, users: np.ndarray, share: float) -> csr_matrix:
        """bool[n, I]: for the users at int64[n], the `share` of items that each has not but likely wants."""
        items = self._history.shape[1]
        count = round(share * items)
        rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for start in range(0, len(users) if count else 0, USERS):
            some = users[start : start + USERS]
            scores = self.scores(some)
            scores[self._history[some].nonzero()] = -np.inf
            best = np.argpartition(-scores, min(count, items) - 1, axis=1)[:, :count]
            row, rank = np.nonzero(np.isfinite(np.take_along_axis(scores, best, axis=1)))
            rows.append(start + row)
            columns.append(best[row, rank])
        place = (np.concatenate(rows), np.concatenate(columns))
        return csr_matrix((np.ones(len(place[0]), bool), place), shape=(len(users), items))


class LeftOut:
    """EASE that knows of no user what that user has: each is scored by the model of all others.

    Exact, not refitted: without a user of items x the inverse Gram matrix P is P + Px xᵀP / (1 − xᵀPx), of which the
    scores are made (Sherman & Morrison, 1950). history: [U, I], of which only the entries count; members: bool[U], whom
    the model learns from at all.
    """

    def __init__(self, history: csr_matrix, l2: float, members: np.ndarray | None = None) -> None:
        """Raises UsageError where l2 is too small for there to be one solution."""
        known = (history > 0).astype(np.float32).tocsr()
        self._members = known if members is None else (diags(members.astype(np.float32)) @ known).tocsr()
        self._inverse = inverted((self._members.T @ self._members).toarray().astype(np.float32), l2)

    def scores(self, users: np.ndarray, shown: csr_matrix) -> np.ndarray:
        """float32[n, I] for the users at int64[n], who show float32[n, I]."""
        own = self._members[users]
        along = np.asarray(own @ self._inverse, np.float32)
        left = 1 - np.asarray(own.multiply(along).sum(axis=1))  # [n, 1]; above 0, as l2 is
        meets = np.asarray(shown.multiply(along).sum(axis=1)) / left
        solved = shown @ self._inverse + along * meets
        scores = shown.toarray() - solved / (np.diag(self._inverse) + along * along / left)
        return scores.astype(np.float32)


class Grown:
    """EASE with some more rows each time, which are not many: exact, not refitted (Woodbury, 1950).

    inputs, targets, weights, l2: see `ease`, as is what is raised.
    """

    def __init__(self, inputs: csr_matrix, targets: csr_matrix | None, l2: float, weights: np.ndarray) -> None:
        gram, self._hidden = normal(inputs, targets, weights)
        self._inverse = inverted(gram, l2)
        self._more = times(self._inverse, self._hidden)

    def by(self, rows: csr_matrix, weights: np.ndarray) -> np.ndarray:
        """B float32[I, I] where `rows` float32[n, I], each its own target, count `weights` float[n] > 0 beside all."""
        along = np.asarray(rows @ self._inverse, np.float32)
        inner = np.asarray(rows @ along.T, np.float64) + np.diag(1 / weights)
        half = torch.from_numpy(np.linalg.solve(inner, along).astype(np.float32)).T
        inverse = _less(self._inverse, half, along)
        if self._hidden is None or self._more is None:
            return weights_of(inverse, None)
        return weights_of(inverse, _less(self._more, half, along @ self._hidden))


def _less(matrix: np.ndarray, left: torch.Tensor, right: np.ndarray) -> np.ndarray:
    """matrix − left @ right."""
    factor = torch.from_numpy(np.ascontiguousarray(right, np.float32))
    found: np.ndarray = torch.addmm(torch.from_numpy(matrix), left, factor, alpha=-1).numpy()
    return found


def binary_matrix(lists: pa.Array, items: pa.Array) -> csr_matrix:
    """Binary float32[n, I] from n lists of item names; names unknown to `items` are left out."""
    column = pc.index_in(lists.flatten(), items)
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    known = column.is_valid().to_numpy(zero_copy_only=False)
    place = row[known], column.drop_null().to_numpy()
    return csr_matrix((np.ones(known.sum(), np.float32), place), shape=(len(lists), len(items)))
