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
from augment.contracts.values import Bank
from augment.modalities.embedded import Embedded, nearest_edits
from augment.pictures.encoders import DEFAULT, ImageEncoder, check_name, image_encoder

STRENGTHS = (0.15, 0.85)  # of real edits in the bank, the least and the most
MEAN = sum(STRENGTHS) / 2
EXAMPLES = 8  # in a report
LEAST = 0.05  # strength of an edit that a move is decoded to


class Images(Embedded):
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

    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """Copies have columns more that say how each was edited: the family `edit`, `strength` and `seed`."""
        names = [kind] * len(rows) if kind else rng.choice(list(self.perturbations), len(rows)).tolist()
        strength, seed = rng.uniform(*STRENGTHS, len(rows)), rng.integers(2**32, size=len(rows))
        made = self._edited(rows, names, strength, seed)
        for name, column in (("edit", names), ("strength", strength), ("seed", seed)):
            made = made.append_column(name, pa.array(column))
        return made

    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """Each anchor's own picture, really edited the way it was moved, and its true vector.

        The edit is the bank's whose displacement points most nearly where the move does, done again with its seed: the
        same corner cut, the same hand in the same place; the stronger the longer the move is beside that family's
        displacements: vectors move by the root of the strength (measured). What did not move keeps its picture.
        """
        found = nearest_edits(embedding - self.encode(anchors), bank)
        if found is None:
            return anchors, self.encode(anchors)
        place, share = found
        edits = bank.rows.select(["edit", "strength", "seed"]).take(pa.array(place))
        strength = np.where(share > 0, np.clip(MEAN * share**2, LEAST, 1), 0)
        rows = self._edited(anchors, edits["edit"].to_pylist(), strength, edits["seed"].to_numpy())
        return rows, self.encode(rows)

    def _edited(self, rows: pa.Table, names: list[str], strength: np.ndarray, seed: np.ndarray) -> pa.Table:
        """The rows with their pictures edited, by the family, strength and seed of each; 0 leaves one as it is."""
        from augment.pictures.decoding import as_jpeg, decoded
        from augment.pictures.edits import FAMILIES

        edits = zip(rows["image"].to_pylist(), names, strength.tolist(), seed.tolist(), strict=True)
        made = [
            as_jpeg(FAMILIES[name](decoded(image), np.random.default_rng(n), s)) if s else image
            for image, name, s, n in edits
        ]
        return self.with_content(rows, pa.array(made, pa.binary()))


def _thumbnail(picture: bytes) -> str:
    """A JPEG of 96 pixels at most, in base64."""
    from augment.pictures.decoding import thumbnail

    return base64.b64encode(thumbnail(picture, 96)).decode()
