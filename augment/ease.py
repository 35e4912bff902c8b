"""EASE: a linear item-to-item recommender in closed form (Steck, 2019)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix, diags

FILTER_L2 = 200.0
FOLDS = 2
USERS = 1024  # at a time: bounds the memory


def ease(inputs: csr_matrix, targets: csr_matrix | None, l2: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Item-to-item weights B float32[I, I]; the scores of a user with items x are x @ B.

    inputs: float32[U, I], what each user shows; targets: what its scores should be, by default the inputs. Rows whose
    inputs hide some targets make it a denoising autoencoder (Steck, 2020). weights: float[U], how much each row counts.
    Minimises the weighted squared error plus l2 ‖B‖² subject to diag(B) = 0, so no item recommends itself.
    """
    weighted = inputs if weights is None else diags(weights.astype(np.float32)) @ inputs
    gram = (inputs.T @ weighted).toarray().astype(np.float64)
    cross = gram.copy() if targets is None else (weighted.T @ targets).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += l2
    factor = cho_factor(gram, overwrite_a=True, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(gram)), overwrite_b=True, check_finite=False)
    solved = inverse @ cross
    # Lagrange multipliers of the zero diagonal, one per column.
    solved -= inverse * (np.diag(solved) / np.diag(inverse))
    np.fill_diagonal(solved, 0.0)
    return solved.astype(np.float32)


def cross_fitted(history: csr_matrix, weights: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of users int64[n], and their scores float32[n, I] by the EASE model of the fold that they are not in.

    A model that saw a user would score what the user has, and what goes with it in its own row, too high.
    """
    binary = (history > 0).astype(np.float32).tocsr()
    fold = np.random.default_rng(seed).permutation(history.shape[0]) % FOLDS
    for f in range(FOLDS):
        model = ease(binary[fold != f], None, FILTER_L2, weights[fold != f])
        for own in np.array_split(np.flatnonzero(fold == f), 1 + (fold == f).sum() // USERS):
            yield own, np.asarray(binary[own] @ model)
