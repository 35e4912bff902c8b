"""What was made of files, by their bytes: one that did not change costs its reading and a look-up, not its decoding.

What is bad is judged anew each time: there is little of it, and the reason may have been a lack of memory.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from augment.base.shelf import Shelf
from augment.pictures.content import BadContent, Content

KEPT = 30  # days for which what nobody asked for stays
TOUCHED = 7  # days after which it is written down anew that somebody asked
# `content` is null where a file stays as it is.
TABLE = "made (key BLOB PRIMARY KEY, content BLOB, sha256 TEXT, seen INTEGER)"


class Made(NamedTuple):
    """What became of a file and the hash of that, or the reason why nothing did."""

    content: bytes | None = None
    sha256: str | None = None
    bad: str | None = None


class Memory:
    def __init__(self, path: Path | None, content: Content) -> None:
        """path: of the file that keeps it between runs, which processes may share."""
        self._shelf = Shelf(path, "decoded files", TABLE) if path else None
        self._content, self._today = content, int(time.time()) // 86_400

    def made(self, files: Sequence[bytes]) -> list[Made]:
        """Of each file, in order. Raises BadInput where what is kept cannot be used."""
        keys = [sha256(f"{self._content.rules}\0{sha256(file).hexdigest()}".encode()).digest() for file in files]
        by_key = dict(zip(keys, files, strict=True))
        found = self._shelf.work(lambda db: self._known(db, by_key)) if self._shelf else {}
        fresh = {key: self._make(file) for key, file in by_key.items() if key not in found}
        rows = [
            (key, None if made.content == by_key[key] else made.content, made.sha256, self._today)
            for key, made in fresh.items()
            if not made.bad
        ]
        if self._shelf and rows:
            self._shelf.work(lambda db: db.executemany("INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?)", rows))
        found |= fresh
        return [found[key] for key in keys]

    def forget(self) -> None:
        """What nobody asked for lately."""
        if self._shelf:
            self._shelf.work(lambda db: db.execute("DELETE FROM made WHERE seen < ?", (self._today - KEPT,)))

    def _known(self, db: sqlite3.Connection, files: dict[bytes, bytes]) -> dict[bytes, Made]:
        """What is kept; where that is not what was put there, nothing."""
        found, old = {}, []
        for key, file in files.items():
            row = db.execute("SELECT content, sha256, seen FROM made WHERE key = ?", (key,)).fetchone()
            if row is None:
                continue
            kept, digest, seen = row
            content = file if kept is None else kept
            if sha256(content).hexdigest() == digest:
                found[key] = Made(content, digest)
                old += [(self._today, key)] if seen < self._today - TOUCHED else []
        db.executemany("UPDATE made SET seen = ? WHERE key = ?", old)
        return found

    def _make(self, file: bytes) -> Made:
        try:
            content = self._content.made(file)
        except BadContent as reason:
            return Made(bad=str(reason))
        return Made(content, sha256(content).hexdigest())
