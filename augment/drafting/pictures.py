"""Which column of the user's file holds pictures, and how a source names it."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import duckdb

from augment.drafting.guess import Guess
from augment.drafting.look import Column, Look
from augment.sources.sql import quoted, text_of

_BEGINNINGS = ("/9j/", "iVBORw0KGgo", "UklGR", "R0lGOD")  # of JPEG, PNG, WebP and GIF in base64
_FILES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
PICTURE, FILE, ADDRESS, ABSOLUTE, BACKSLASH, OTHER = "picture", "file", "address", "absolute", "backslash", "other"
_UNREAD = {
    ADDRESS: "web addresses, which are not fetched: save the pictures, and name their files",
    ABSOLUTE: "absolute paths: write them from a folder on, which `images` names",
    BACKSLASH: "paths with \\: write them with /",
}
_MIXED = "a mix of pictures, paths and addresses: give one kind"
MOSTLY = 0.8  # of a column's values: the rest are bad rows
FOLDERS = 100  # beside a table, that are looked for its pictures

# Names of a column of pictures, most telling first.
PICTURES = """image picture photo img image_jpeg image_bytes image_path picture_path file_name filename file path 图片
bild foto immagine imagen imagem 画像 사진 фото"""


def find_pictures(db: duckdb.DuckDBPyConnection, look: Look) -> None:
    """Which columns hold pictures, and which might, but not as they are read: by what their first values are."""
    for name, kind in look.kinds.items():
        text = text_of(quoted(name), kind, binary=True)
        try:
            first = db.execute(f"SELECT left({text}, 300) FROM seen WHERE {text} <> '' LIMIT 20").fetchall()
        except duckdb.Error:
            continue
        kinds = Counter(_kind(str(row[0])) for row in first)
        known = len(first) - kinds[OTHER]
        if not known or known < MOSTLY * len(first):
            if kind == "BLOB" and name not in look.columns:
                look.unread[name] = "bytes that are no JPEG, PNG, WebP or GIF"
        elif kinds[PICTURE] == known:
            look.pictures[name] = Column(name, text, known, known, False, False, False, False, 0, 0, [], [], [])
        elif kinds[FILE] == known and name in look.columns:
            look.pictures[name] = look.columns[name]
        else:
            look.unread[name] = next((why for one, why in _UNREAD.items() if kinds[one] == known), _MIXED)


def _kind(value: str) -> str:
    """What one value is that might be a picture."""
    if value.startswith(_BEGINNINGS) or re.match(r"data:image/[\w.+-]+;base64,", value):
        return PICTURE
    address, name = re.match(r"[\[\"' ]*(\w+:)?//", value), re.sub(r"[?#].*|[\]\"' ]+$", "", value).lower()
    if address:
        return ADDRESS if name.endswith(_FILES) or re.search(r"im(age|g)|photo|pict?|thumb", value.lower()) else OTHER
    if not name.endswith(_FILES):
        return OTHER
    return ABSOLUTE if re.match(r"/|\w:[\\/]", value) else BACKSLASH if "\\" in value else FILE


def with_pictures(found: Guess, picture: Column) -> None:
    """The guess reads pictures from that column: of paths, the folder that they begin in is one of its options."""
    found.roles["image"] = picture.name
    if all(column.name != picture.name for column in found.seen):
        found.seen.append(picture)
    if picture.values:
        found.options["images"] = str(_folder(found.path.parent, picture.values))
        found.notes["images"] = "the folder of the paths"


def _folder(beside: Path, names: list[str]) -> Path:
    """Where files of most of these names are: beside the table, here, or in a folder beside the table."""
    below = sorted(folder for folder in beside.iterdir() if folder.is_dir())[:FOLDERS]
    there = {folder: sum(os.path.exists(folder / name) for name in names) for folder in (beside, Path("."), *below)}
    return max(there, key=lambda folder: there[folder]) if any(there.values()) else Path(".")


def without_pictures(found: Guess, note: str) -> bool:
    """Leave them out of the guess; whether it had any."""
    if "image" not in found.roles:
        return False
    del found.roles["image"]
    found.options.pop("images", None)
    found.notes["columns"] = note
    return True
