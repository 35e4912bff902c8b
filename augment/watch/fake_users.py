"""Behaviour that looks bought: fake users who push items (shilling), floods of copied reviews, floods of clicks.

Found in one window of rows, before it can become an anchor. Honest people are odd one at a time and alike in what is
common, so every test asks for two signs that agree, or for numbers.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, triu
from scipy.stats import poisson

from augment.numeric.ease import USERS, CrossFitted

MODELLED = 3_000  # most popular items, whose order tells coherence: EASE inverts an item × item matrix
INCOHERENT = 1.5  # robust standard deviations below the median user
GROUP, PUSHED = 4, 3  # an attack: at least so many users, each of whom holds so many of the pushed items
LIFT = 3.0  # share of incoherent users among those who hold a pushed item, over their share of all interactions
CHANCE = 1e-4  # that a whole honest window shows one such coincidence (Bonferroni)

BATCH = 2048  # texts, or pairs of a user and an item, at a time: bounds memory


def fake_users(user: pa.Array, item: pa.Array, seed: int = 0) -> dict[str, str]:
    """Users whose histories look fabricated, with the reason.

    Two signs must agree. The user's items do not go together (`coherence`: fillers are drawn, not liked); and the user
    holds items that such users hold together far more often than chance makes likely (`_pushed`): the targets, which
    every profile of an attack shares, whatever its fillers (Mobasher et al., 2007). Fewer than `GROUP` fakes, or fewer
    than `PUSHED` targets, look like chance and are not found; nor are fakes who copy a real user's history, nor those
    in a log of such short histories (ten items) that honest ones hold together no better than drawn ones.
    """
    history, users = _history(user, item)
    if not history.nnz:
        return {}
    popular = np.argsort(-history.getnnz(axis=0), kind="stable")[:MODELLED]
    known = history[:, np.sort(popular)]
    rank = coherence(known, seed)
    rank[known.getnnz(axis=1) == 0] = np.nan  # nothing to tell by
    middle = np.nanmedian(rank)
    spread = 1.4826 * np.nanmedian(np.abs(rank - middle))
    held = _pushed(history, rank < middle - INCOHERENT * spread)
    found = np.flatnonzero(held)
    reasons = (
        f"fake user: incoherent history pushing {count} items (limit {PUSHED})" for count in held[found].tolist()
    )
    return dict(zip(users.take(pa.array(found)).to_pylist(), reasons, strict=True))


def coherence(history: csr_matrix, seed: int) -> np.ndarray:
    """float64[U] in [0, 1): mean rank of a user's items among all, by a model that never saw the user.

    In a real history each item goes with the others, in a fabricated one the fillers go with nothing.
    """
    expected = np.zeros(history.shape[0])
    fitted = CrossFitted(history, seed)
    for users in np.array_split(np.arange(len(expected)), 1 + len(expected) // USERS):
        for user, row in zip(users.tolist(), fitted.scores(users), strict=True):
            own = history.indices[history.indptr[user] : history.indptr[user + 1]]
            if len(own):
                expected[user] = np.searchsorted(np.sort(row), row[own]).mean() / len(row)
    return expected


def _history(user: pa.Array, item: pa.Array) -> tuple[csr_matrix, pa.Array]:
    """Binary float32[U, I] in the order of the sorted ids, and the users; rows without either id are left out."""
    pairs = pa.table({"user": user.cast(pa.string()), "item": item.cast(pa.string())}).drop_null()
    pairs = pairs.group_by(["user", "item"]).aggregate([]).sort_by([("user", "ascending"), ("item", "ascending")])
    users, items = (pc.unique(pairs[name]).sort() for name in ("user", "item"))
    place = tuple(pc.index_in(pairs[n], v).to_numpy() for n, v in (("user", users), ("item", items)))
    return csr_matrix((np.ones(len(pairs), np.float32), place), shape=(len(users), len(items))), users


def _pushed(history: csr_matrix, odd: np.ndarray) -> np.ndarray:
    """int64[U]: how many pushed items each of the `odd` users holds, zero where that is no attack.

    Pushed are pairs of items that odd users hold together more often than users as busy as they are, choosing by
    popularity, would by chance (Poisson); each item is held mostly by odd users. What remains must hang together:
    items of at least `GROUP` such users, users of at least `PUSHED` such items.
    """
    users = history[odd]
    total, held = (np.asarray(x.sum(axis=0), np.float64).ravel() for x in (history, users))
    share = users.nnz / history.nnz
    likely = np.flatnonzero((held >= GROUP) & (held > min(LIFT * share, 0.5) * total))
    together = triu(users[:, likely].T @ users[:, likely], 1).tocoo()
    busy = (users.getnnz(axis=1).astype(np.float64) ** 2).sum() / history.nnz**2
    expected = busy * total[likely[together.row]] * total[likely[together.col]]
    tests = len(likely) * (len(likely) - 1) / 2
    strange = (together.data >= GROUP) & (poisson.sf(together.data - 1, expected) * tests < CHANCE)
    items = np.unique(likely[np.concatenate([together.row[strange], together.col[strange]])])
    while True:
        count = history[:, items].getnnz(axis=1) * odd
        count[count < PUSHED] = 0
        kept = items[history[count > 0][:, items].getnnz(axis=0) >= GROUP]
        if len(kept) == len(items):
            return count
        items = kept
