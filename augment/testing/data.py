"""Rows of a small shop, for the tests of plug-ins, and an encoder of its texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from augment.contracts.modality import Modality
from augment.language.encoders import TextEncoder
from augment.numeric.columns import as_labels
from augment.pictures.clips import MEL, ClipEncoder, clip_encoder
from augment.pictures.encoders import IMAGENET, ImageEncoder

USERS, ITEMS, EACH = 40, 30, 12  # of each user's items
START = 1_700_000_000_000_000  # microseconds
GOOD, BAD = ("great", "lovely", "perfect", "happy", "soft"), ("awful", "broken", "terrible", "ugly", "rough")
PLAIN = ("the", "dress", "shirt", "colour", "fabric", "waist", "size", "arrived", "today", "very", "really", "很漂亮")
DIM = 16  # of text vectors
CLASSES = 3


def rows() -> pa.Table:
    """480 rows with every role that text can hold, as prepared splits have them: float32 labels of both classes."""
    rng = np.random.default_rng(0)
    taste, charm = rng.standard_normal((USERS, 4)), rng.standard_normal((ITEMS, 4))
    liking = taste @ charm.T
    chosen = np.argsort(-liking - rng.gumbel(size=liking.shape), axis=1)[:, :EACH]
    pairs = rng.permutation(np.stack([np.repeat(np.arange(USERS), EACH), chosen.ravel()], axis=1))
    user, item = pairs.T
    liked = liking[user, item] > np.median(liking[user, item])
    texts = [" ".join(rng.permutation([*rng.choice(PLAIN, 7), *rng.choice(GOOD if y else BAD, 3)])) for y in liked]
    columns: dict[str, Any] = {
        "row_id": [f"r{n}" for n in range(len(pairs))],
        "user_id": [f"u{n}" for n in user],
        "item_id": [f"i{n}" for n in item],
        "timestamp": START + 3_600_000_000 * np.arange(len(pairs)),
        "text": texts,
        "segment": [("dresses", "shirts", "shoes")[n % 3] for n in item],
        "colour": [("red", "green", "blue", "black", "white")[n % 5] for n in item],
        "size": rng.choice(["S", "M", "L", "XL"], len(pairs)),
        "device": [None if n % 9 == 0 else ("phone", "desk")[n % 2] for n in user],
        "label": liked.astype(np.float32),
    }
    return pa.table(columns)


def picture(liked: bool, seed: int) -> bytes:
    """A JPEG of 32 pixels: a round thing where it was liked, else a cross, before a plain background."""
    from augment.pictures.decoding import as_jpeg

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j] - rng.uniform(-0.2, 0.2, (2, 1, 1))
    shape = x**2 + y**2 < 0.4 if liked else np.minimum(abs(x), abs(y)) < 0.2
    colours = rng.integers(0, 120, 3), rng.integers(180, 256, 3)
    pixels = np.where(shape[None], *(colour[:, None, None] for colour in colours)) + rng.normal(0, 3, (3, 32, 32))
    return as_jpeg(torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)))


def tone(liked: bool, seed: int) -> bytes:
    """A WAV file of a fifth of a second: a high tone where it was liked, else a low one, and some noise.

    Of eight one is the other way round, since ADASYN refuses classes that nowhere meet.
    """
    from augment.pictures.sound import RATE, wav

    rng = np.random.default_rng(seed)
    hertz = rng.uniform(1500, 3000) if liked != (seed % 8 == 0) else rng.uniform(200, 600)
    time = np.arange(RATE // 5) / RATE
    return wav(0.4 * np.sin(2 * np.pi * hertz * time) + rng.normal(0, 0.05, len(time)))


def rows_of(modality: type[Modality], multiclass: bool = False) -> pa.Table:
    """Those columns alone that the modality's rules ask for, pictures and clips among them, or can do with."""
    rules = modality.rows
    segmented = {"text", "image", "clip"} & {*rules.needs}
    wanted = {"row_id", "timestamp", *rules.needs, *(("segment",) if segmented else ())}
    fields = ("user_id", "item_id", "colour", "size", "device") if rules.fields else ()
    every = rows()
    for role, make in (("image", picture), ("clip", tone)):
        if role in wanted:
            made = [make(liked > 0.5, n) for n, liked in enumerate(every["label"].to_pylist())]
            every = every.append_column(role, pa.array(made, pa.binary()))
    found = every.select([name for name in every.column_names if name in wanted or name in fields])
    return of_many_classes(found) if multiclass else found


def of_many_classes(rows: pa.Table) -> pa.Table:
    """Those rows with labels of three classes: bad, good, and very good, where the text says so, or else by chance."""
    good, very = rows["label"].to_numpy() > 0.5, np.arange(len(rows)) % 2 > 0
    if "text" in rows.column_names:
        very = np.array(["very" in text for text in rows["text"].to_pylist()])
    label = np.zeros((len(rows), CLASSES), np.float32)
    label[np.arange(len(rows)), good * (1 + very)] = 1
    return rows.set_column(rows.column_names.index("label"), "label", as_labels(label))


def trigrams(texts: Sequence[str], ngrams: Any = None) -> TextEncoder:
    """A text encoder of no weight: hashed character trigrams, projected, so that near texts have near vectors."""
    projection = np.random.default_rng(0).standard_normal((997, DIM)).astype(np.float32)

    def encode(batch: list[str]) -> np.ndarray:
        codes = [[ord(a) + 31 * ord(b) + 961 * ord(c) for a, b, c in zip(t, t[1:], t[2:], strict=False)] for t in batch]
        return np.stack([projection[np.array(code or [0]) % 997].sum(axis=0) for code in codes])

    return TextEncoder("trigrams@1", DIM, encode, None)


def heard(texts: Sequence[str] = (), ngrams: Any = None) -> ClipEncoder:
    """The encoder of sounds, which has no weights."""
    return clip_encoder(MEL, None)


def glimpses(texts: Sequence[str] = (), ngrams: Any = None) -> ImageEncoder:
    """An image encoder of no weight: a few random filters of 8 x 8 pixels, and how much of each there is where."""
    filters = torch.nn.Conv2d(3, DIM, 8, stride=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        filters.reset_parameters()
    pooled = torch.nn.AdaptiveAvgPool2d(2)
    net = torch.nn.Sequential(filters, torch.nn.ReLU(), pooled, torch.nn.Flatten())
    return ImageEncoder("glimpses@1", net, None, shown=IMAGENET._replace(side=32))
