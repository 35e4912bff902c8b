"""Pictures of a source's rows: read, decoded, made small and safe, batch by batch; what is none has its reason.

A row holds a picture as base64 (bytes of Parquet and of a database are made such), or as a path under the source's
folder `images`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from augment.base.errors import BadInput
from augment.base.progress import bar
from augment.pictures.decoding import EMPTY, MAX_BYTES, PICTURES, TOO_HEAVY, BadPicture
from augment.recipes.source import Source
from augment.sources.memory import Made, Memory

BATCH_BYTES = 32_000_000  # of what is read at a time; one picture may have as many, `MAX_BYTES` in base64
BATCH = 256
LONGEST = MAX_BYTES * 3 // 2  # characters of base64, line ends among them
SHOWN = 40  # characters of base64 that the quarantine holds

LEAVES = "image leaves the folder of images"
ABSENT = "image file missing"
NO_FILE = "image is no file"
UNREADABLE = "image file unreadable"
ADDRESS = "image is a web address, and none is fetched"
NOT_BASE64 = "image is neither base64 nor, without a folder `images`, a path"
SCHEMA = pa.schema(
    [("__row", pa.int64()), ("__picture", pa.binary()), ("__content", pa.string()), ("__bad", pa.string())]
)


def take_in(db: duckdb.DuckDBPyConnection, source: Source, value: str, cache: Path | None = None) -> None:
    """Table `pictures`: of each row of `raw` that has a picture, `__row`, the normalised JPEG `__picture` and the hash
    of it `__content`, or the reason `__bad` why there is none.

    value: SQL of what the row holds. cache: a file that keeps what was decoded, see `Memory`. Memory is bounded by a
    batch. Raises BadInput where there is no folder `images`.
    """
    memory = Memory(cache, PICTURES)
    root = None if source.images is None else folder_of(source)
    db.execute("CREATE OR REPLACE TABLE pictures (__row BIGINT, __picture BLOB, __content VARCHAR, __bad VARCHAR)")
    sizes = f"SELECT __row, length({value}) FROM raw WHERE {value} IS NOT NULL ORDER BY __row"
    rows = db.execute(sizes).fetchnumpy()
    places, lengths = (list(column) for column in rows.values())
    read = f"SELECT __row, CASE WHEN length({value}) <= {LONGEST} THEN {value} END FROM raw"
    with bar(len(places), "reading", "picture") as shown:
        for first, last in _batches(lengths):
            within = f"{read} WHERE __row BETWEEN ? AND ? AND {value} IS NOT NULL"
            held = db.execute(within, [int(places[first]), int(places[last - 1])]).fetchall()
            for files in _at_once((place, _taken(each, root)) for place, each in held):
                made = memory.made([file for _, file in files if isinstance(file, bytes)])
                columns = zip(*_in_place(files, made), strict=True)
                batch = pa.table([*map(list, columns)], schema=SCHEMA)
                db.register("batch", batch)
                db.execute("INSERT INTO pictures SELECT * FROM batch")
                db.unregister("batch")
                shown.update(len(files))
    memory.forget()


def fingerprint(source: Source) -> dict[str, str]:
    """The folder `images` → a hash of the names, sizes and times of change of all files in it; without one, nothing.

    The contents are not read: of a hundred thousand pictures, that would take minutes each night.
    """
    if source.images is None:
        return {}
    root, digest = folder_of(source), hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            found = path.lstat()
            told = f"{path.relative_to(root)}\0{found.st_size}\0{found.st_mtime_ns}\n"
            digest.update(told.encode("utf-8", "surrogateescape"))
    return {source.images: digest.hexdigest()}


def folder_of(source: Source) -> Path:
    """Where paths begin, its links followed. Raises BadInput where there is no folder."""
    root = Path(str(source.images))
    if not root.is_dir():
        raise BadInput(f"images: no folder at {root}; paths of column '{source.columns.image}' begin there")
    return root.resolve()


def quarantined(value: str) -> str:
    """SQL of what the quarantine says in place of a picture: a path, or the beginning of base64."""
    cut = f"left({value}, {SHOWN}) || '… (' || length({value}) || ' characters)'"
    return f"CASE WHEN length({value}) > 1000 THEN {cut} ELSE {value} END"


def _batches(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """First and last + 1 of each batch, which holds `BATCH_BYTES` and one more picture at most."""
    first, held = 0, 0
    for place, length in enumerate(lengths):
        if place > first and (held + length > BATCH_BYTES or place - first >= BATCH):
            yield first, place
            first, held = place, 0
        held += min(int(length), LONGEST)
    if lengths:
        yield first, len(lengths)


def _at_once(files: Iterable[tuple[int, bytes | BadPicture]]) -> Iterator[list[tuple[int, bytes | BadPicture]]]:
    """Some at a time, which hold `BATCH_BYTES` and one more file at most."""
    some, held = [], 0
    for place, file in files:
        some.append((place, file))
        held += len(file) if isinstance(file, bytes) else 0
        if held >= BATCH_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


def _in_place(files: list[tuple[int, bytes | BadPicture]], made: list[Made]) -> Iterator[tuple[object, ...]]:
    """Rows of `SCHEMA`; made: of those that could be read, in order."""
    found = iter(made)
    for place, file in files:
        yield (place, *(next(found) if isinstance(file, bytes) else Made(bad=str(file))))


def _taken(value: str | None, root: Path | None) -> bytes | BadPicture:
    """A file as it is, or the reason why there is none."""
    try:
        if value is None:
            raise BadPicture(TOO_HEAVY)
        if value.startswith(("http://", "https://")):
            raise BadPicture(ADDRESS)
        return _decoded(value) if root is None else _read(value, root)
    except BadPicture as reason:
        return reason


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadPicture(NOT_BASE64) from None


def _read(name: str, root: Path) -> bytes:
    """The file, which is one, of a path that stays in the folder `root` whatever links there are."""
    try:
        path = Path(os.path.realpath(root / name))
        if Path(name).is_absolute() or not path.is_relative_to(root):
            raise BadPicture(LEAVES)
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadPicture(NO_FILE)
            if found.st_size > MAX_BYTES:
                raise BadPicture(TOO_HEAVY)
            if not (content := file.read(MAX_BYTES + 1)):
                raise BadPicture(EMPTY)
            return content
    except (FileNotFoundError, NotADirectoryError):
        raise BadPicture(ABSENT) from None
    except IsADirectoryError:
        raise BadPicture(NO_FILE) from None
    except BadPicture:
        raise
    except (OSError, ValueError):  # no permission, too long a name, a NUL in it
        raise BadPicture(UNREADABLE) from None
