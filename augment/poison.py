"""Behaviour that looks bought: fake users who push items (shilling), floods of copied reviews, floods of clicks.

Found in one window of rows, before it can become an anchor. Honest people are odd one at a time and alike in what is
common, so every test asks for two signs that agree, or for numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, diags, triu
from scipy.sparse.csgraph import connected_components
from scipy.stats import poisson
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from augment.ease import USERS, CrossFitted
from augment.neighbours import Neighbours

MODELLED = 3_000  # most popular items, whose order tells coherence: EASE inverts an item × item matrix
INCOHERENT = 1.5  # robust standard deviations below the median user
GROUP, PUSHED = 4, 3  # an attack: at least so many users, each of whom holds so many of the pushed items
LIFT = 3.0  # share of incoherent users among those who hold a pushed item, over their share of all interactions
CHANCE = 1e-4  # that a whole honest window shows one such coincidence (Bonferroni)

COPIES = 8  # near copies of a text that others wrote
ALIKE = 0.25  # cosine of shingles: unrelated reviews .0 to .1, copies with a third of the words misspelt .3 to .5
SHINGLE, LEAST = 4, 30  # letters of a shingle, and different ones in a text that is long enough to be compared
UNSHARED = 2.0  # weight of a shingle that hardly anyone shares; among thousands of texts shared ones weigh 4 to 8
BUCKETS, PROJECTED = 2**18, 256  # of hashed shingles; dimensions in which neighbours are looked for
BATCH = 2048  # texts, or pairs of a user and an item, at a time: bounds memory
HOUR, MINUTES = 3_600_000_000, 600_000_000  # microseconds: of a burst of one phrase, of a burst by one user
BURST = 10  # reviews that nobody writes, and clicks on one item that nobody makes, within `MINUTES`


def reasons(rows: pa.Table, modality: str, seed: int = 0) -> dict[int, str]:
    """Row → reason, in order, for rows with the standard columns (see `augment.sources`) that look bought.

    A reason is "kind: how much of it there is, and the least that counts".

    modality: "behaviour" is looked through for fake users, "text" and "fields" for floods.
    """
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    if modality == "text":
        return floods(columns["text"], columns.get("timestamp"), columns.get("user_id"))
    if modality == "behaviour":
        fakes = fake_users(columns["user_id"], columns["item_id"], seed)
        return {i: fakes[user] for i, user in enumerate(columns["user_id"].to_pylist()) if user in fakes}
    if not {"user_id", "item_id", "timestamp"} <= columns.keys():
        return {}
    return click_floods(*(columns[name] for name in ("user_id", "item_id", "label", "timestamp")))


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


def floods(text: pa.Array, timestamp: pa.Array | None = None, user: pa.Array | None = None) -> dict[int, str]:
    """Rows that look like a flood of reviews, with the reason.

    timestamp: an Arrow timestamp, or epoch microseconds. Near copies: at least `COPIES` others say the same with other
    typing errors and words left out. Short texts are alike without being copied, so equal ones ("great dress") count
    only when far more of them fall within an hour than their share of the window makes likely. And nobody writes
    `BURST` reviews within minutes. Times given to the day or the hour tell nothing of bursts and are not used.
    """
    texts = [_letters(value) for value in text.to_pylist()]
    found: dict[int, str] = {}
    moment = _microseconds(timestamp, len(texts))
    if moment is not None:
        if user is not None:
            for rows, count in _user_bursts(user, moment):
                found |= dict.fromkeys(
                    rows, f"review flood: {count} reviews by one user within minutes (limit {BURST})"
                )
        for rows, count in _phrase_bursts(texts, moment):
            found |= dict.fromkeys(
                rows, f"review flood: {count} copies within an hour (limit {COPIES}, and far above chance)"
            )
    for row, count in _near_copies(texts).items():
        found[row] = f"review flood: {count} near copies (limit {COPIES})"
    return dict(sorted(found.items()))


def click_floods(user: pa.Array, item: pa.Array, label: pa.Array, timestamp: pa.Array) -> dict[int, str]:
    """Clicks (labels from .5 on) that look like click fraud, with the reason.

    Nobody clicks on one item `BURST` times within minutes, and on hardly anything else: an id that guests share may
    click often on what is popular, but not mostly. timestamp: as for `floods`. Many users who click once each are not
    found: an item may be popular all at once.
    """
    moment = _microseconds(timestamp, len(user))
    if moment is None:
        return {}
    moment = np.where(label.to_numpy(zero_copy_only=False) >= 0.5, moment, np.nan)
    users, items = user.cast(pa.string()).to_pylist(), item.cast(pa.string()).to_pylist()
    every = {users[clicks[0]]: moment[clicks] for clicks in _groups(users, moment, BURST)}
    pairs = [f"{u}\n{i}" if u and i else None for u, i in zip(users, items, strict=True)]
    found: dict[int, str] = {}
    for clicks in _groups(pairs, moment, BURST):
        own = moment[clicks]
        count = _within(own, own, MINUTES)
        mostly = 2 * count > _within(own, every[users[clicks[0]]], MINUTES)
        reason = f"click flood: {count.max()} clicks by one user on one item within minutes (limit {BURST})"
        for start in np.flatnonzero((count >= BURST) & mostly).tolist():
            found |= dict.fromkeys(clicks[start : start + count[start]].tolist(), reason)
    return dict(sorted(found.items()))


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


def _letters(text: str | None) -> str:
    """Letters and digits alone, in lower case: spelling without spaces, signs and capitals."""
    return re.sub(r"[\W_]+", "", (text or "").lower())


def _near_copies(texts: list[str]) -> dict[int, int]:
    """Row → how many texts its group of near copies has; rows are cores of DBSCAN (Ester et al., 1996).

    Character shingles outlive typing errors better than words do; the rarer weigh more. Those that fewer than half of
    `COPIES` texts share, mostly typing errors, cannot show a copy and count little, though enough that the common words
    of a small window are no likeness. Neighbours are found in a random projection, which keeps cosines within about
    .06 (Achlioptas, 2003), then compared exactly.
    """
    hashing = HashingVectorizer(
        analyzer="char", ngram_range=(SHINGLE, SHINGLE), n_features=BUCKETS, alternate_sign=False, norm=None,
        lowercase=False, binary=True, dtype=np.float32,
    )  # fmt: skip
    if not texts:
        return {}
    shingles = hashing.transform(texts)
    rows = np.flatnonzero(shingles.getnnz(axis=1) >= LEAST)
    if len(rows) <= COPIES:
        return {}
    shingles = shingles[rows]
    shared = shingles.getnnz(axis=0)
    weight = np.where(shared < COPIES / 2, UNSHARED, np.log(len(rows) / np.maximum(shared, 1)))
    vectors = normalize(shingles @ diags(weight.astype(np.float32)))
    used = np.flatnonzero(shared >= COPIES / 2)
    vectors = vectors.tocsc()[:, used].tocsr()  # the rest are in nobody's product
    signs = np.random.default_rng(0).integers(0, 2, (len(used), PROJECTED), dtype=np.int8)
    flat = vectors @ ((2 * signs.astype(np.float32) - 1) / np.float32(PROJECTED**0.5))
    _, near = Neighbours(flat).search(flat, 2 * COPIES + 1)
    first, second = [], []
    for start in range(0, len(rows), BATCH):
        one = np.repeat(np.arange(start, min(start + BATCH, len(rows))), near.shape[1])
        two = near[start : start + BATCH].ravel()
        alike = np.asarray(vectors[one].multiply(vectors[two]).sum(axis=1)).ravel() >= ALIKE
        alike &= one != two
        first.append(one[alike])
        second.append(two[alike])
    place = np.concatenate(first), np.concatenate(second)
    # In one matrix, since an inverted file that finds too few neighbours repeats one.
    links = csr_matrix((np.ones(len(place[0])), place), shape=(len(rows), len(rows)))
    core = links.getnnz(axis=1) >= COPIES
    _, group = connected_components(diags(core.astype(float)) @ links, directed=False)
    size = np.bincount(group)[group]
    return dict(zip(rows[core].tolist(), size[core].tolist(), strict=True))


def _microseconds(timestamp: pa.Array | None, count: int) -> np.ndarray | None:
    """float64[N], NaN where there is none; None where times say nothing of minutes."""
    if timestamp is None or timestamp.null_count == count:
        return None
    if pa.types.is_timestamp(timestamp.type):
        timestamp = timestamp.cast(pa.timestamp("us", timestamp.type.tz), safe=False).cast(pa.int64())
    moment = timestamp.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return None if np.all(np.nan_to_num(moment) % HOUR == 0) else moment


def _user_bursts(user: pa.Array, moment: np.ndarray) -> Iterator[tuple[list[int], int]]:
    for rows in _groups(user.cast(pa.string()).to_pylist(), moment, BURST):
        count = _within(moment[rows], moment[rows], MINUTES)
        for start in np.flatnonzero(count >= BURST).tolist():
            yield rows[start : start + count[start]].tolist(), int(count.max())


def _phrase_bursts(texts: list[str], moment: np.ndarray) -> Iterator[tuple[list[int], int]]:
    """Equal texts within an hour that are too many for their share of the window (Poisson, Bonferroni)."""
    every = np.sort(moment[np.isfinite(moment)])
    for rows in _groups(texts, moment, COPIES):
        count = _within(moment[rows], moment[rows], HOUR)
        expected = len(rows) / len(every) * _within(moment[rows], every, HOUR)
        strange = (count >= COPIES) & (poisson.sf(count - 1, expected) * len(every) < CHANCE)
        for start in np.flatnonzero(strange).tolist():
            yield rows[start : start + count[start]].tolist(), int(count.max())


def _groups(keys: Sequence[str | None], moment: np.ndarray, least: int) -> Iterator[np.ndarray]:
    """Rows with one key, in order of time, where there are at least so many; no key or no time is in no group."""
    members: dict[str, list[int]] = {}
    for row in np.argsort(moment, kind="stable").tolist():
        key = keys[row]
        if key and np.isfinite(moment[row]):
            members.setdefault(key, []).append(row)
    yield from (np.array(rows) for rows in members.values() if len(rows) >= least)


def _within(starts: np.ndarray, moments: np.ndarray, span: float) -> np.ndarray:
    """int64[n]: how many of the sorted moments lie in the span that begins at each start."""
    return np.searchsorted(moments, starts + span) - np.searchsorted(moments, starts)
