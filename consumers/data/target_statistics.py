"""Target statistics: what training rows say of a field's value, its smoothed click rate and how often it occurs.

Rates are smoothed towards the overall one, as rare values say little (Micci-Barreca, 2001). A row must not see its own
label in them, so training rows read statistics of the rows outside their fold (Prokhorenkova et al., 2018, call what
this avoids target leakage); all other rows read those of all training rows.
"""

from __future__ import annotations

import numpy as np

FOLDS = 5
STRENGTHS = (2.0, 20.0)  # rows' worth of the overall rate: the weaker follows a value's own rows sooner
FARTHEST = 3.0  # deviations: where values are common, an unknown one would be farther off than any ever seen
WIDTH = len(STRENGTHS) + 1


def assigned(rows: int, seed: int | list[int]) -> np.ndarray:
    """int64[rows]: the fold of each training row, in [1, FOLDS], as even as can be."""
    return np.random.default_rng(seed).permutation(rows) % FOLDS + 1


def of_copies(fold: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """int64[n] folds of rows made from the real rows at `anchor` int64[n]: theirs, and 0 where that is −1."""
    return np.where(anchor >= 0, fold[anchor], 0)


def fit(codes: np.ndarray, sizes: list[int], label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """float32[1 + FOLDS, sum(sizes), WIDTH]: statistics of all rows, and then without each fold.

    codes: int64[n, F], field j's in [0, sizes[j]). label: float[n], soft ones too. fold: int64[n] in [1, FOLDS].

    A statistic is the log-odds of a rate over those of all rows, or the logarithm of 1 + the rows; field by field they
    have mean 0 and variance 1 over the rows. Code 0, the unknown value, counts as without rows: it says the overall
    rate. Where all rows have known values it is their mean instead: a count of none would be like nothing ever seen.
    """
    return np.concatenate(
        [_of_field(codes[:, j], size, label, fold) for j, size in enumerate(sizes)], axis=1, dtype=np.float32
    )


def _of_field(code: np.ndarray, size: int, label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    place = (fold - 1) * size + code
    rows, clicks = (np.bincount(place, w, FOLDS * size).reshape(FOLDS, size) for w in (None, label))
    rows[:, 0] = clicks[:, 0] = 0
    rows, clicks = (np.concatenate([x.sum(axis=0, keepdims=True), x.sum(axis=0) - x]) for x in (rows, clicks))
    prior = float(np.clip(label.mean(), 1e-4, 1 - 1e-4))  # of all rows: that of other folds would tell one's own
    rates = [(clicks + strength * prior) / (rows + strength) for strength in STRENGTHS]
    log_odds = [np.log(rate / (1 - rate)) - np.log(prior / (1 - prior)) for rate in rates]
    statistics = np.stack([*log_odds, np.log1p(rows)], axis=2)
    occurrences = np.bincount(code, minlength=size)
    mean = np.average(statistics[0], axis=0, weights=occurrences)
    if not occurrences[0]:
        statistics[:, 0] = mean
    deviation = np.sqrt(np.average((statistics[0] - mean) ** 2, axis=0, weights=occurrences))
    return np.clip((statistics - mean) / np.where(deviation > 1e-6, deviation, 1.0), -FARTHEST, FARTHEST)
