"""Which column of the user's file holds pictures, and how a source names it."""

from __future__ import annotations

import os

from augment.drafting.guess import Guess
from augment.drafting.look import Column

# Names of a column of pictures, most telling first.
PICTURES = """image picture photo img image_jpeg image_bytes image_path picture_path file_name filename path 图片
bild foto immagine imagen imagem 画像 사진 фото"""


def with_pictures(found: Guess, picture: Column) -> None:
    """The guess reads pictures from that column: of paths, the folder that they begin in is one of its options."""
    found.roles["image"] = picture.name
    if all(column.name != picture.name for column in found.seen):
        found.seen.append(picture)
    if picture.values:
        beside = os.path.exists(found.path.parent / picture.values[0])
        found.options["images"] = str(found.path.parent) if beside else "."
        found.notes["images"] = "the folder of the paths"


def without_pictures(found: Guess, note: str) -> bool:
    """Leave them out of the guess; whether it had any."""
    if "image" not in found.roles:
        return False
    del found.roles["image"]
    found.options.pop("images", None)
    found.notes["columns"] = note
    return True
