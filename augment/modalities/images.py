"""Pictures: a frozen image encoder, real edits, and the edit most like a move as its decoded form."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.contracts.modality import Perturbation, Prepared, RowRules, Tools
from augment.contracts.result import Example
from augment.modalities.embedded import Edited
from augment.pictures.encoders import DEFAULT, ImageEncoder, check_name, image_encoder

EXAMPLES = 8  # in a report


class Images(Edited):
    """Rows have `image`, a normalised JPEG, and `embedding` once `attach` has encoded them."""

    name = "images"
    content = "image"
    rows = RowRules(needs=("image", "label"), filled=("image",), unlabelled="kept", copies=True)
    perturbations: ClassVar = {
        "crop": Perturbation("cut and zoomed"),
        "blur": Perturbation("out of focus, or the camera shook"),
        "jpeg": Perturbation("saved as JPEG again and again"),
        "light": Perturbation("colour cast, low light"),
        "occlusion": Perturbation("a hand or a price tag in front"),
        "watermark": Perturbation("watermark, or a banner with an offer"),
        "rotation": Perturbation("turned, and mirrored at times"),
        "background": Perturbation("background of another colour"),
    }
    decoded = pa.struct([("image", pa.binary())])
    default_encoder = DEFAULT

    @classmethod
    def check_encoder(cls, name: str) -> None:
        check_name(name)

    @classmethod
    def encoder_of(cls, name: str, cache: Path | None, device: str, ngrams: Any = None) -> ImageEncoder:
        return image_encoder(name, cache, device)

    @classmethod
    def prepare(cls, texts: Callable[[], list[str]], tools: Tools, ngrams: Any = None) -> Prepared:
        return cls(tools.encoder(()))

    @classmethod
    def examples(cls, samples: pa.Table, rows: Iterable[pa.Table]) -> list[Example]:
        """Of each strategy in turn, up to `EXAMPLES`; of those that are pictures."""
        samples = samples.filter(pc.is_valid(samples["decoded"]))
        by_strategy: dict[str, list[int]] = {}
        for place, strategy in enumerate(samples["strategy"].to_pylist()):
            by_strategy.setdefault(strategy, []).append(place)
        turns = zip_longest(*by_strategy.values())
        chosen = [place for turn in turns for place in turn if place is not None][:EXAMPLES]
        shown = samples.select(["strategy", "anchor_id", "decoded"]).take(pa.array(chosen, pa.int64())).to_pylist()
        wanted = pa.array([one["anchor_id"] for one in shown], pa.string())
        before: dict[str, bytes] = {}
        for table in rows:
            found = table.select(["row_id", "image"]).filter(pc.is_in(table["row_id"], wanted))
            before |= dict(zip(*(found[name].to_pylist() for name in ("row_id", "image")), strict=True))
        return [
            Example(
                strategy=one["strategy"],
                before=_thumbnail(before[one["anchor_id"]]),
                after=_thumbnail(one["decoded"]["image"]),
            )
            for one in shown
        ]

    def edited(self, content: bytes, name: str, seed: int, strength: float) -> bytes:
        from augment.pictures.decoding import as_jpeg, decoded
        from augment.pictures.edits import FAMILIES

        return as_jpeg(FAMILIES[name](decoded(content), np.random.default_rng(seed), strength))


def _thumbnail(picture: bytes) -> str:
    """A JPEG of 96 pixels at most, in base64."""
    from augment.pictures.decoding import thumbnail

    return base64.b64encode(thumbnail(picture, 96)).decode()
