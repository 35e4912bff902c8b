"""Readers hold a version: its files stay until they let go, or their time is up.

<root>/_sparring/pins/<version>-<id>.json     {"version", "until", "holder"}
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from augment.base.files import write_whole

PINS = Path("_sparring/pins")


@contextmanager
def guarded(root: Path) -> Iterator[None]:
    """Nobody else looks and pins, or removes what nobody pins, meanwhile."""
    (root / PINS).mkdir(parents=True, exist_ok=True)
    with FileLock(root / PINS / ".lock"):
        yield


def pin(root: Path, version: int, hours: float) -> Path:
    """Hold a version for some hours; delete the file that is returned to let go before."""
    path = root / PINS / f"{version}-{uuid.uuid4().hex[:12]}.json"
    holder = f"{socket.gethostname()} pid {os.getpid()}"
    write_whole(path, json.dumps({"version": version, "until": time.time() + hours * 3600, "holder": holder}).encode())
    return path


def held(root: Path) -> list[int]:
    """Versions that somebody holds. Expired pins are removed; one that cannot be read holds until it is deleted."""
    found = []
    for path in sorted((root / PINS).glob("*.json")):
        try:
            kept = json.loads(path.read_text("utf-8"))
            if kept["until"] < time.time():
                path.unlink(missing_ok=True)
                continue
            found.append(int(kept["version"]))
        except (OSError, ValueError, KeyError, TypeError):
            number = path.name.partition("-")[0]
            found += [int(number)] if number.isdigit() else []
    return found
