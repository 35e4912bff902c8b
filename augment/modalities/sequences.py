"""Sequences of items, in their order: a vector is the mean of the items' vectors, the latest weighing most.

A sample is a synthetic sequence: `items` in their order are what the model is shown, `targets` what comes next (the
anchor's last item, unless a teacher names others), `negatives` hard items that do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import BadInput
from augment.contracts.modality import MORE_ROWS, Perturbation, RowRules
from augment.contracts.values import Bank, Described, Labeller, Validity
from augment.gates.rankings import RankingValidity
from augment.modalities.behaviour import ACTIVITY_GROUPS, Behaviour
from augment.numeric.columns import whole
from augment.numeric.ease import FOLDS
from augment.numeric.sequences import TAU
from augment.numeric.sequences import Sequences as Jagged
from augment.numeric.vectors import unit

if TYPE_CHECKING:
    from augment.recipes.schema import Gates

CROPPED = 0.6  # share of a sequence that a crop leaves, at least
MASKED, REORDERED = 0.3, 0.5  # shares that are masked, and that lose their order
CHANGED = 0.2  # share of items that others are put in beside, or in the place of
LONGEST = 50  # items of an anchor, the latest
LEAST = 4  # interactions of an anchor: fewer leave nothing to edit
TRIES = 6  # real edits of an anchor, of which the nearest to a vector is what it decodes to
_LIST = pa.list_(pa.string())


class Sequences(Behaviour):
    """Item vectors are those the victim learnt, frozen, as in `Behaviour`; what an edit leaves is never empty.

    Correlated items are the nearest by these vectors.
    """

    name = "sequences"
    rows = RowRules(needs=("user_id", "item_id", "timestamp"), classes=False)
    perturbations: ClassVar = {
        "crop": Perturbation("the oldest part of a sequence cut off (CL4SRec; Xie et al., 2022)"),
        "mask": Perturbation("some items of a sequence missing (CL4SRec; Xie et al., 2022)"),
        "insert": Perturbation("correlated items slipped into a sequence (CoSeRec; Liu et al., 2021)"),
        "substitute": Perturbation("items of a sequence replaced by correlated ones (CoSeRec; Liu et al., 2021)"),
        "reorder": Perturbation("a part of a sequence in another order (CL4SRec; Xie et al., 2022)"),
    }
    decoded = Behaviour.decoded
    normalised = True

    @classmethod
    def check_enough(cls, source: str, train: pa.Table) -> None:
        counts = pc.value_counts(whole(train["user_id"])).field("counts").to_numpy()
        able = int((counts >= LEAST).sum())
        if able < FOLDS:
            raise BadInput(
                f"sources.{source}: {able} of {len(counts):,} users have {LEAST} rows in {len(train):,} training rows; "
                f"{FOLDS} such users are needed, to make samples of one and judge them by the other: {MORE_ROWS}"
            )

    def anchors(self, train: pa.Table, unlabelled: pa.Table | None = None) -> pa.Table:
        """One row per user with at least `LEAST` rows of items that the victim knows: the latest, in order of time."""
        users = pc.unique(whole(train["user_id"])).sort()
        every = Jagged.of(train, users, self._values).last(LONGEST + 1)
        able = np.flatnonzero(every.lengths >= LEAST)
        every = every.take(able)
        last = every.ages == 0
        rows = pa.table({"row_id": users.take(pa.array(able))})
        none = pa.array([[]] * len(rows), _LIST)
        for name in ("items", "targets", "negatives"):
            rows = rows.append_column(name, none)
        for name, part in (("items", every.kept(~last)), ("targets", every.kept(last))):
            rows = self.with_items(rows, name, part.items, part.lengths)
        return rows

    def validity(
        self, rows: pa.Table, embedding: np.ndarray, gates: Gates, seed: int, teacher: Labeller | None = None
    ) -> Validity:
        """Models that never saw the anchor tell whether its target still is likely after the edit."""
        shown, wanted = (Jagged(*self.codes(rows[name])) for name in ("items", "targets"))
        parts = [np.concatenate(pair) for pair in zip(shown, wanted, strict=True)]
        known = self.with_items(rows, "targets", np.concatenate(parts), np.array([len(part) for part in parts]))
        return RankingValidity(known, gates.false_negative_share, seed, teacher)

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        """The target is what comes next; segments are quartiles of length."""
        target, offsets = self.codes(rows["targets"])
        target = target[offsets[:-1]]
        lengths = pc.list_value_length(whole(rows["items"])).to_numpy(zero_copy_only=False)
        edges = np.quantile(lengths, np.arange(1, ACTIVITY_GROUPS) / ACTIVITY_GROUPS)
        return Described(target, np.searchsorted(edges, lengths), self.vectors[target])

    def encode(self, rows: pa.Table) -> np.ndarray:
        shown = Jagged(*self.codes(rows["items"]))
        return unit(np.asarray(shown.matrix(len(self.vectors), TAU) @ self.vectors, np.float32))

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """By default each row gets one kind, by chance."""
        edits = {
            "crop": self._crop,
            "mask": self._mask,
            "insert": self._insert_near,
            "substitute": self._substitute,
            "reorder": self._shuffle,
        }
        drawn = [kind] * len(rows) if kind else rng.choice(list(edits), len(rows)).tolist()
        shown = Jagged(*self.codes(rows["items"]))
        parts = [edits[one](items, rng) for one, items in zip(drawn, shown, strict=True)]
        return self.with_items(rows, "items", np.concatenate(parts), np.array([len(part) for part in parts]))

    def _crop(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What is latest stays, as the target comes after it."""
        least = min(int(np.ceil(CROPPED * len(items))), len(items) - 1)
        return items[-int(rng.integers(max(1, least), max(2, len(items)))) :]

    def _mask(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        hidden = rng.choice(len(items), min(len(items) - 1, max(1, round(MASKED * len(items)))), replace=False)
        return np.delete(items, hidden)

    def _insert_near(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        at = np.sort(rng.choice(len(items), max(1, round(CHANGED * len(items))), replace=False))
        return np.insert(items, at, self._beside_each(items[at], rng))

    def _substitute(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        at = rng.choice(len(items), max(1, round(CHANGED * len(items))), replace=False)
        out = items.copy()
        out[at] = self._beside_each(items[at], rng)
        return out

    def _shuffle(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A stretch of at least two items, begun anywhere."""
        size = min(len(items), max(2, round(REORDERED * len(items))))
        start = int(rng.integers(len(items) - size + 1))
        out = items.copy()
        out[start : start + size] = rng.permutation(items[start : start + size])
        return out

    def _beside_each(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64[n]: of each item one of its `NEAR` nearest, or itself where it has none."""
        near = self._near_items
        return near[items, rng.integers(near.shape[1], size=len(items))] if near.shape[1] else items

    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """The one of a few real edits of the anchor that is nearest to the vector.

        The nearest items outside the anchor's sequence become hard negatives.
        """
        repeated = anchors.take(pa.array(np.repeat(np.arange(len(anchors)), TRIES)))
        tried = self.perturb(repeated, rng)
        near = (self.encode(tried).reshape(len(anchors), TRIES, -1) * embedding[:, None]).sum(axis=2)
        best = near.argmax(axis=1) + np.arange(len(anchors)) * TRIES
        rows = tried.take(pa.array(best))
        own = zip(Jagged(*self.codes(anchors["items"])), Jagged(*self.codes(anchors["targets"])), strict=True)
        _, others = self.near.search(embedding, self.negatives * 4)
        hard = [
            other[~np.isin(other, np.concatenate(pair))][: self.negatives]
            for other, pair in zip(others, own, strict=True)
        ]
        rows = self.with_items(rows, "negatives", np.concatenate(hard), np.array([len(part) for part in hard]))
        return rows, self.encode(rows)
