"""Real perturbations, as they come: typos, masked and swapped fields, hidden interactions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.base.errors import suggest
from augment.contracts.modality import Modality, Perturbation
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates


class Noise(Strategy):
    name = "noise"
    what = "a blend of the task's real perturbations"
    kind: ClassVar[str] = ""  # of a strategy that is one perturbation

    class Options(BaseOptions):
        kind: str = Field("", description="One of the task's perturbations alone; '' for a blend of them.")

    @classmethod
    def of(cls, kind: str, about: Perturbation) -> type[Strategy]:
        """The strategy that is one perturbation, under its name, for every modality that has it."""
        is_it = {"name": kind, "kind": kind, "what": about.what, "novel": about.novel, "Options": BaseOptions}
        return type(kind, (cls,), is_it)

    @classmethod
    def serves(cls, modality: type[Modality]) -> bool:
        return not cls.kind or cls.kind in modality.perturbations

    @classmethod
    def missing(cls, options: BaseOptions, modality: type[Modality]) -> str:
        if not (kind := cls._kind(options)):
            return ""
        if kind not in modality.perturbations:
            raise ValueError(f"unknown kind '{kind}'{suggest(kind, modality.perturbations)}")
        return modality.perturbations[kind].missing()

    def propose(self, anchors: np.ndarray, rng: np.random.Generator) -> Candidates:
        modality = self.workshop.modality
        repeated = np.repeat(anchors, modality.draws)
        rows = self.workshop.anchors.rows.take(pa.array(repeated))
        rows = modality.perturb(rows, rng, self._kind(self.options))
        return Candidates(repeated, rows, modality.encode(rows))

    @classmethod
    def _kind(cls, options: BaseOptions) -> str:
        return cls.kind or getattr(options, "kind", "")
