"""Pictures that tests draw: a few kinds of garment-like shapes on a plain background."""

import io

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("shirt", "shoe", "bag")


def drawn(kind="shirt", seed=0, size=(96, 120)):
    """An RGB picture of `size` (width, height), of one of `KINDS`: its shape is its kind's, its colours the seed's."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    width, height = size
    back = tuple(int(c) for c in rng.integers(200, 256, 3))
    ink = tuple(int(c) for c in rng.integers(20, 180, 3))
    picture = Image.new("RGB", size, back)
    pen = ImageDraw.Draw(picture)
    dx, dy = (rng.uniform(-0.06, 0.06, 2) * (width, height)).tolist()

    def at(*points):
        return [(width * x + dx, height * y + dy) for x, y in points]

    if kind == "shirt":
        pen.polygon(at((0.35, 0.15), (0.65, 0.15), (0.95, 0.4), (0.85, 0.5), (0.7, 0.4), (0.7, 0.9), (0.3, 0.9),
                       (0.3, 0.4), (0.15, 0.5), (0.05, 0.4)), fill=ink)  # fmt: skip
    elif kind == "shoe":
        pen.polygon(at((0.1, 0.4), (0.35, 0.4), (0.5, 0.6), (0.9, 0.65), (0.92, 0.8), (0.1, 0.8)), fill=ink)
        pen.rectangle(at((0.08, 0.78), (0.93, 0.84)), fill=(30, 30, 30))
    else:
        pen.rectangle(at((0.2, 0.4), (0.8, 0.85)), fill=ink)
        pen.arc(at((0.3, 0.15), (0.7, 0.65)), 180, 360, fill=ink, width=max(2, width // 20))
    noise = rng.normal(0, 3, (height, width, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def as_bytes(picture, form="JPEG", **options):
    """The file of a picture."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def drawn_bytes(kind="shirt", seed=0, size=(96, 120), form="JPEG", **options):
    return as_bytes(drawn(kind, seed, size), form, **options)
