"""Files that are whole or not there, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from augment.base.errors import BadInput, UsageError

NO_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)  # of a path that cannot be


def made(folder: Path) -> Path:
    """The folder, which exists now. Raises UsageError where a file is in its place or path, or a link to nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in NO_NAME:
            raise
        said = error.strerror if error.errno != errno.EEXIST else "a file, or a link to nothing, is in its place"
        raise UsageError(f"{folder}: no folder can be there: {said}; choose another folder") from None
    return folder


def write_whole(path: Path, content: bytes) -> None:
    """Whole and on disk, or not there. Raises OSError that names `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # of a write that fails it has no name
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk, say
    sync(path.parent)


def sync(path: Path) -> None:
    """A file's content, or a folder's names, are on disk when this returns."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Read a block at a time. Raises BadInput when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def check_regular(path: str) -> None:
    """Raise BadInput for what is no file, or a link to none: a pipe would block for ever."""
    if not Path(path).is_file():
        raise BadInput(f"{path}: not a file that can be read")


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
