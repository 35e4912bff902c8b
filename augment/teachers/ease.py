"""What a shop's vectors cannot hold, EASE knows: it names what each synthetic user wants.

A retrieval model learns of a user the items that the user has, and what these have in common with others' items fades
in its few numbers. EASE sees every pair of items, but serves no vectors. So its best items for a user, seen from the
user's whole history, become the targets: distillation of ranks (Tang & Wang, 2018) by samples that any model can read.
Beside a factor model it knows more than either (a plain model whose ranker has `of_factors`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.sparse import csr_matrix

from augment.base.errors import Refused, suggest
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Histories
from augment.contracts.options import BaseOptions
from augment.contracts.teacher import Room, Teacher
from augment.contracts.values import Candidates
from augment.numeric.columns import whole
from augment.numeric.ease import MAX_ITEMS, LeftOut
from augment.numeric.histories import ordered, recent
from augment.numeric.measures import Measure
from augment.numeric.new_items import standardised
from augment.numeric.vectors import highest_places

USERS = 1024  # at a time: bounds the memory


class Ease(Teacher):
    """It is chosen by the NDCG of a plain model of the consumer, fitted on the same rows and tuned on validation rows.

    The labels are of EASE with what that model was tuned to, but of each user the model of all others: what they are
    worth is what that plain model is worth, a little less since no user is asked about what it taught.
    """

    name = "ease"
    what = "EASE on recent items names what each synthetic user wants: for retrieval models"
    needs = Histories

    class Options(BaseOptions):
        of: str = Field(
            "EASE, recency, inverse propensity",
            description="The plain model of the consumer, an EASE or one beside a factor model, that says how.",
        )
        items: int = Field(15, ge=1, description="Targets: its best items of those that the user does not have.")
        own: bool = Field(False, description="Beside them, the targets that the sample had, which the user has.")

    @classmethod
    def unfit(cls, options: Any, consumer: type[Consumer]) -> str:
        plain = consumer.baselines(0, "cpu")
        if options.of not in plain:
            return f"of = '{options.of}' is no plain model{suggest(options.of, plain)}"
        one = plain[options.of]  # of sequences it says what comes next, and is the teacher `next-items`
        is_it = getattr(one, "model", "") in ("ease", "blend") and hasattr(one, "propensity")
        return "" if is_it else f"of = '{options.of}' is no EASE of a recommender"

    def fit(self, room: Room) -> Ease:
        """Raises Refused where there are more items than EASE serves."""
        users, items = (pc.unique(whole(room.train[name])).sort() for name in ("user_id", "item_id"))
        if len(items) > MAX_ITEMS:
            raise Refused(f"{len(items):,} items: EASE serves up to {MAX_ITEMS:,}")
        (plain,) = room.trained({self.options.of: (room.plain(room.seed)[self.options.of], room.train)})
        self._plain: Any = plain
        history = ordered(room.train, users, items)  # users and items in the order of the plain model
        half = np.random.default_rng(room.seed).permutation(len(users)) % 2 == 0
        best, first, second = (self._best(history, members) for members in (None, half, ~half))
        self._users, self._targets = users, _names(best, items)
        shared = [len(np.intersect1d(*pair)) / max(1, min(map(len, pair))) for pair in zip(first, second, strict=True)]
        self._spread = 1 - np.array(shared, np.float32)
        return self

    def measures(self, rows: pa.Table) -> dict[str, Measure]:
        return self._plain.evaluate(rows, {})

    def label(self, candidates: Candidates) -> Candidates:
        """With its targets; spread: the share of them on which EASE of one half of users and of the other differ."""
        rows = candidates.rows
        place = pc.index_in(whole(rows["row_id"]), self._users)
        targets = self._targets.take(place)
        if self.options.own:
            targets = _joined(targets, whole(rows["targets"]))
        at = rows.column_names.index("targets")
        rows = rows.set_column(at, "targets", targets.cast(rows.schema.field("targets").type))
        return replace(candidates, rows=rows, spread=self._spread[place.to_numpy(zero_copy_only=False)])

    def _best(self, history: csr_matrix, members: np.ndarray | None) -> list[np.ndarray]:
        """Of each user the best items int64[at most `items`] of the model of the other `members`, best first."""
        l2 = self._plain.l2_ * (1.0 if members is None else members.mean())
        model, shown = LeftOut(history, l2, members), recent(history, *self._plain.recency_)
        popularity = np.maximum(history.getnnz(axis=0), 1)
        worth = (popularity**-self._plain.propensity).astype(np.float32)
        found: list[np.ndarray] = []
        for start in range(0, history.shape[0], USERS):
            users = np.arange(start, min(start + USERS, history.shape[0]))
            scores = model.scores(users, shown[users]) * worth
            if self._plain.model == "blend":
                scores = standardised(scores) + self._plain.ranker_.of_factors(self._plain.state_, shown[users], users)
            scores[history[users].nonzero()] = -np.inf
            found += highest_places(scores, self.options.items)
        return found


def _names(lists: list[np.ndarray], items: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items.take(pa.array(np.concatenate(lists))))


def _joined(first: pa.ListArray, second: pa.ListArray) -> pa.Array:
    """Both lists of each row in one, without repeats."""
    pairs = zip(first.to_pylist(), second.to_pylist(), strict=True)
    return pa.array([[*dict.fromkeys([*a, *b])] for a, b in pairs], first.type)
