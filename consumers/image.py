"""Categories of pictures: one of K classes, on frozen vectors of an image encoder, or with its last block tuned.

What the generator moves are frozen vectors, and a tuned block reads pictures. So there its victim is a stand-in: the
linear layer that answers on vectors most as the tuned model does on the pictures (a substitute: Papernot et al., 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field

from augment.base.errors import BadInput, UsageError
from augment.contracts.consumer import Looked
from augment.contracts.options import one_of
from augment.numeric.columns import labels_of
from augment.numeric.measures import Mean, Measure
from augment.pictures.decoding import as_jpeg, decoded
from augment.pictures.edits import FAMILIES, HELD_OUT
from augment.pictures.encoders import ImageEncoder, image_encoder
from augment.pictures.halves import Trunk
from consumers.data import storage
from consumers.models import last_block
from consumers.models.last_block import Learnt, Pictures
from consumers.models.many_classes import LR, ManyClasses
from consumers.scoring import classification as shared
from consumers.scoring.file_attacks import edited
from consumers.scoring.pixels import FAR, REACH, right_under_pixels
from gan.losses import belief

LAST_BLOCK = "last-block"
TUNED = "tuned."  # how the names of its arrays begin


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
            "accuracy_pixels_far",
        ),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("unseen",)
    rehearsed: ClassVar[tuple[str, ...]] = ("accuracy_pool", "accuracy_pgd", "accuracy_apgd")

    class Options(ManyClasses.Options):
        """Of a model of categories of pictures."""

        model: Annotated[str, one_of((*LR, LAST_BLOCK))] = Field(
            "logistic",
            description="logistic; mlp: one hidden layer; last-block: the encoder's last block is tuned with it.",
        )
        attacked_rows: int = Field(150, ge=0, description="Test rows, at most, that attacks are made of.")
        variants: int = Field(1, ge=0, description="Of each attacked picture by each family that samples are made of.")
        held_out: int = Field(1, ge=0, description="Of each by each corruption that generation never uses.")
        pixel_rows: int = Field(0, ge=0, description="Pictures of which pixels are attacked, two dozen encodings each.")

    options: Options

    def __init__(self, *, encoder: str = "", seed: int = 0, device: str = "cpu", **options: Any) -> None:
        """encoder: that of the vectors, which model last-block tunes, and through which pixels are attacked."""
        super().__init__(seed=seed, device=device, **options)
        self.encoder = encoder
        if self.options.model == LAST_BLOCK and not encoder:
            raise UsageError(f"{self.name}: model '{LAST_BLOCK}' needs `encoder`, whose last block it tunes")

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "encoder": self.encoder}

    @property
    def solved(self) -> bool:
        return self.options.model == LAST_BLOCK or self.deterministic

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Image:
        rows, held_out = self._rows(train, mix), self._held_out(valid)
        self.net_ = self._best(rows, held_out)
        if self.options.model == LAST_BLOCK:
            self._tune([train] if mix is None else [train, mix], valid, rows, held_out)
        return self

    def _tune(
        self, tables: list[pa.Table], valid: pa.Table, rows: list[torch.Tensor], held_out: tuple[torch.Tensor, ...]
    ) -> None:
        """The last block, and then the stand-in in its vectors' place."""
        trunk, options = self._trunk(self.net_.dim), self.options
        learnt = Learnt(Pictures([each for table in tables for each in _pictures(table)], trunk), rows[1], rows[2])
        unseen = Pictures(_pictures(valid), trunk)
        start = last_block.untuned(trunk, self.net_)
        self.tuned_ = last_block.tune(
            start, learnt, (unseen, held_out[1]), options, options.epochs, options.loss, self.seed
        )
        said, expected = (belief(pictures.logits(self.tuned_)) for pictures in (learnt.pictures, unseen))
        self.net_ = self._best([rows[0], said, torch.ones_like(rows[2])], (held_out[0], expected))

    def predict(self, rows: pa.Table) -> np.ndarray:
        """With the last block tuned, of the rows' pictures; else of their vectors."""
        if self.options.model != LAST_BLOCK:
            return super().predict(rows)
        pictures = Pictures(_pictures(rows), self._trunk(self.net_.dim))
        return belief(pictures.logits(self.tuned_)).cpu().numpy()

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """`pool`: by the families that samples are made of; `unseen`: by corruptions held out of generation.

        How many of these a picture is told under is the accuracy under common corruptions of Hendrycks & Dietterich
        (2019).
        """
        rng = np.random.default_rng(seed)
        chosen = test.select(["row_id", "image", "label"]).take(pa.array(self._attacked(test)))
        return {
            "pool": edited(chosen, "image", [*FAMILIES.values()] * self.options.variants, decoded, as_jpeg, rng),
            "unseen": edited(chosen, "image", [*HELD_OUT.values()] * self.options.held_out, decoded, as_jpeg, rng),
        }

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        """Raises UsageError where `encoder` is not the one whose vectors the rows have."""
        measures = super().evaluate(test, attacked)
        if not attacked:
            return measures
        at = self._attacked(test)[: self.options.pixel_rows if self.encoder else 0]
        measures |= shared.Users(test).drawn(self._under_pixels(test.take(pa.array(at))), at)
        if self.options.model == LAST_BLOCK:  # what it reads are pictures: no vector of theirs can be moved
            measures |= {name: Mean(np.empty(0)) for name in ("accuracy_pgd", "accuracy_apgd")}
        return measures

    def _under_pixels(self, rows: pa.Table) -> dict[str, Measure]:
        """Not measurable of no rows."""
        right = {"accuracy_pixels": np.empty(0), "accuracy_pixels_far": np.empty(0)}
        if len(rows):
            encoder = self._encoder(self.net_.dim)
            logit, pictures, label = self.logits_of_pixels(encoder), rows["image"].to_pylist(), labels_of(rows["label"])
            for name, reach in zip(right, (REACH, FAR), strict=True):
                right[name] = right_under_pixels(encoder, logit, pictures, label, reach)
        return {name: Mean(values) for name, values in right.items()}

    def logits_of_pixels(self, encoder: ImageEncoder) -> Callable[[torch.Tensor], torch.Tensor]:
        """What it says, float32[B, K], of pictures float32[B, 3, H, W] in [0, 1] that `encoder` has the vectors of."""
        if self.options.model != LAST_BLOCK:
            return lambda pixels: self.net_(encoder.embed_pixels(pixels))
        trunk = self._trunk(self.net_.dim)
        return lambda pixels: self.tuned_(trunk.pixels(pixels))

    def _trunk(self, dim: int) -> Trunk:
        self._encoder(dim)
        return _trunk(self.encoder, self.device)

    def _encoder(self, dim: int) -> ImageEncoder:
        encoder = _encoder(self.encoder, self.device)
        if encoder.dim != dim:
            raise UsageError(
                f"encoder '{self.encoder}' has vectors of {encoder.dim} numbers, and the rows' "
                f"have {dim}: name the task's own encoder"
            )
        return encoder

    def _kept(self) -> tuple[storage.Arrays, dict[str, Any]]:
        arrays, settings = super()._kept()
        if self.options.model == LAST_BLOCK:
            arrays |= {f"{TUNED}{name}": array for name, array in shared.state_arrays(self.tuned_).items()}
            settings["encoder"] = self._encoder(self.net_.dim).name
        return arrays, settings

    def _restore(self, arrays: storage.Arrays, settings: dict[str, Any]) -> None:
        super()._restore(arrays, settings)
        if self.options.model == LAST_BLOCK:
            trunk = self._trunk(self.net_.dim)
            if trunk.encoder.name != settings["encoder"]:
                raise BadInput(f"the model was tuned from encoder {settings['encoder']}; here is {trunk.encoder.name}")
            self.tuned_ = last_block.untuned(trunk, self.net_).requires_grad_(False).eval()
            shared.load_arrays(self.tuned_, {name.removeprefix(TUNED): array for name, array in arrays.items()})

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


@cache
def _trunk(name: str, device: str) -> Trunk:
    """One a process, with what it made of the pictures that any model asked it for."""
    return Trunk(_encoder(name, device))


def _pictures(rows: pa.Table) -> list[bytes]:
    """Of real rows, or of samples; raises UsageError for samples that are vectors alone."""
    found = rows["image"] if "image" in rows.column_names else pc.struct_field(rows["decoded"], "image")
    if found.null_count:
        raise UsageError(
            f"model '{LAST_BLOCK}' learns from pictures, and {found.null_count:,} of {len(rows):,} samples are vectors "
            "alone: set `generator.decode` to true"
        )
    return found.to_pylist()
