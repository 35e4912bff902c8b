"""Categories of clips, films or sounds: one of K classes, on frozen vectors of an encoder that pools over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.contracts.consumer import Looked
from augment.pictures.clips import DEFAULT, closed, opened
from augment.pictures.cuts import FAMILIES, HELD_OUT
from consumers.models.many_classes import ManyClasses
from consumers.scoring.file_attacks import edited


class Clip(ManyClasses):
    """Tables have `clip` too, the bytes of one made small; see `ManyClasses`."""

    name = "clip"
    modality: ClassVar[str] = "clips"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("accuracy", "macro_f1", "logloss", "ece"),
        "slices": ("accuracy_rare",),
        "robust": ("accuracy_pool", "accuracy_unseen", "accuracy_pgd", "accuracy_apgd"),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("unseen",)
    rehearsed: ClassVar[tuple[str, ...]] = ("accuracy_pool", "accuracy_pgd", "accuracy_apgd")

    class Options(ManyClasses.Options):
        """Of a model of categories of clips."""

        variants: int = Field(1, ge=0, description="Of each attacked clip by each family that samples are made of.")
        held_out: int = Field(1, ge=0, description="Of each by noise, which generation never adds.")

    options: Options

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """`pool`: by the edits that samples are made of; `unseen`: with noise."""
        rng = np.random.default_rng(seed)
        chosen = test.select(["row_id", "clip", "label"]).take(pa.array(self._attacked(test)))
        return {
            "pool": edited(chosen, "clip", [*FAMILIES.values()] * self.options.variants, opened, closed, rng),
            "unseen": edited(chosen, "clip", [*HELD_OUT.values()] * self.options.held_out, opened, closed, rng),
        }

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        return [
            "weights = [0.3, 1.0]",
            "gates = { band = [-6.0, 6.0] }",
            f'encoder = "{DEFAULT}"',
            "strategies = { gan = 1.0 }",
            'verdict = { clean = ["accuracy"], improve = ["accuracy_pool", "accuracy_unseen"] }',
        ]
