"""Several teachers at once: those of different families err on different rows."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from augment.base.errors import UsageError
from augment.contracts.consumer import Consumer
from augment.contracts.options import BaseOptions
from augment.contracts.panel import Panel
from augment.contracts.teacher import Room, build, check


class Mean(Panel):
    name = "mean"
    what = "the mean of several teachers, whose spread is how far these differ"

    class Options(BaseOptions):
        of: str = Field(description='Teachers joined by +, such as "cross-fitted+boosted trees", at their defaults.')

        @field_validator("of")
        @classmethod
        def _several(cls, of: str) -> str:
            if len(names := of.split("+")) < 2 or "mean" in names:
                raise ValueError("must name two other teachers or more, joined by +")
            return of

    @classmethod
    def unfit(cls, options: Any, consumer: type[Consumer]) -> str:
        try:
            for name in options.of.split("+"):
                check(name, consumer, {}, "of")
                if not isinstance(build(name, {}), Panel):
                    return f"of: '{name}' is no panel of models, whose opinions of any row can be averaged"
        except UsageError as error:
            return str(error)
        return ""

    def fit(self, room: Room) -> Mean:
        self._parts = [cast(Panel, build(name, {}).fit(room)) for name in self.options.of.split("+")]
        self.members = [member for part in self._parts for member in part.members]
        self.unseen = all(part.unseen for part in self._parts)
        return self

    def opinions(self, rows: pa.Table) -> np.ndarray:
        return np.stack([part.predict(rows) for part in self._parts])
