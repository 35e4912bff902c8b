"""Users and their items: a user is the mean of the vectors of the items shown to the recommender.

A sample is a synthetic user: `items` are what the recommender is shown, `targets` what it must score high
(the anchor's real items, always), `negatives` hard items that must score low.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import BadInput
from augment.contracts.modality import MORE_ROWS, Histories, Perturbation, Prepared, RowRules, Tools
from augment.contracts.values import Bank, Described, Labeller, Validity
from augment.gates.rankings import RankingValidity
from augment.numeric.ease import FOLDS
from augment.numeric.neighbours import Neighbours
from augment.numeric.vectors import unit
from augment.watch.alarms import signs
from augment.watch.fake_users import fake_users

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer
    from augment.recipes.schema import Gates

DROPPED = (0.2, 0.4)  # share of a user's items that a perturbed copy hides
INSERTED = 0.1  # items put in beside a user's own, as a share of them
NEAR = 10  # neighbours of an item that may be put in beside it
TAIL, TAIL_USERS = 0.8, 0.5  # shares of items and of users, by least interactions
LEAST = 4  # distinct items of an anchor: fewer leave nothing to hide
ACTIVITY_GROUPS = 4  # segments: quartiles of history length
_LIST = pa.list_(pa.string())


class Behaviour(Histories):
    """Item vectors are those the victim learnt from real training rows, frozen: the name carries their hash.

    train: the rows that anchors are made of, which tell what is in the tail. content: items that have a text, and the
    unit vectors float32[n, C] of their texts (see `item_texts`), by which pseudo-interactions find items alike.
    """

    name = "behaviour"
    rows = RowRules(needs=("user_id", "item_id"), classes=False)
    perturbations: ClassVar = {
        "item-drop": Perturbation("a part of the history hidden"),
        "item-insert": Perturbation("near items slipped into the history"),
        "item-reorder": Perturbation("the history reordered, for consumers of its order", novel=False),
        "pseudo-interactions": Perturbation("items alike become targets, in the tail"),
    }
    decoded = pa.struct([("items", _LIST), ("targets", _LIST), ("negatives", _LIST)])
    normalised = True

    def __init__(
        self,
        tables: dict[str, tuple[list[str], np.ndarray]],
        train: pa.Table,
        content: tuple[list[str], np.ndarray] | None = None,
    ) -> None:
        values, vectors = tables["item_id"]
        self._values = pa.array(values, pa.string())
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.dim = self.vectors.shape[1]
        self.encoder = f"behaviour@{hashlib.sha256(self.vectors.tobytes()).hexdigest()[:12]}"
        self.near = Neighbours(unit(self.vectors))
        self._content = content
        items, offsets = self.codes(self.anchors(train)["items"])
        counts = np.bincount(items, minlength=len(self.vectors))
        self._tail = np.zeros(len(counts), bool)
        self._tail[np.argsort(counts, kind="stable")[: int(TAIL * len(counts))]] = True
        self._busy = np.quantile(np.diff(offsets), TAIL_USERS) if len(offsets) > 1 else 0.0

    @classmethod
    def bought(cls, rows: pa.Table, seed: int) -> dict[int, str]:
        """Rows of fake users."""
        users = rows["user_id"].combine_chunks()
        fakes = fake_users(users, rows["item_id"].combine_chunks(), seed)
        return {i: fakes[user] for i, user in enumerate(users.to_pylist()) if user in fakes}

    @classmethod
    def check_enough(cls, source: str, train: pa.Table) -> None:
        pairs = train.group_by(["user_id", "item_id"]).aggregate([])
        items = pc.value_counts(pairs["user_id"].combine_chunks()).field("counts").to_numpy()
        able = int((items >= LEAST).sum())
        if able < FOLDS:
            raise BadInput(
                f"sources.{source}: {able} of {len(items):,} users have {LEAST} different items in {len(train):,} "
                f"training rows; {FOLDS} such users are needed, to make samples of one and judge them by the other: "
                f"{MORE_ROWS}"
            )

    @classmethod
    def alarms(cls, samples: pa.Table, train: pa.Table, valid: pa.Table) -> list[str]:
        return signs(samples, train, valid).raised

    @classmethod
    def around(cls, train: pa.Table, prepared: Prepared, victim: Consumer, tools: Tools) -> Behaviour:
        return cls(victim.tables(), train, _content(train, tools))

    def validity(
        self, rows: pa.Table, embedding: np.ndarray, gates: Gates, seed: int, teacher: Labeller | None = None
    ) -> Validity:
        return RankingValidity(rows, gates.false_negative_share, seed, teacher)

    def anchors(self, train: pa.Table, unlabelled: pa.Table | None = None) -> pa.Table:
        """One row per user with at least `LEAST` distinct items that the victim knows.

        They are in the order of their first times; without a column `timestamp`, in that of the rows.
        """
        train = train.filter(pc.is_in(train["item_id"], value_set=self._values))
        timed = "timestamp" in train.column_names
        first = [("timestamp", "min")] if timed else []
        pairs = train.group_by(["user_id", "item_id"], use_threads=False).aggregate(first)
        if timed:
            pairs = pairs.sort_by([("timestamp_min", "ascending"), ("item_id", "ascending")])
        users = pairs.group_by("user_id", use_threads=False).aggregate([("item_id", "list")])
        users = users.filter(pc.greater_equal(pc.list_value_length(users["item_id_list"]), LEAST)).sort_by("user_id")
        items = users["item_id_list"].combine_chunks()
        none = pa.array([[]] * len(users), _LIST)
        columns = {"row_id": users["user_id"], "items": items, "targets": items, "negatives": none}
        return pa.table(columns)

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        """The target is one of the user's own items; segments are quartiles of activity."""
        items, offsets = self.codes(rows["targets"])
        lengths = np.diff(offsets)
        target = items[offsets[:-1] + (rng.random(len(rows)) * lengths).astype(np.int64)]
        edges = np.quantile(lengths, np.arange(1, ACTIVITY_GROUPS) / ACTIVITY_GROUPS)
        return Described(target, np.searchsorted(edges, lengths), self.vectors[target])

    def encode(self, rows: pa.Table) -> np.ndarray:
        items, offsets = self.codes(rows["items"])
        return unit(np.add.reduceat(self.vectors[items], offsets[:-1], axis=0))

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """By default a part of the history is hidden."""
        changes = {"item-insert": self._insert, "item-reorder": self._reorder, "pseudo-interactions": self._pseudo}
        return changes.get(kind, self._drop)(rows, rng)

    def _drop(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Hide a random share of each user's items; at least two stay."""
        items, offsets = self.codes(rows["items"])
        lengths = np.diff(offsets)
        owner = np.repeat(np.arange(len(rows)), lengths)
        share = rng.uniform(*DROPPED, size=len(rows))
        keys = rng.random(len(items))
        rank = np.empty(len(items), np.int64)
        rank[np.lexsort((keys, owner))] = np.arange(len(items)) - offsets[:-1].repeat(lengths)
        kept = rank < np.maximum(2, np.round((1 - share) * lengths)).astype(np.int64)[owner]
        return self.with_items(rows, "items", items[kept], np.bincount(owner[kept], minlength=len(rows)))

    def _insert(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Items near to some of a user's own are shown too, though they are no targets."""
        return self._append(rows, "items", self._beside(rows, rng, self._near_items, np.zeros(len(rows), bool)))

    def _pseudo(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Part of the history is hidden, and items like some of it become targets too: any of a tail user's, else tail
        items alone.
        """
        busy = pc.list_value_length(rows["targets"]).to_numpy() > self._busy
        return self._append(self._drop(rows, rng), "targets", self._beside(rows, rng, self._alike, busy))

    def _beside(
        self, rows: pa.Table, rng: np.random.Generator, near: np.ndarray, tail_only: np.ndarray
    ) -> list[np.ndarray]:
        """For a tenth of each user's items, one of its neighbours in `near` int64[I, k] that is not the user's own.

        tail_only: bool[n], users who take tail items alone.
        """
        items, offsets = self.codes(rows["targets"])
        out = []
        for (start, stop), tail in zip(pairwise(offsets), tail_only.tolist(), strict=True):
            own = items[start:stop]
            chosen = rng.choice(own, max(1, round(INSERTED * len(own))), replace=False)
            found = np.setdiff1d(near[chosen], own)
            found = found[self._tail[found]] if tail else found
            out.append(rng.choice(found, min(len(found), len(chosen)), replace=False))
        return out

    @cached_property
    def _near_items(self) -> np.ndarray:
        """int64[I, NEAR]: each item's nearest others by the victim's vectors."""
        return self.near.search(unit(self.vectors), NEAR + 1)[1][:, 1:]

    @cached_property
    def _alike(self) -> np.ndarray:
        """int64[I, NEAR]: those nearest by content among the items that have a text; for the rest, `_near_items`."""
        if self._content is None:
            return self._near_items
        names, vectors = self._content
        place = pc.index_in(pa.array(names, pa.string()), self._values)
        known, place = place.is_valid().to_numpy(zero_copy_only=False), place.drop_null().to_numpy()
        found = Neighbours(vectors[known]).search(vectors[known], NEAR + 1)[1][:, 1:]
        alike = self._near_items.copy()
        alike[place, : found.shape[1]] = place[found]
        return alike

    def _reorder(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """The order of a history means nothing to a mean of vectors: for consumers that read `decoded.items`."""
        items, offsets = self.codes(rows["items"])
        lengths = np.diff(offsets)
        order = np.lexsort((rng.random(len(items)), np.repeat(np.arange(len(rows)), lengths)))
        return self.with_items(rows, "items", items[order], lengths)

    def _append(self, rows: pa.Table, name: str, added: list[np.ndarray]) -> pa.Table:
        items, offsets = self.codes(rows[name])
        parts = [np.concatenate([items[a:b], more]) for (a, b), more in zip(pairwise(offsets), added, strict=True)]
        return self.with_items(rows, name, np.concatenate(parts), np.array([len(part) for part in parts]))

    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """Show the part of the history whose mean points most nearly where the vector does; hide the rest.

        The nearest items outside the history become hard negatives.
        """
        items, offsets = self.codes(anchors["items"])
        kept, negatives = [], []
        _, near = self.near.search(embedding, self.negatives * 4)
        for row, (start, stop) in enumerate(pairwise(offsets)):
            history = items[start:stop]
            vectors = self.vectors[history]
            direction = embedding[row] - unit(vectors.sum(axis=0))
            order = np.argsort(-(vectors @ direction), kind="stable")
            means = unit(np.cumsum(vectors[order], axis=0))
            least = max(2, round((1 - DROPPED[1]) * len(history)))
            most = max(least, round((1 - DROPPED[0]) * len(history)))
            size = least + int(np.argmax(means[least - 1 : most] @ embedding[row]))
            kept.append(np.sort(order[:size]) + start)
            unseen = near[row][~np.isin(near[row], history)]
            negatives.append(unseen[: self.negatives])
        rows = self.with_items(anchors, "items", items[np.concatenate(kept)], np.array([len(k) for k in kept]))
        rows = self.with_items(rows, "negatives", np.concatenate(negatives), np.array([len(n) for n in negatives]))
        return rows, self.encode(rows)

    def codes(self, column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Item codes of all lists, end to end, and int64[n + 1] offsets."""
        lists = column.combine_chunks()
        codes = pc.index_in(lists.flatten(), self._values).to_numpy(zero_copy_only=False).astype(np.int64)
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        return codes, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def with_items(self, rows: pa.Table, name: str, items: np.ndarray, lengths: np.ndarray) -> pa.Table:
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        lists = pa.ListArray.from_arrays(offsets, self._values.take(pa.array(items)))
        return rows.set_column(rows.column_names.index(name), name, lists.cast(_LIST))


def _content(train: pa.Table, tools: Tools) -> tuple[list[str], np.ndarray] | None:
    """Items and the vectors of their texts, where the source names one and a strategy asks what items are alike."""
    if "text" not in train.column_names or "pseudo-interactions" not in tools.strategies:
        return None
    items, texts = item_texts(train)
    return (items, tools.encoder(texts).encode(texts)) if items else None


def item_texts(train: pa.Table) -> tuple[list[str], list[str]]:
    """Items that have a `text` in some row, and the first text of each."""
    first = train.group_by("item_id", use_threads=False).aggregate([("text", "first")]).drop_null()
    return first["item_id"].to_pylist(), first["text_first"].to_pylist()
