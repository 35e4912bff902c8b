"""Floods of copied reviews, and of clicks, in one window of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.stats import poisson
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from augment.numeric.neighbours import Neighbours
from augment.watch.fake_users import BATCH, CHANCE

COPIES = 8  # near copies of a text that others wrote

ALIKE = 0.25  # cosine of shingles: unrelated reviews .0 to .1, copies with a third of the words misspelt .3 to .5

SHINGLE, LEAST = 4, 30  # letters of a shingle, and different ones in a text that is long enough to be compared

UNSHARED = 2.0  # weight of a shingle that hardly anyone shares; among thousands of texts shared ones weigh 4 to 8

BUCKETS, PROJECTED = 2**18, 256  # of hashed shingles; dimensions in which neighbours are looked for

HOUR, MINUTES = 3_600_000_000, 600_000_000  # microseconds: of a burst of one phrase, of a burst by one user

BURST = 10  # reviews that nobody writes, and clicks on one item that nobody makes, within `MINUTES`


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
