"""Bytes from anywhere to a picture that is safe to work with: RGB, upright, small, a JPEG; or the reason why not.

What a file claims to be is read from its header before anything is decoded: a decompression bomb is refused by its
size. Pillow decodes, since bytes come from anywhere: torchvision's decoder of PNG ends the process at some damaged
files (0.29, found by mutation: a bad filter), reads every frame of what is animated, writes what it thinks of a JPEG to
the terminal, and is deprecated.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from augment.pictures.content import BadContent, Content

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

MAX_BYTES = 20_000_000
MAX_PIXELS = 64_000_000  # as the header has them: 192 MB when decoded
SIDE = 256  # longest side of a normalised picture
LEAST = 8  # shortest side: below, it shows nothing
QUALITY = 95
LIGHT = 65_536  # bytes of a JPEG that is kept as it is; what is larger and so small a picture holds something else
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")  # by content: what a file is called does not matter
ORIENTATION = 0x0112  # EXIF's tag
UPRIGHT = 1

EMPTY = "image empty"
NO_PICTURE = "image is no JPEG, PNG, WebP or GIF"
TOO_HEAVY = f"image too large: over {MAX_BYTES // 1_000_000} MB"
TOO_LARGE = f"image too large: over {MAX_PIXELS // 1_000_000} megapixels"
TOO_SMALL = f"image too small: under {LEAST} pixels on a side"
DAMAGED = "image truncated or damaged"


class BadPicture(BadContent):
    pass


def normalised(content: bytes) -> bytes:
    """A JPEG of the same picture: RGB or grey, upright, its longest side at most `SIDE` pixels, alpha over white.

    A JPEG that is all that already is kept as it is. Raises BadPicture, and nothing else, for what is no picture,
    truncated, too large or too small.
    """
    if not content:
        raise BadPicture(EMPTY)
    if len(content) > MAX_BYTES:
        raise BadPicture(TOO_HEAVY)
    header, turn = _header(content)
    width, height = header.size
    if width * height > MAX_PIXELS:
        raise BadPicture(TOO_LARGE)
    scale = min(1.0, SIDE / max(width, height))
    if min(width, height) * scale < LEAST:
        raise BadPicture(TOO_SMALL)
    kept = header.format == "JPEG" and header.mode in ("RGB", "L") and len(content) <= LIGHT
    kept = kept and turn == UPRIGHT and scale == 1
    try:
        with _silent():
            header.draft("RGB", (2 * SIDE, 2 * SIDE))  # of a JPEG an eighth or so is decoded where that is enough
            picture = _rgb(header)
    except Exception:  # a parser of hostile bytes: struct, OS, value, overflow and syntax errors
        raise BadPicture(DAMAGED) from None
    if kept:
        return content
    if scale < 1:
        picture = picture.resize((round(width * scale), round(height * scale)))
    return _written(_upright(picture, turn), QUALITY)


NORMALISED = 1  # how that is done: a new number where it changes
PICTURES = Content(
    "image", MAX_BYTES, (NORMALISED, MAX_BYTES, MAX_PIXELS, SIDE, LEAST, QUALITY, LIGHT), ("pillow",), normalised
)


def decoded(content: bytes) -> torch.Tensor:
    """uint8[3, H, W] of a normalised picture."""
    from PIL import Image

    with _silent():
        return _tensor(Image.open(io.BytesIO(content), formats=("JPEG",)).convert("RGB"))


def thumbnail(content: bytes, side: int) -> bytes:
    """A normalised picture as a small JPEG whose longest side is at most `side` pixels."""
    from PIL import Image

    with _silent():
        picture = Image.open(io.BytesIO(content), formats=("JPEG",)).convert("RGB")
    picture.thumbnail((side, side))
    return _written(picture, 80)


def as_jpeg(pixels: torch.Tensor, quality: int = QUALITY) -> bytes:
    """uint8[3, H, W] as the bytes of a JPEG; the same pixels give the same bytes."""
    from PIL import Image

    return _written(Image.fromarray(pixels.permute(1, 2, 0).numpy()), quality)


def _header(content: bytes) -> tuple[Image, int]:
    """What is read without decoding, and EXIF's orientation: 1 (upright) to 8."""
    from PIL import Image

    with _silent():
        try:
            header = Image.open(io.BytesIO(content), formats=FORMATS)
        except Image.DecompressionBombError:
            raise BadPicture(TOO_LARGE) from None
        except Image.UnidentifiedImageError:
            raise BadPicture(DAMAGED if content.startswith(_SIGNS) else NO_PICTURE) from None
        except Exception:  # likewise
            raise BadPicture(DAMAGED) from None
        exif = Image.Exif()
        try:
            exif.load(header.info.get("exif", b""))
            turn = exif.get(ORIENTATION)
        except Exception:  # a damaged remark is no damaged picture
            turn = UPRIGHT
    if header.format == "MPO":  # a JPEG with another behind it
        header.format = "JPEG"
    return header, turn if isinstance(turn, int) and 1 <= turn <= 8 else UPRIGHT


_SIGNS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF", b"GIF8")  # that the files of our formats begin with


def _rgb(picture: Image) -> Image:
    """Its first frame, alpha over white; grey of 16 bit is brought to 8, where Pillow would cut it off at 255."""
    from PIL import Image

    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" not in picture.info and picture.mode not in ("RGBA", "LA", "PA", "La", "RGBa"):
        return picture.convert("RGB")
    clear = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


# EXIF's orientation → what undoes it, as Pillow calls it.
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270"}
_TURNS |= {7: "TRANSVERSE", 8: "ROTATE_90"}


def _upright(picture: Image, turn: int) -> Image:
    from PIL.Image import Transpose

    return picture.transpose(Transpose[_TURNS[turn]]) if turn in _TURNS else picture


@contextmanager
def _silent() -> Iterator[None]:
    """Pillow warns of odd remarks in a file; nobody asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _written(picture: Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.info.clear()  # remarks would be written too
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _tensor(picture: Image) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
