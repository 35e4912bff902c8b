"""Categories of pictures: one of K classes, on frozen vectors of an image encoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from augment.base.errors import UsageError
from augment.contracts.consumer import Looked
from augment.numeric.columns import labels_of
from augment.numeric.measures import Mean, Measure
from augment.pictures.decoding import as_jpeg, decoded
from augment.pictures.edits import FAMILIES, HELD_OUT, Edit
from augment.pictures.encoders import ImageEncoder, check_name, image_encoder
from consumers.models.many_classes import ManyClasses
from consumers.scoring import classification as shared
from consumers.scoring.pixels import right_under_pixels

STRENGTHS = (0.3, 0.9)  # of an attack's edits, from which each draws its own


class Image(ManyClasses):
    """Tables have `image` too, the bytes of a JPEG; see `ManyClasses`."""

    name = "image"
    modality: ClassVar[str] = "images"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("accuracy", "macro_f1", "logloss", "ece"),
        "slices": ("accuracy_rare",),
        "robust": (
            "accuracy_pool",
            "accuracy_unseen",
            "accuracy_unseen_mean",
            "accuracy_pgd",
            "accuracy_apgd",
            "accuracy_pixels",
        ),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("unseen",)
    rehearsed: ClassVar[tuple[str, ...]] = ("accuracy_pool", "accuracy_pgd", "accuracy_apgd")

    class Options(ManyClasses.Options):
        """Of a model of categories of pictures."""

        attacked_rows: int = Field(150, ge=0, description="Test rows, at most, that attacks are made of.")
        variants: int = Field(1, ge=0, description="Of each attacked picture by each family that samples are made of.")
        held_out: int = Field(1, ge=0, description="Of each by each corruption that generation never uses.")
        encoder: str = Field("", description="The task's encoder, through which pixels are attacked; without it, not.")
        pixel_rows: int = Field(24, ge=1, description="Pictures under that attack; each costs a dozen encodings.")

        @field_validator("encoder")
        @classmethod
        def _of_pictures(cls, name: str) -> str:
            try:
                if name:
                    check_name(name)
            except UsageError as error:
                raise ValueError(str(error)) from None
            return name

    options: Options

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """`pool`: by the families that samples are made of; `unseen`: by corruptions held out of generation.

        How many of these a picture is told under is the accuracy under common corruptions of Hendrycks & Dietterich
        (2019).
        """
        rng = np.random.default_rng(seed)
        chosen = test.select(["row_id", "image", "label"]).take(pa.array(self._attacked(test)))
        return {
            "pool": _edited(chosen, [*FAMILIES.values()] * self.options.variants, rng),
            "unseen": _edited(chosen, [*HELD_OUT.values()] * self.options.held_out, rng),
        }

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        """Raises UsageError where the option `encoder` is not the one whose vectors the rows have."""
        measures = super().evaluate(test, attacked)
        if not attacked:
            return measures
        at = self._attacked(test)[: self.options.pixel_rows if self.options.encoder else 0]
        rows, right = test.take(pa.array(at)), np.empty(0)
        if len(at):
            encoder = _encoder(self.options.encoder, self.device)
            if encoder.dim != self.net_.dim:
                raise UsageError(
                    f"option encoder = '{self.options.encoder}' has vectors of {encoder.dim} numbers, and the rows' "
                    f"have {self.net_.dim}: name the task's own encoder"
                )
            right = right_under_pixels(encoder, self.net_, rows["image"].to_pylist(), labels_of(rows["label"]))
        return measures | shared.Users(test).drawn({"accuracy_pixels": Mean(right)}, at)

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        return [
            "weights = [0.3, 1.0]",
            "gates = { band = [-6.0, 6.0] }",
            'encoder = "efficientnet-lite0"',
            "strategies = { gan = 1.0 }",
            'verdict = { clean = ["accuracy"], improve = ["accuracy_pool", "accuracy_unseen_mean"] }',
        ]


@cache
def _encoder(name: str, device: str) -> ImageEncoder:
    return image_encoder(name, None, device)


def _edited(rows: pa.Table, edits: list[Edit], rng: np.random.Generator) -> pa.Table:
    """Each row once by each of the edits."""
    wide = rows.take(pa.array(np.arange(len(rows)).repeat(len(edits))))
    pictures = [decoded(content) for content in rows["image"].to_pylist()]
    made = [as_jpeg(edit(picture, rng, rng.uniform(*STRENGTHS))) for picture in pictures for edit in edits]
    return wide.set_column(wide.column_names.index("image"), "image", pa.array(made, pa.binary()))
