"""What items are, as vectors: the text that describes each, its picture, its properties (brand, category, price)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from augment.language.typos import typo
from augment.numeric.vectors import unit
from augment.recipes.source import RESERVED

SHARES = (0.0, 0.2, 0.5)  # of likeness that properties may have beside a text
SEEN = (0.0, 0.2, 0.5, 0.8)  # of likeness that pictures may have beside text and properties
DIM = 256  # of properties, where there are more


@dataclass(frozen=True)
class Catalogue:
    """items: their ids; text, properties and image: unit vectors float32[n, D], None where the source names none.

    An item without a text, a picture, or a property that another has too, has zeros there. misspelt: of a copy of each
    text with typos, where they are asked for.
    """

    items: pa.Array
    text: np.ndarray | None
    properties: np.ndarray | None
    misspelt: np.ndarray | None = None
    image: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        products: pa.Table,
        encoder: Callable[[list[str]], Any],
        typos: int | None = None,
        image_encoder: Callable[[], Any] | None = None,
    ) -> Catalogue:
        """products: prepared rows, with `item_id`, perhaps `text`, `image` and `segment`, and a column a property.

        encoder: given texts, the text encoder, fitted on them where it has n-grams of its own. typos: a seed of those
        that copies have, if there shall be any. image_encoder: makes that of pictures, where there are any.
        """
        text = misspelt = None
        if "text" in products.column_names:
            texts = [said or "" for said in products["text"].to_pylist()]
            some = [place for place, said in enumerate(texts) if said.strip()]
            if some:
                encode = encoder([texts[place] for place in some]).encode
                text = _encoded(encode, texts, some)
                if typos is not None:
                    rng = np.random.default_rng(typos)
                    misspelt = _encoded(encode, [typo(said, rng) for said in texts], some)
        image = None if image_encoder is None else pictures(products, image_encoder)
        return cls(products["item_id"].combine_chunks(), text, properties(products), misspelt, image)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the properties beside the text, that are worth trying."""
        if self.text is None:
            return (1.0,)
        return SHARES if self.properties is not None else (0.0,)

    @property
    def seen(self) -> tuple[float, ...]:
        """Shares of the pictures that are worth trying."""
        if self.image is None:
            return (0.0,)
        return (1.0,) if self.text is None and self.properties is None else SEEN

    def vectors(self, share: float, seen: float = 0.0, misspelt: bool = False) -> np.ndarray:
        """Unit vectors float32[n, C] in which pictures have the share `seen` of likeness, and properties `share` of the
        rest; zeros for an item of nothing."""
        told = 1 - seen
        parts = [(told * (1 - share), self.misspelt if misspelt else self.text), (told * share, self.properties)]
        parts.append((seen, self.image))
        blocks = [np.float32(weight**0.5) * block for weight, block in parts if weight and block is not None]
        return unit(np.concatenate(blocks, axis=1)) if blocks else np.zeros((len(self), 1), np.float32)


def _encoded(encode: Callable[[list[str]], Any], texts: list[str], some: list[int]) -> np.ndarray:
    """Unit vectors float32[n, D] of texts, zeros but at the places `some`."""
    vectors = unit(np.asarray(encode([texts[place] for place in some]), np.float32))
    out = np.zeros((len(texts), vectors.shape[1]), np.float32)
    out[some] = vectors
    return out


def pictures(rows: pa.Table, encoder: Callable[[], Any]) -> np.ndarray | None:
    """Unit vectors float32[n, D] of the column `image`, zeros where there is none; None where no row has one.

    Less the mean of all: networks of rectified units say much the same of every picture, and what all have in common
    tells nobody what one is like.
    """
    if "image" not in rows.column_names:
        return None
    held = rows["image"].to_pylist()
    some = [place for place, content in enumerate(held) if content is not None]
    if not some:
        return None
    vectors = np.asarray(encoder().encode([held[place] for place in some]), np.float32)
    out = np.zeros((len(held), vectors.shape[1]), np.float32)
    out[some] = unit(vectors - vectors.mean(axis=0)) if len(some) > 1 else vectors
    return out


def properties(rows: pa.Table) -> np.ndarray | None:
    """float32[n, D]: TF-IDF of values, since to share a rare one says more, by a truncated SVD where there are many.

    Values of a property that holds several, `Comedy|Drama` or a list, count one by one.
    """
    apart = {*RESERVED, "item_id", "user_id"} - {"segment"}
    names = [name for name in rows.column_names if name not in apart]
    if not names:
        return None
    columns = [rows[name].to_pylist() for name in names]
    said = [[f"{name}={value}" for name, held in zip(names, row, strict=True) for value in values_of(held)]
            for row in zip(*columns, strict=True)]  # fmt: skip
    counted = TfidfVectorizer(analyzer=list, min_df=2 if len(said) > 20 else 1, dtype=np.float32)
    try:
        found = counted.fit_transform(said)
    except ValueError:  # no value is in two rows
        return None
    if found.shape[1] > DIM:
        return unit(TruncatedSVD(DIM, random_state=0).fit_transform(found).astype(np.float32))
    return np.asarray(found.toarray(), np.float32)


def values_of(held: str | None) -> list[str]:
    """Of one property of one item."""
    if held is None:
        return []
    inner = held[1:-1].split(",") if held.startswith("[") and held.endswith("]") else held.split("|")
    return [value.strip() for value in inner if value.strip()]
