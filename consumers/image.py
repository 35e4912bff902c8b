"""Categories of pictures: one of K classes, on frozen vectors of an image encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.contracts.consumer import Looked
from augment.pictures.decoding import as_jpeg, decoded
from augment.pictures.edits import FAMILIES, HELD_OUT, Edit
from consumers.models.many_classes import ManyClasses

STRENGTHS = (0.3, 0.9)  # of an attack's edits, from which each draws its own


class Image(ManyClasses):
    """Tables have `image` too, the bytes of a JPEG; see `ManyClasses`."""

    name = "image"
    modality: ClassVar[str] = "images"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("accuracy", "macro_f1", "logloss", "ece"),
        "slices": ("accuracy_rare",),
        "robust": ("accuracy_pool", "accuracy_unseen", "accuracy_pgd", "accuracy_apgd"),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("unseen",)
    rehearsed: ClassVar[tuple[str, ...]] = ("accuracy_pool", "accuracy_pgd", "accuracy_apgd")

    class Options(ManyClasses.Options):
        """Of a model of categories of pictures."""

        attacked_rows: int = Field(150, ge=0, description="Test rows, at most, that attacks are made of.")
        variants: int = Field(1, ge=0, description="Of each attacked picture by each family that samples are made of.")
        held_out: int = Field(1, ge=0, description="Of each by each corruption that generation never uses.")

    options: Options

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """`pool`: by the families that samples are made of; `unseen`: by corruptions held out of generation."""
        rng = np.random.default_rng(seed)
        chosen = test.select(["row_id", "image", "label"]).take(pa.array(self._attacked(test)))
        return {
            "pool": _edited(chosen, [*FAMILIES.values()] * self.options.variants, rng),
            "unseen": _edited(chosen, [*HELD_OUT.values()] * self.options.held_out, rng),
        }

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        return [
            "weight = 0.25",
            "gates = { band = [-6.0, 6.0] }",
            'encoder = "efficientnet-lite0"',
            "strategies = { gan = 1.0 }",
            'verdict = { clean = ["accuracy"], improve = ["accuracy_pool", "accuracy_unseen"] }',
        ]


def _edited(rows: pa.Table, edits: list[Edit], rng: np.random.Generator) -> pa.Table:
    """Each row once by each of the edits."""
    wide = rows.take(pa.array(np.arange(len(rows)).repeat(len(edits))))
    pictures = [decoded(content) for content in rows["image"].to_pylist()]
    made = [as_jpeg(edit(picture, rng, rng.uniform(*STRENGTHS))) for picture in pictures for edit in edits]
    return wide.set_column(wide.column_names.index("image"), "image", pa.array(made, pa.binary()))
