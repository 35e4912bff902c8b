"""Rows for users of one to three interactions: which known users each is like, and how much.

A few interactions say little to a model, and much of whom a user is like (Sarwar et al., 2001): the user goes into the
row as its own neighbour, beside others who have the same items, or whose items' vectors add up to nearly the same. How
many neighbours, how weighted, and how much the user's own scores count is what ranks best known users treated as new,
by their first interactions alone, under EASE. Training rows alone say it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, diags, hstack, identity, vstack

from augment.base.errors import Refused
from augment.base.progress import track
from augment.contracts.modality import Histories
from augment.generation.new_items import singular
from augment.generation.weighted import Stamp, Weighted, ndcg, spacing, usual
from augment.numeric.columns import whole
from augment.numeric.ease import FILTER_L2, USERS, ease
from augment.numeric.histories import binary, minus, moments, ordered
from augment.numeric.neighbours import Neighbours
from augment.numeric.new_items import standardised
from augment.numeric.new_users import FEW, NEW_USERS, summed
from augment.numeric.vectors import highest_places, unit
from augment.recipes.schema import NewUsers

TRIED, SHARE = 500, 0.2  # known users treated as new: so many, at most that share
ITEMS = 5_000  # that a setting is chosen by, the commonest: bounds time and memory
LEAST = 50  # known users, of whom neighbours can be chosen at all
SIZES = (30, 100, 300)  # of neighbours tried
POWERS = (0, 1, 3)  # of a likeness, that are tried as weights
OWNS = (0.0, 0.1, 0.2, 0.35, 0.5)  # shares of the user's own scores
BLOCK = 2**25  # likenesses at a time: bounds the memory


class Setting(NamedTuple):
    by: str  # in what users are alike: see `LIKENESS`
    size: int  # neighbours
    power: int
    own: float

    def __str__(self) -> str:
        return f"{self.by}, {self.size} neighbours, likeness ** {self.power}, own {self.own:g}"


class Found(NamedTuple):
    setting: Setting
    ndcg: float  # at 20, of known users treated as new,
    alone: float  # and by their own scores alone


class Near(NamedTuple):
    place: np.ndarray  # int64[n, k] of known users, the nearest_edits first
    likeness: np.ndarray  # float32[n, k] in [0, 1]; 0: not alike


@dataclass(frozen=True)
class Users:
    """Of training rows: those to learn from, and those of few interactions, the latest first.

    history: [U, I] of known ones, fresh: [N, I] of new ones; entries are places in the user's order of time, from 1.
    """

    items: pa.Array
    known: pa.Array
    history: csr_matrix
    new: pa.Array
    fresh: csr_matrix

    @classmethod
    def of(cls, train: pa.Table, most: int) -> Users:
        items, users = (pc.unique(whole(train[name])).sort() for name in ("item_id", "user_id"))
        every = ordered(train, users, items)
        few = every.getnnz(axis=1) <= FEW
        known, new = np.flatnonzero(~few), np.flatnonzero(few)
        last = np.full(len(users), -np.inf)
        np.maximum.at(last, pc.index_in(whole(train["user_id"]), users).to_numpy(), moments(train))
        new = new[np.argsort(-last[new], kind="stable")[:most]]
        return cls(items, users.take(pa.array(known)), every[known], users.take(pa.array(new)), every[new])


def _by_items(shown: csr_matrix, history: csr_matrix, most: int) -> Near:
    """By the cosine of histories."""
    have, every = _normalised(shown), _normalised(history).T.tocsc()
    count = min(most, history.shape[0])
    place, likeness = [], []
    size = max(1, BLOCK // history.shape[0])
    for start in range(0, shown.shape[0], size):
        alike = (have[start : start + size] @ every).toarray()
        best = np.stack([*highest_places(alike, count)])
        place.append(best)
        likeness.append(np.take_along_axis(alike, best, axis=1))
    return Near(np.concatenate(place), np.concatenate(likeness))


def _by_vectors(shown: csr_matrix, history: csr_matrix, most: int) -> Near:
    """By the cosine of sums of items' vectors, those of a truncated SVD."""
    items = singular(history)
    distance, place = Neighbours(unit(history @ items)).search(unit(shown @ items), most)
    return Near(place, np.maximum(1 - distance**2 / 2, 0))


LIKENESS: dict[str, Callable[[csr_matrix, csr_matrix, int], Near]] = {"items": _by_items, "vectors": _by_vectors}


def weighed(near: Near, setting: Setting, known: int) -> csr_matrix:
    """float32[n, known], whose rows sum to 1; of one who is like nobody, all zeros."""
    place, likeness = near.place[:, : setting.size], near.likeness[:, : setting.size]
    weight = np.where(likeness > 1e-6, likeness**setting.power, 0)
    weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    row = np.repeat(np.arange(len(place)), place.shape[1])
    found = csr_matrix((weight.ravel().astype(np.float32), (row, place.ravel())), shape=(len(place), known))
    found.eliminate_zeros()
    return found


def choose(history: csr_matrix, wanted: NewUsers, seed: int) -> Found:
    """How known users treated as new are ranked best: each shows its first one, two or three items, the rest is hidden.

    history: [U, I] of known users, each of more than `FEW` items, in the order of time.
    """
    tried, others = halves(history.shape[0], seed)
    shown = binary(first(history[tried], 1 + np.arange(len(tried)) % FEW))
    some = commonest(history)
    shown, every, kept = shown[:, some], binary(history[tried][:, some]), binary(history[others][:, some])
    model = ease(kept, None, FILTER_L2)
    own = standardised(np.asarray(shown @ model, np.float32))
    nears = {by: likeness(shown, kept, wanted.neighbours) for by, likeness in LIKENESS.items()}
    return best(nears, wanted.neighbours, kept, model, own, shown, minus(every, shown), OWNS)


def commonest(history: csr_matrix) -> np.ndarray:
    """int64: places of the commonest items."""
    return np.sort(np.argsort(-history.getnnz(axis=0), kind="stable")[:ITEMS])


def halves(known: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of known users to treat as new, and of the others."""
    order = np.random.default_rng(seed).permutation(known)
    count = min(TRIED, int(SHARE * known))
    return np.sort(order[:count]), np.sort(order[count:])


def best(
    nears: Mapping[str, Near], most: int, kept: csr_matrix, model: np.ndarray, own: np.ndarray, shown: csr_matrix,
    hidden: csr_matrix, owns: Sequence[float],
) -> Found:  # fmt: skip
    """The setting by which n users who show [n, I] find best what is hidden [n, I].

    nears: of the users of `kept` [U, I], by each likeness; model: an EASE of these; own: float32[n, I], what counts for
    a share of `owns`.
    """
    found = Found(Setting("", 0, 0, 1.0), -1.0, _ndcg(own, shown, hidden))
    sizes = [size for size in SIZES if size < most] + [most]
    for by, near in track(nears.items(), "neighbours of new users", "kind", len(nears)):
        pairs = [Setting(by, size, power, 0.0) for size, power in product(sizes, POWERS)]
        stacked = vstack([weighed(near, pair, kept.shape[0]) for pair in pairs]).tocsr()
        said = np.split(summed(stacked, kept, lambda users: np.asarray(kept[users] @ model, np.float32)), len(pairs))
        for pair, theirs in zip(pairs, said, strict=True):
            for share in owns:
                ndcg = _ndcg(share * own + (1 - share) * theirs, shown, hidden)
                if ndcg > found.ndcg:
                    found = found._replace(setting=pair._replace(own=share), ndcg=ndcg)
    return found


def made(stamp: Stamp, wanted: NewUsers, modality: Histories, train: pa.Table, seed: int) -> Iterator[pa.Table]:
    """Rows, in the schema of samples, for users of at most `FEW` training interactions, the latest first.

    Raises Refused where known users are too few to choose by, or rank no better with neighbours than without.
    """
    users = Users.of(train, wanted.most)
    if len(users.known) < LEAST:
        raise Refused(
            f"{NEW_USERS}: {len(users.known)} users of the training rows have more than {FEW} interactions; at least "
            f"{LEAST} are needed to find neighbours among"
        )
    if not len(users.new):
        return
    found = choose(users.history, wanted, seed)
    if found.ndcg <= found.alone:
        raise Refused(
            f"{NEW_USERS}: known users treated as new are ranked no better with neighbours (NDCG@20 {found.ndcg:.4f}) "
            f"than without ({found.alone:.4f})"
        )
    judged, history = Judged(users, modality), binary(users.history)
    for start in range(0, len(users.new), USERS):
        names, shown = users.new[start : start + USERS], binary(users.fresh[start : start + USERS])
        near = LIKENESS[found.setting.by](shown, history, found.setting.size)
        weights = weighed(near, found.setting, len(users.known))
        some = np.flatnonzero(weights.getnnz(axis=1))  # the others are like nobody
        if len(some):
            apart = judged.apart(shown[some])
            yield judged.rows(
                stamp, NEW_USERS, found.setting, names.take(pa.array(some)), shown[some], weights[some], apart
            )


def first(history: csr_matrix, count: np.ndarray) -> csr_matrix:
    """Of each user's history the first `count` int64[n] items."""
    owner = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
    keep = history.data <= count[owner]
    return csr_matrix((history.data[keep], (owner[keep], history.indices[keep])), shape=history.shape)


def _ndcg(scores: np.ndarray, shown: csr_matrix, hidden: csr_matrix) -> float:
    """Of scores float32[n, I], of what is not shown."""
    scores = scores.copy()
    scores[shown.nonzero()] = -np.inf
    return ndcg(scores, hidden)


def _normalised(history: csr_matrix) -> csr_matrix:
    """Binary rows over the root of how many entries each has."""
    return (diags(np.maximum(history.getnnz(axis=1), 1).astype(np.float32) ** -0.5) @ history).tocsr()


class Judged:
    """How usual a new user is among known ones, by what it has and by the vector that its neighbours make."""

    def __init__(self, users: Users, modality: Histories) -> None:
        self._users, self._modality = users, modality
        one = pa.ListArray.from_arrays(pa.array(np.arange(len(users.items) + 1), pa.int32()), users.items)
        codes, _ = modality.codes(pa.chunked_array([one]))
        self._items = unit(modality.vectors[codes])
        self._vectors = unit(binary(users.history) @ self._items)
        self._near, self._usual = Neighbours(self._vectors), spacing(self._vectors)

    def apart(self, shown: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Of users who show [n, I] the distance float32[n] to the nearest known one, and how usual that is."""
        distance = self._near.search(unit(shown @ self._items), 1)[0][:, 0]
        return distance, usual(distance, self._usual)

    def rows(
        self, stamp: Stamp, strategy: str, setting: Setting, names: pa.Array, shown: csr_matrix, weights: csr_matrix,
        apart: tuple[np.ndarray, np.ndarray],
    ) -> pa.Table:  # fmt: skip
        """shown: [N, I], what they have; weights: float32[N, U] of known users; apart: as `apart` says."""
        own, theirs = np.float32(setting.own), np.float32(1 - setting.own)
        embedding = unit(own * unit(shown @ self._items) + theirs * (weights @ self._vectors))
        moved = self._near.search(embedding, 1)[0][:, 0]
        # The users themselves are neighbours too, beside the known ones.
        every = hstack([weights * theirs, identity(len(names), np.float32) * own]).tocsr()
        every.eliminate_zeros()
        items = self._users.items.take(pa.array(shown.indices))
        has = pa.ListArray.from_arrays(pa.array(shown.indptr, pa.int32()), items)
        known, (distance, usually) = pa.concat_arrays([self._users.known, names]), apart
        made = Weighted(names, every, known, embedding, "items", has, distance, usually, usual(moved, self._usual))
        return made.table(stamp, strategy, setting.by, self._modality)
