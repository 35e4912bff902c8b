"""EASE: a linear item-to-item recommender in closed form (Steck, 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.linalg.lapack import dpotrf, dpotri, spotrf, spotri
from scipy.sparse import csr_matrix, diags

from augment.base.errors import UsageError

Ridge = float | np.ndarray
FILTER_L2 = 200.0  # of the models that judge others' work
FOLDS = 2
MAX_ITEMS = 20_000  # an item × item matrix of as many is inverted
USERS = 1024  # at a time: bounds the memory


def ease(inputs: csr_matrix, targets: csr_matrix | None, l2: Ridge, weights: np.ndarray | None = None) -> np.ndarray:
    """Item-to-item weights B float32[I, I]; the scores of a user with items x are x @ B.

    inputs: float32[U, I], what each user shows; targets: what its scores should be, by default the inputs. Rows whose
    inputs hide some targets make it a denoising autoencoder (Steck, 2020). weights: float[U], how much each row counts.
    Minimises the weighted squared error plus l2 ‖B‖² (l2: a number, or one per row of B) subject to diag(B) = 0, so no
    item recommends itself. Raises UsageError where l2 is too small for there to be one solution.
    """
    return next(ease_path(inputs, targets, [l2], weights))


def ease_path(
    inputs: csr_matrix, targets: csr_matrix | None, l2s: Sequence[Ridge], weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """`ease` for each l2 in turn: they share the Gram matrix, of which only the diagonal differs."""
    weighted = inputs if weights is None else diags(weights.astype(np.float32)) @ inputs
    gram = (inputs.T @ weighted).toarray().astype(np.float32)
    cross = None if targets is None else (weighted.T @ targets).toarray().astype(np.float32)
    for l2 in l2s:
        inverse = _inverse(gram, l2)
        if cross is None:  # inverse @ gram = 1 − inverse · l2, and the multipliers take the second term out again
            solved = -inverse / np.diag(inverse)
        else:
            solved = inverse @ cross
            # Lagrange multipliers of the zero diagonal, one per column.
            solved -= inverse * (np.diag(solved) / np.diag(inverse))
        np.fill_diagonal(solved, 0.0)
        yield solved


def _inverse(gram: np.ndarray, l2: Ridge) -> np.ndarray:
    """float32[I, I]: of gram + diag(l2), by Cholesky's factor; a fraction of what solving for the unit matrix costs.

    In single precision, which moves no score by more than some 1e-5, and in double where that is not enough.
    """
    for kind, factorise, invert in ((np.float32, spotrf, spotri), (np.float64, dpotrf, dpotri)):
        ridged: np.ndarray = np.array(gram, kind, order="F")
        ridged[np.diag_indices_from(ridged)] += l2
        factor, failed = factorise(ridged, lower=1, overwrite_a=1)
        if not failed:
            lower: np.ndarray = np.tril(invert(factor, lower=1, overwrite_c=1)[0]).astype(np.float32)
            return lower + np.tril(lower, -1).T
    raise UsageError("recommender: EASE has no single solution at so small an l2; raise it")


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
        self._models = [ease(self._history[rows], None, FILTER_L2, weights[rows]) for rows in others]

    def scores(self, users: np.ndarray, shown: csr_matrix | None = None) -> np.ndarray:
        """float32[n, I] for the users at int64[n], who show their history, or `shown` [n, I]."""
        shown, fold = self._history[users] if shown is None else shown, self._fold[users]
        scores = np.empty(shown.shape, np.float32)
        for f, model in enumerate(self._models):
            scores[fold == f] = shown[fold == f] @ model
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
        self._inverse = _inverse((self._members.T @ self._members).toarray().astype(np.float32), l2)

    def scores(self, users: np.ndarray, shown: csr_matrix) -> np.ndarray:
        """float32[n, I] for the users at int64[n], who show float32[n, I]."""
        own = self._members[users]
        along = np.asarray(own @ self._inverse, np.float32)
        left = 1 - np.asarray(own.multiply(along).sum(axis=1))  # [n, 1]; above 0, as l2 is
        meets = np.asarray(shown.multiply(along).sum(axis=1)) / left
        solved = shown @ self._inverse + along * meets
        scores = shown.toarray() - solved / (np.diag(self._inverse) + along * along / left)
        return scores.astype(np.float32)


def binary_matrix(lists: pa.Array, items: pa.Array) -> csr_matrix:
    """Binary float32[n, I] from n lists of item names; names unknown to `items` are left out."""
    column = pc.index_in(lists.flatten(), items)
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    known = column.is_valid().to_numpy(zero_copy_only=False)
    place = row[known], column.drop_null().to_numpy()
    return csr_matrix((np.ones(known.sum(), np.float32), place), shape=(len(lists), len(items)))
