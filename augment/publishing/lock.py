"""The output folder: where it can be, who works in it now, and whose it is.

<output>/.lock, .lock.holder    held by a live process; a lock dies with it
<output>/_search/NAME.lock      likewise, by the search whose trials are in NAME.log
<output>/.recipe.json           the recipe that the folder belongs to: its name, its file and its sources
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from augment.base.errors import Locked, NotOurs, UsageError
from augment.base.files import made, write_whole
from augment.recipes.schema import Recipe

OWNER = ".recipe.json"
# Delta's libraries write such names and do not find them again: they take paths for URLs.
NO_TABLE = re.compile(r"[#?\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")


def check_place(path: Path) -> None:
    """Raise NotOurs where no Delta table can be: links followed, its path has what Delta takes for a URL's."""
    if found := NO_TABLE.search(os.path.realpath(path)):
        raise NotOurs(
            f"{path}: no output here: Delta tables are not found again where the path has {found[0]!r}; choose one "
            "without # ? \\ control characters and % before two digits"
        )


@contextmanager
def locked(output: Path, name: str = "") -> Iterator[None]:
    """Hold the output folder, or what is called `name` in it.

    Raises Locked at once, naming the holder, NotOurs where no table can be, and UsageError where no folder can.
    """
    check_place(output)
    made(output)
    lock, note = FileLock(output / f"{name}.lock", timeout=0), output / f"{name}.lock.holder"
    try:
        lock.acquire()
    except Timeout:
        holder = note.read_text("utf-8", "replace").strip() if note.exists() else "another process"
        raise Locked(f"{output / name} is in use by {holder}; wait for it, or choose another output") from None
    try:
        now = f"{datetime.now(timezone.utc):%F %T}"
        write_whole(note, f"{socket.gethostname()} pid {os.getpid()} since {now} UTC".encode())
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


@contextmanager
def held(recipe: Recipe) -> Iterator[None]:
    """Hold the recipe's output folder, and own it. Raises what `locked` does, and NotOurs when it is another's."""
    output = Path(recipe.output)
    with locked(output):
        check_owner(recipe)
        owner = json.dumps(_identity(recipe), indent=1, ensure_ascii=False).encode()
        path = output / OWNER
        if not path.exists() or path.read_bytes() != owner:
            write_whole(path, owner)
        yield


def check_owner(recipe: Recipe) -> None:
    """Raise NotOurs when the output folder belongs to another recipe; of nobody's, nothing.

    It is the same recipe under the same name when it is in the same file, or reads sources of the same names from the
    same places. So options, tasks and further sources may change, and the file may move.
    """
    path = Path(recipe.output) / OWNER
    if not path.parent.is_dir():
        return
    try:
        owner = json.loads(path.read_text("utf-8"))
        name, file, theirs = owner["name"], owner["file"], dict(owner["sources"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not what Sparring wrote ({error}); delete it, and the next run owns it") from None
    mine = _identity(recipe)
    both = theirs.keys() & mine["sources"].keys()
    same_file = None in (file, mine["file"]) or file == mine["file"]
    if name == mine["name"] and (same_file or (both and all(theirs[s] == mine["sources"][s] for s in both))):
        return
    where = f", {file}" if file else ""
    raise NotOurs(
        f"{recipe.output} belongs to another recipe, '{name}' (sources {', '.join(theirs)}{where}): "
        f"give '{recipe.name}' an output of its own, or delete {path} if it is that recipe, renamed or moved"
    )


def _identity(recipe: Recipe) -> dict[str, Any]:
    sources = {
        name: source.model_dump(mode="json", include={"path", "connection", "query"}, exclude_none=True)
        for name, source in sorted(recipe.sources.items())
    }
    return {"name": recipe.name, "file": recipe.file, "sources": sources}
