"""Rows for items that nobody has met yet: which known items each is like, how much, and on what scale.

A new item goes: its content → the map that ranks best known items treated as new → weights of known items → a scale at
which new items are recommended as often as they are asked for → a row. Training rows alone say what is known; on
validation rows the scale is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, vstack
from sklearn.utils.extmath import randomized_svd

from augment.base.errors import Refused
from augment.base.progress import say, track
from augment.contracts.consumer import Consumer
from augment.contracts.content_map import ContentMap, settings
from augment.contracts.modality import Histories
from augment.contracts.tally import STUFFED, Tally
from augment.contracts.values import Arena
from augment.generation.catalogue import Catalogue
from augment.generation.weighted import PLACES, Stamp, Weighted, ndcg, spacing, usual
from augment.numeric.columns import whole
from augment.numeric.ease import FILTER_L2, ease
from augment.numeric.histories import binary, minus, moments, ordered
from augment.numeric.neighbours import Neighbours
from augment.numeric.new_items import MET, NEW_ITEMS, new_scores, standardised
from augment.numeric.vectors import unit
from augment.recipes.schema import NewItems
from augment.watch.stuffing import honesty

HELD, TRIED, TRIED_USERS = 0.2, 5_000, 2_000  # share of known items treated as new, of at most so many, and users
LEAST = 20  # known items, of which a map can be learnt; and interactions with new ones, by which a scale can be found
REACHED = 0.95  # of the most places that new items can have
USERS = 512  # at a time: bounds the memory
ITEMS = 256  # new ones at a time
NAMED = 5  # of those that are left out


class Found(NamedTuple):
    map: ContentMap
    share: float  # of properties in the content's vectors, beside texts
    seen: float  # of pictures, beside both
    ndcg: float  # at 20, of known items treated as new, among themselves

    def content(self, catalogue: Catalogue, misspelt: bool = False) -> np.ndarray:
        """Unit vectors float32[n, C] of its items."""
        return catalogue.vectors(self.share, self.seen, misspelt)


class Mapped(NamedTuple):
    names: pa.Array  # of new items
    content: np.ndarray  # float32[N, C]
    weights: csr_matrix  # float32[N, I], of no scale yet


@dataclass(frozen=True)
class Known:
    """What training rows say: which items, and who has them."""

    items: pa.Array  # of training rows, sorted
    users: pa.Array
    history: csr_matrix  # binary float32[U, I]
    place: np.ndarray  # int64[I], where each is in the catalogue; −1 for young ones and those that it lacks
    young: np.ndarray  # bool[I], whether the catalogue has it, and it is just out (`just_out`)

    @classmethod
    def of(cls, train: pa.Table, catalogue: Catalogue) -> Known:
        items, users = (pc.unique(whole(train[name])).sort() for name in ("item_id", "user_id"))
        history = binary(ordered(train, users, items))
        place = pc.fill_null(pc.index_in(items, catalogue.items), -1).to_numpy(zero_copy_only=False)
        young = just_out(train, history, items) & (place >= 0)
        if (place[~young] >= 0).sum() < LEAST:  # too few are left to learn from
            young[:] = False
        return cls(items, users, history, np.where(young, -1, place), young)

    @property
    def described(self) -> np.ndarray:
        """int64: places among `items` of those that the catalogue has, without young ones."""
        return np.flatnonzero(self.place >= 0)


def just_out(train: pa.Table, history: csr_matrix, items: pa.Array) -> np.ndarray:
    """bool[I]: whom fewer than `MET` users have, though there was not the time for it yet.

    There was, where half of the items that so many have found them sooner: such an item is no new one, but one that few
    want, and a row would put it where new ones belong. Without timestamps every item that few have counts as just out.
    """
    few = history.getnnz(axis=0) < MET
    if "timestamp" not in train.column_names:
        return few
    first, typical = _waits(train, items)
    return few & (moments(train).max() - first < typical)


def had_their_time(train: pa.Table, left_out: pa.Table) -> pa.Array:
    """Ids of items that no training row holds, but earlier rows that were left out of them: sparse, or below `keep`.

    left_out: `item_id`, and the `timestamp` of its first row. As of `just_out`: what few want is no new item.
    """
    items, names = pc.unique(whole(train["item_id"])).sort(), whole(left_out["item_id"])
    _, typical = _waits(train, items)
    old = pa.array(moments(train).max() - moments(left_out) >= typical)
    return names.filter(pc.and_not(old, pc.is_in(names, items)))


def _waits(train: pa.Table, items: pa.Array) -> tuple[np.ndarray, float]:
    """[I], when each item was first met, and the median time until `MET` users had, of those that so many have."""
    met = train.group_by(["item_id", "user_id"]).aggregate([("timestamp", "min")])
    met = met.rename_columns(["item_id", "user_id", "timestamp"])
    moment, item = moments(met), pc.index_in(whole(met["item_id"]), items).to_numpy(zero_copy_only=False)
    order = np.lexsort((moment, item))
    start = np.searchsorted(item[order], np.arange(len(items)))
    many = np.bincount(item, minlength=len(items)) >= MET
    first, enough = moment[order[start]], moment[order[start[many] + MET - 1]]
    return first, float(np.median(enough - first[many])) if many.any() else np.inf


def choose(catalogue: Catalogue, known: Known, wanted: NewItems, seed: int) -> Found:
    """The map, its options and the shares of properties and pictures that rank best known items treated as new.

    A fifth of known items loses its interactions; what EASE makes of the others scores it by each map. First the
    shares are chosen, by attention, then the map.
    """
    rng = np.random.default_rng(seed)
    described = known.described
    popular = described[np.argsort(-known.history.getnnz(axis=0)[described], kind="stable")[:TRIED]]
    order = rng.permutation(popular)
    new, old = np.sort(order[: int(HELD * len(order))]), np.sort(order[int(HELD * len(order)) :])
    asked = np.flatnonzero(known.history[:, new].getnnz(axis=1))
    users = np.sort(rng.choice(asked, min(TRIED_USERS, len(asked)), replace=False))
    shown, hidden = known.history[users][:, old], known.history[users][:, new]
    scores = np.asarray(shown @ ease(known.history[:, old], None, FILTER_L2), np.float32)
    behaviour = _behaviour(known.history[:, old])

    def quality(candidate: ContentMap, vectors: np.ndarray) -> float:
        fitted = candidate.fit(vectors[known.place[old]], behaviour)
        weights = _sparse(fitted, vectors[known.place[new]], wanted.neighbours)
        return ndcg(new_scores(scores, shown, weights), hidden)

    near = settings("attention", {}, seed)[-1:]
    shares = {each: quality(near[0], catalogue.vectors(*each)) for each in product(catalogue.shares, catalogue.seen)}
    best = max(shares, key=lambda each: shares[each])
    vectors = catalogue.vectors(*best)
    tried = [one for name in wanted.maps for one in settings(name, wanted.map_options.get(name, {}), seed)]
    found = [Found(one, *best, quality(one, vectors)) for one in track(tried, "maps of new items", "map", len(tried))]
    return max(found, key=lambda one: one.ndcg)


def made(
    stamp: Stamp, wanted: NewItems, catalogue: Catalogue, modality: Histories, victim: Consumer, arena: Arena,
    seed: int, tally: Tally,
) -> Iterator[pa.Table]:  # fmt: skip
    """Rows, in the schema of samples, for the catalogue's items of which training rows say little, counted in `tally`.

    Raises Refused where the catalogue and the training rows have too few items in common to learn from.
    """
    known = Known.of(arena.train, catalogue)
    if len(known.described) < LEAST:
        raise Refused(
            f"{NEW_ITEMS}: {len(known.described)} of {len(known.items):,} items of the training rows are in the "
            f"catalogue of {len(catalogue):,}; at least {LEAST} are needed: are their ids the same?"
        )
    found = choose(catalogue, known, wanted, seed)
    mapped = apply(found, catalogue, known, wanted.neighbours)
    tally.wanted = tally.proposed = len(mapped.names)
    mapped = honest(mapped, found.content(catalogue), known, wanted.stuffed, tally)
    if not len(mapped.names):
        return
    size = scale(mapped, known, victim, arena.valid, wanted.exposure, seed)
    weights, judged = mapped.weights * np.float32(size), _Judged(found, catalogue, known, modality)
    for start in range(0, len(mapped.names), ITEMS):
        some = slice(start, start + ITEMS)
        rows = judged.rows(stamp, mapped.names[some], mapped.content[some], weights[some])
        tally.kept += len(rows)
        tally.novelty += rows["novelty"].to_pylist()
        yield rows


def honest(mapped: Mapped, vectors: np.ndarray, known: Known, least: float, tally: Tally) -> Mapped:
    """Those that look less stuffed than all but that share of known items; the others are said, and counted."""
    if not least or not len(mapped.names):
        return mapped
    popularity = known.history.getnnz(axis=0)[known.described]
    usual = honesty(mapped.content, vectors[known.place[known.described]], popularity)
    stuffed = usual < least
    if stuffed.any():
        names = mapped.names.filter(pa.array(stuffed)).to_pylist()
        tally.stop(STUFFED, usual[stuffed], 0)
        say(f"{NEW_ITEMS}: content stuffed with that of best sellers: {', '.join(names[:NAMED])} "
            f"({len(names):,} of {len(stuffed):,})")  # fmt: skip
    kept = np.flatnonzero(~stuffed)
    return Mapped(mapped.names.take(pa.array(kept)), mapped.content[kept], mapped.weights[kept])


def apply(found: Found, catalogue: Catalogue, known: Known, most: int) -> Mapped:
    """The map, fitted on all known items, on the catalogue's others, but for those of which it says nothing."""
    vectors, old = found.content(catalogue), known.described
    met = known.items.filter(pa.array(~known.young))
    fresh = ~pc.is_in(catalogue.items, met).to_numpy(zero_copy_only=False)
    new = np.flatnonzero(fresh & vectors.any(axis=1))
    names, shape = catalogue.items.take(pa.array(new)), (len(new), len(known.items))
    if not len(new):
        return Mapped(names, vectors[new], csr_matrix(shape, dtype=np.float32))
    content, behaviour = vectors[known.place[old]], _behaviour(known.history[:, old])
    if catalogue.misspelt is not None:  # each known item comes twice, and what its copy weighs is its own
        content = np.concatenate([content, found.content(catalogue, misspelt=True)[known.place[old]]])
        behaviour, old = np.concatenate([behaviour, behaviour]), np.concatenate([old, old])
    found.map.fit(content, behaviour)
    weights = _sparse(found.map, vectors[new], most)
    weights = csr_matrix((weights.data, old[weights.indices], weights.indptr), shape=shape)
    weights.sum_duplicates()
    return Mapped(names, vectors[new], weights)


def scale(mapped: Mapped, known: Known, victim: Consumer, valid: pa.Table, exposure: float | None, seed: int) -> float:
    """What to multiply weights by, so that the victim recommends new items as often as it should.

    As often as validation rows ask for them; where these hardly do, as often as the known items that they are like.
    What validation rows ask for is some of the new items, and these are then what is to take as many places: counted
    with others that nobody could ask for yet, they would get too few.
    """
    asked = pc.is_in(mapped.names, whole(valid["item_id"])).to_numpy(zero_copy_only=False)
    if exposure is None:
        exposure = expected(mapped, known, valid)
    weights = mapped.weights[asked] if _asks(mapped, valid) >= LEAST else mapped.weights
    users = pc.index_in(pc.unique(whole(valid["user_id"])), known.users).drop_null().to_numpy(zero_copy_only=False)
    users = np.arange(len(known.users)) if not len(users) else users
    users = np.sort(np.random.default_rng(seed).choice(users, min(TRIED_USERS, len(users)), replace=False))
    # Validation rows are what users have by the time that lists are made, to the victim too.
    has = binary((known.history + ordered(valid, known.users, known.items)).tocsr())
    best_old, best_new = [], []
    for start in range(0, len(users), USERS):
        some = users[start : start + USERS]
        scores = victim.predict(pa.table({"user_id": known.users.take(pa.array(some))}))
        best_new.append(highest(new_scores(scores, has[some], weights)))
        plain = standardised(scores)
        plain[has[some].nonzero()] = -np.inf
        plain[:, known.young] = -np.inf  # their rows stand for them
        best_old.append(highest(plain))
    return scale_for(exposure, np.concatenate(best_old), np.concatenate(best_new))


def expected(mapped: Mapped, known: Known, valid: pa.Table) -> float:
    """The share of recommended places that new items should have."""
    asked = _asks(mapped, valid)
    if asked >= LEAST:
        wanted = minus(binary(ordered(valid, known.users, known.items)), known.history)
        return asked / (asked + wanted[:, ~known.young].nnz)
    popularity, size = known.history.getnnz(axis=0), abs(mapped.weights)
    like = (size @ popularity) / np.maximum(np.asarray(size.sum(axis=1)).ravel(), 1e-9)
    return float(like.sum() / (like.sum() + popularity.sum()))


def _asks(mapped: Mapped, valid: pa.Table) -> int:
    """How many validation rows ask for new items."""
    return len(pc.index_in(whole(valid["item_id"]), mapped.names).drop_null())


def scale_for(exposure: float, old: np.ndarray, new: np.ndarray) -> float:
    """The scale at which the share `exposure` of the 20 best is new: of each user the highest, float32[n, k] each.

    Where so many places cannot be had, since few new items are for each user, the one that gets nearly all there are.
    """

    def places(scale: float) -> float:
        above = np.sum(old[:, :, None] > (scale * new)[:, None, :], axis=1)  # known ones, of each new one
        return float(((above + np.arange(new.shape[1])) < PLACES).sum()) / (len(new) * PLACES)

    low, high = 1e-3, 1e3
    exposure = min(exposure, REACHED * places(high))
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if places(middle) < exposure else (low, middle)
    return (low * high) ** 0.5


def highest(scores: np.ndarray) -> np.ndarray:
    """float32[n, at most 20], the highest of each row, from the highest."""
    count = min(PLACES, scores.shape[1])
    return -np.sort(np.partition(-scores, count - 1, axis=1)[:, :count], axis=1)


def _behaviour(history: csr_matrix) -> np.ndarray:
    """float32[I, D]: who takes each item, as unit vectors of a truncated SVD of the training matrix."""
    return unit(singular(history))


def singular(history: csr_matrix) -> np.ndarray:
    """float32[I, D]: of binary [U, I] the right singular vectors, each times its value."""
    size = max(1, min(64, min(history.shape) - 1))
    _, value, right = randomized_svd(history, size, random_state=0)
    return np.asarray((value[:, None] * right).T, np.float32)


def _sparse(fitted: ContentMap, content: np.ndarray, most: int) -> csr_matrix:
    """float32[n, I]: the weights of greatest size of each new item, `most` of them."""
    blocks = []
    for start in range(0, len(content), ITEMS):
        weights = fitted.weights(content[start : start + ITEMS])
        if most < weights.shape[1]:
            np.put_along_axis(weights, np.argpartition(-np.abs(weights), most - 1, axis=1)[:, most:], 0, axis=1)
        blocks.append(csr_matrix(weights))
    return vstack(blocks).tocsr()


class _Judged:
    """How usual a new item is among known ones, by its content and by the vector that its neighbours make."""

    def __init__(self, found: Found, catalogue: Catalogue, known: Known, modality: Histories) -> None:
        self._found, self._modality, self._items = found, modality, known.items
        content = found.content(catalogue)[known.place[known.described]]
        self._content, self._usual = Neighbours(content), spacing(content)
        codes, _ = modality.codes(pa.chunked_array([_alone(known.items)]))
        self._vectors = unit(modality.vectors[codes])  # of the items, in their order
        behaviour = self._vectors[known.described]
        self._behaviour, self._usual_behaviour = Neighbours(behaviour), spacing(behaviour)

    def rows(self, stamp: Stamp, names: pa.Array, content: np.ndarray, weights: csr_matrix) -> pa.Table:
        """Each is decoded as a user of nothing, who wants the item: what trains on users alone can pass over it."""
        embedding = unit(weights @ self._vectors)
        distance = self._content.search(content, 1)[0][:, 0]
        moved = self._behaviour.search(embedding, 1)[0][:, 0]
        made = Weighted(names, weights, self._items, embedding, "targets", _alone(names), distance,
                        usual(distance, self._usual), usual(moved, self._usual_behaviour))  # fmt: skip
        return made.table(stamp, NEW_ITEMS, self._found.map.name, self._modality)


def _alone(names: pa.Array) -> pa.ListArray:
    """A list of each one."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(names) + 1), pa.int32()), names)
