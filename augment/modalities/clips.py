"""Clips, films or sounds: a frozen encoder that pools over time, and real edits over time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from augment.contracts.modality import Perturbation, Prepared, RowRules, Tools
from augment.modalities.embedded import Edited
from augment.pictures.clips import DEFAULT, ClipEncoder, check_name, clip_encoder, closed, content_of, opened
from augment.pictures.content import Content
from augment.pictures.cuts import FAMILIES


class Clips(Edited):
    """Rows have `clip`, a clip made small (see `pictures.clips`), and `embedding` once `attach` has encoded them."""

    name = "clips"
    content = "clip"
    rows = RowRules(needs=("clip", "label"), filled=("clip",), unlabelled="kept", copies=True)
    perturbations: ClassVar = {
        "trim": Perturbation("begins later and ends sooner"),
        "gaps": Perturbation("pieces are lost, as over a bad line"),
    }
    decoded = pa.struct([("clip", pa.binary())])
    default_encoder = DEFAULT

    @classmethod
    def check_encoder(cls, name: str) -> None:
        check_name(name)

    @classmethod
    def encoder_of(cls, name: str, cache: Path | None, device: str, ngrams: Any = None) -> ClipEncoder:
        return clip_encoder(name, cache, device)

    @classmethod
    def files(cls, encoder: str) -> Content:
        return content_of(encoder)

    @classmethod
    def prepare(cls, texts: Callable[[], list[str]], tools: Tools, ngrams: Any = None) -> Prepared:
        return cls(tools.encoder(()))

    def edited(self, content: bytes, name: str, seed: int, strength: float) -> bytes:
        return closed(FAMILIES[name](opened(content), np.random.default_rng(seed), strength))
