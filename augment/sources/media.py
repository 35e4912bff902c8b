"""Files of a source's rows, pictures or clips: read, made small and safe, batch by batch; what is bad has its reason.

A row holds a file as base64 (bytes of Parquet and of a database are made such), or as a path under the source's folder
`images` or `clips`.
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
from augment.pictures.content import BadContent, Content
from augment.recipes.source import Source
from augment.sources.memory import Made, Memory

BATCH_BYTES = 32_000_000  # of what is read at a time, beside one more file
BATCH = 256
SHOWN = 40  # characters of base64 that the quarantine holds

# Reasons, of a role.
EMPTY = "{0} empty"
TOO_HEAVY = "{0} too large: over {1} MB"
LEAVES = "{0} leaves the folder of {0}s"
ABSENT = "{0} file missing"
NO_FILE = "{0} is no file"
UNREADABLE = "{0} file unreadable"
ADDRESS = "{0} is a web address, and none is fetched"
NOT_BASE64 = "{0} is neither base64 nor, without a folder `{0}s`, a path"
SCHEMA = pa.schema([("__row", pa.int64()), ("__file", pa.binary()), ("__content", pa.string()), ("__bad", pa.string())])


def take_in(
    db: duckdb.DuckDBPyConnection, source: Source, content: Content, value: str, cache: Path | None = None
) -> None:
    """Table `files`: of each row of `raw` that has a file, `__row`, what was made of it `__file` and the hash of that
    `__content`, or the reason `__bad` why there is none.

    value: SQL of what the row holds. cache: a file that keeps what was made, see `Memory`. Memory is bounded by a
    batch. Raises BadInput where the folder of files is not there.
    """
    memory, root = Memory(cache, content), folder_of(source, content.role)
    longest = content.most * 3 // 2  # characters of base64, line ends among them
    db.execute("CREATE OR REPLACE TABLE files (__row BIGINT, __file BLOB, __content VARCHAR, __bad VARCHAR)")
    sizes = f"SELECT __row, length({value}) FROM raw WHERE {value} IS NOT NULL ORDER BY __row"
    rows = db.execute(sizes).fetchnumpy()
    places, lengths = (list(column) for column in rows.values())
    read = f"SELECT __row, CASE WHEN length({value}) <= {longest} THEN {value} END FROM raw"
    with bar(len(places), "reading", "picture" if content.role == "image" else content.role) as shown:
        for first, last in _batches(lengths, longest):
            within = f"{read} WHERE __row BETWEEN ? AND ? AND {value} IS NOT NULL"
            held = db.execute(within, [int(places[first]), int(places[last - 1])]).fetchall()
            for files in _at_once((place, _taken(each, content, root)) for place, each in held):
                made = memory.made([file for _, file in files if isinstance(file, bytes)])
                columns = zip(*_in_place(files, made), strict=True)
                batch = pa.table([*map(list, columns)], schema=SCHEMA)
                db.register("batch", batch)
                db.execute("INSERT INTO files SELECT * FROM batch")
                db.unregister("batch")
                shown.update(len(files))
    memory.forget()


def fingerprint(source: Source) -> dict[str, str]:
    """Each folder of files → a hash of the names, sizes and times of change of all in it; without one, nothing.

    The contents are not read: of a hundred thousand pictures, that would take minutes each night.
    """
    found = {}
    for role in ("image", "clip"):
        if root := folder_of(source, role):
            digest = hashlib.sha256()
            for folder, folders, files in os.walk(root):
                folders.sort()
                for name in sorted(files):
                    path = Path(folder, name)
                    there = path.lstat()
                    told = f"{path.relative_to(root)}\0{there.st_size}\0{there.st_mtime_ns}\n"
                    digest.update(told.encode("utf-8", "surrogateescape"))
            found[str(getattr(source, f"{role}s"))] = digest.hexdigest()
    return found


def folder_of(source: Source, role: str) -> Path | None:
    """Where paths begin, its links followed; None where rows hold the files. Raises BadInput where it is not there."""
    given = getattr(source, f"{role}s")
    if given is None:
        return None
    root = Path(given)
    if not root.is_dir():
        raise BadInput(f"{role}s: no folder at {root}; paths of column '{getattr(source.columns, role)}' begin there")
    return root.resolve()


def quarantined(value: str) -> str:
    """SQL of what the quarantine says in place of a file: a path, or the beginning of base64."""
    cut = f"left({value}, {SHOWN}) || '… (' || length({value}) || ' characters)'"
    return f"CASE WHEN length({value}) > 1000 THEN {cut} ELSE {value} END"


def _batches(lengths: list[int], longest: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of each batch, which holds `BATCH_BYTES` and one more file at most."""
    first, held = 0, 0
    for place, length in enumerate(lengths):
        if place > first and (held + length > BATCH_BYTES or place - first >= BATCH):
            yield first, place
            first, held = place, 0
        held += min(int(length), longest)
    if lengths:
        yield first, len(lengths)


def _at_once(files: Iterable[tuple[int, bytes | BadContent]]) -> Iterator[list[tuple[int, bytes | BadContent]]]:
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


def _in_place(files: list[tuple[int, bytes | BadContent]], made: list[Made]) -> Iterator[tuple[object, ...]]:
    """Rows of `SCHEMA`; made: of those that could be read, in order."""
    found = iter(made)
    for place, file in files:
        yield (place, *(next(found) if isinstance(file, bytes) else Made(bad=str(file))))


def _taken(value: str | None, content: Content, root: Path | None) -> bytes | BadContent:
    """A file as it is, or the reason why there is none."""
    try:
        if value is None:
            raise BadContent(TOO_HEAVY)
        if value.startswith(("http://", "https://")):
            raise BadContent(ADDRESS)
        return _decoded(value) if root is None else _read(value, root, content.most)
    except BadContent as reason:
        return BadContent(str(reason).format(content.role, content.most // 1_000_000))


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadContent(NOT_BASE64) from None


def _read(name: str, root: Path, most: int) -> bytes:
    """The file, which is one, of a path that stays in the folder `root` whatever links there are."""
    try:
        path = Path(os.path.realpath(root / name))
        if Path(name).is_absolute() or not path.is_relative_to(root):
            raise BadContent(LEAVES)
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadContent(NO_FILE)
            if found.st_size > most:
                raise BadContent(TOO_HEAVY)
            if not (content := file.read(most + 1)):
                raise BadContent(EMPTY)
            return content
    except (FileNotFoundError, NotADirectoryError):
        raise BadContent(ABSENT) from None
    except IsADirectoryError:
        raise BadContent(NO_FILE) from None
    except BadContent:
        raise
    except (OSError, ValueError):  # no permission, too long a name, a NUL in it
        raise BadContent(UNREADABLE) from None
