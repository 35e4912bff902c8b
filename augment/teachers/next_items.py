"""What comes next, by a plain model that never saw the user: it names the targets of a synthetic sequence.

What a sequence was edited to may lead elsewhere than to its anchor's last item. A plain model of the consumer, one that
scores any sequence it is shown (neighbours of sessions, EASE on recent items), says where.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from augment.base.errors import suggest
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Histories
from augment.contracts.options import BaseOptions
from augment.contracts.teacher import Room, Teacher
from augment.contracts.values import Candidates
from augment.numeric.columns import whole
from augment.numeric.measures import Measure
from augment.numeric.vectors import highest_places

HALVES = 2
ROWS = 512  # at a time: bounds the memory


class NextItems(Teacher):
    """Cross-fitted over two halves of users: each is labelled by the model of the other half.

    It is chosen by what that plain model, fitted on all users, is worth on validation rows.
    """

    name = "next-items"
    what = "a plain model of sequences names what comes next after each synthetic one"
    needs = Histories

    class Options(BaseOptions):
        of: str = Field("EASE, recency", description="The plain model of the consumer that says what comes next.")
        items: int = Field(5, ge=1, description="Targets: its best items of those that are not in the sequence.")
        own: bool = Field(True, description="Beside them, the target that the sample had.")

    @classmethod
    def unfit(cls, options: Any, consumer: type[Consumer]) -> str:
        plain = consumer.baselines(0, "cpu")
        if options.of not in plain:
            return f"of = '{options.of}' is no plain model{suggest(options.of, plain)}"
        return "" if hasattr(plain[options.of], "scores") else f"of = '{options.of}' scores no sequences"

    def fit(self, room: Room) -> NextItems:
        users = pc.unique(whole(room.train["user_id"])).sort()
        self._users, half = users, np.random.default_rng(room.seed).permutation(len(users)) % HALVES
        self._half = half
        rows = {self.options.of: room.train}
        for number in range(HALVES):
            others = users.filter(pa.array(half != number))
            chosen = pc.is_in(room.train["user_id"], value_set=others)
            rows[f"{self.options.of} without half {number}"] = room.train.filter(chosen)
        models = {name: (room.plain(room.seed)[self.options.of], table) for name, table in rows.items()}
        fitted: list[Any] = room.trained(models)
        self._plain, self._without = fitted[0], fitted[1:]
        return self

    def measures(self, rows: pa.Table) -> dict[str, Measure]:
        return self._plain.evaluate(rows, {})

    def label(self, candidates: Candidates) -> Candidates:
        """With its targets; spread: the share of them on which the models of both halves differ."""
        rows = candidates.rows
        place = pc.index_in(whole(rows["row_id"]), self._users)
        half = self._half[place.to_numpy(zero_copy_only=False)]
        shown, had = whole(rows["items"]), whole(rows["targets"]).to_pylist()
        named = [self._named(model, shown) for model in self._without]
        targets, spread = [], np.empty(len(rows), np.float32)
        for i, number in enumerate(half.tolist()):
            mine, other = named[number][i], named[1 - number][i]
            spread[i] = 1 - len({*mine} & {*other}) / max(1, min(len(mine), len(other)))
            targets.append([*dict.fromkeys([*(had[i] if self.options.own else []), *mine])])
        column = pa.array(targets, rows.schema.field("targets").type)
        return replace(candidates, rows=rows.set_column(rows.column_names.index("targets"), "targets", column),
                       spread=spread)  # fmt: skip

    def _named(self, model: Any, shown: pa.Array) -> list[list[str]]:
        """The model's best items of those that each sequence has not."""
        names, found = model.items_, list[list[str]]()
        for start in range(0, len(shown), ROWS):
            some = shown.slice(start, ROWS)
            scores = model.scores(some)
            item = pc.index_in(some.flatten(), names)
            row = np.repeat(np.arange(len(some)), pc.list_value_length(some).to_numpy(zero_copy_only=False))
            known = item.is_valid().to_numpy(zero_copy_only=False)
            scores[row[known], item.drop_null().to_numpy()] = -np.inf
            best = highest_places(scores, self.options.items)
            found += [names.take(pa.array(places)).to_pylist() for places in best]
        return found
