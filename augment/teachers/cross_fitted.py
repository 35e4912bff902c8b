"""Models of folds: what is made of a row is labelled by those that never saw it (cross-fitting).

A model that has seen a row says its click again, which is chance; one that has not says how likely it was.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.base.errors import suggest
from augment.contracts.consumer import Consumer
from augment.contracts.options import BaseOptions
from augment.contracts.panel import Panel
from augment.contracts.teacher import Room


class CrossFitted(Panel):
    name = "cross-fitted"
    what = "models of folds of the rows; each sample is labelled by those that never saw its anchor"
    unseen = True

    class Options(BaseOptions):
        of: str = Field("", description="A strong plain model of the consumer, by its name; without it, the consumer.")
        folds: int = Field(5, ge=2, description="Each model is trained on all of them but one.")
        deals: int = Field(
            2, ge=1, description="Times that rows are dealt out to folds: as many models label a sample."
        )

    @classmethod
    def unfit(cls, options: Any, consumer: type[Consumer]) -> str:
        plain = consumer.baselines(0, "cpu")
        known = not options.of or options.of in plain
        return "" if known else f"of = '{options.of}' is no plain model{suggest(options.of, plain)}"

    def fit(self, room: Room) -> CrossFitted:
        wanted, self._seed = self.options, room.seed
        wholes = {}
        for deal in range(wanted.deals):
            fold = self._folds(room.train, deal)
            for number in range(wanted.folds):
                seed = room.seed + deal * wanted.folds + number
                model = room.plain(seed)[wanted.of] if wanted.of else room.make(seed)
                name = f"{wanted.of or 'own'}-{wanted.folds}-{deal}-{number}"
                wholes[name] = model, room.train.filter(pa.array(fold != number))
        self.members = room.trained(wholes)
        return self

    def opinions(self, rows: pa.Table) -> np.ndarray:
        """One of each deal: the model of the row's own fold, which is the same for a row and for what is made of it."""
        out = np.empty((self.options.deals, len(rows)), np.float32)
        for deal in range(self.options.deals):
            fold = self._folds(rows, deal)
            for number in np.unique(fold):
                at = np.flatnonzero(fold == number)
                said = self.members[deal * self.options.folds + int(number)].predict(rows.take(pa.array(at)))
                if said.ndim >= out.ndim:  # a number for each of K classes
                    out = np.empty((*out.shape, said.shape[1]), np.float32)
                out[deal, at] = said
        return out

    def _folds(self, rows: pa.Table, deal: int) -> np.ndarray:
        """int64[n], by the rows' ids alone: the same wherever they turn up."""
        named = (f"{self._seed}:{deal}:{row}".encode() for row in rows["row_id"].to_pylist())
        return np.fromiter((crc32(name) % self.options.folds for name in named), np.int64, len(rows))
