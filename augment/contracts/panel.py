"""A teacher that is several models of one kind: its label is their mean, its spread how far they differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from augment.contracts.teacher import Teacher
from augment.contracts.values import Candidates
from augment.numeric.columns import with_vectors

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer
    from augment.numeric.measures import Measure


class Panel(Teacher):
    """members: consumers, once it is fitted."""

    members: Sequence[Consumer] = ()

    def opinions(self, rows: pa.Table) -> np.ndarray:
        """float32[k, n], or [k, n, K]: what each of those who may speak of a row says, rows in any order of theirs."""
        return np.stack([member.predict(rows) for member in self.members])

    def predict(self, rows: pa.Table) -> np.ndarray:
        """float32[n], or float32[n, K] of K classes."""
        return self.opinions(rows).mean(axis=0)

    def measures(self, rows: pa.Table) -> dict[str, Measure]:
        """Of the panel as one model: consumers evaluate what they `predict`."""
        one = copy.copy(self.members[0])
        vars(one)["predict"] = self.predict
        return one.evaluate(rows, {})

    def label(self, candidates: Candidates) -> Candidates:
        """spread: the largest probability that a member gives less the smallest, of the class where this is most."""
        said = self.opinions(with_vectors(candidates.rows, candidates.embedding))
        label, spread = said.mean(axis=0), said.max(axis=0) - said.min(axis=0)
        spread = spread.max(axis=1) if spread.ndim > 1 else spread
        return replace(candidates, label=label.astype(np.float32), spread=spread.astype(np.float32))
