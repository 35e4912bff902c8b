"""Frozen encoders of anything: named by the hash of their weights, batched, cached by the hash of what they encode."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from augment.base.progress import bar
from augment.base.shelf import Shelf

C = TypeVar("C", str, bytes)
BATCH = 32
LOOKED_UP = 1024  # in the cache at a time


class FrozenEncoder(Generic[C]):
    """Contents (texts, pictures) to unit vectors float32[n, dim]. Equal ones are encoded once, across runs too.

    The name holds a hash of the model's weights: a vector is only meaningful beside vectors of the same encoder.
    """

    unit: ClassVar[str]  # what one content is called

    def __init__(self, name: str, dim: int, model: Callable[[list[C]], np.ndarray], cache: Path | None) -> None:
        self.name, self.dim = name, dim
        self._model: Callable[[list[C]], np.ndarray] = model
        self._cache = Cache(cache, name, dim) if cache else None

    def ordered(self, things: Iterable[C]) -> list[C]:
        """In which order they are encoded."""
        return list(things)

    def encode(self, things: Sequence[C]) -> np.ndarray:
        place = {thing: i for i, thing in enumerate(dict.fromkeys(things))}
        vectors = np.zeros((len(place), self.dim), np.float32)
        missing = self.ordered(self._unknown(place, vectors))
        with bar(len(missing), "encoding", self.unit) as shown:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                fresh = np.asarray(self._model(batch), dtype=np.float32)
                fresh /= np.maximum(np.linalg.norm(fresh, axis=1, keepdims=True), 1e-12)
                vectors[[place[thing] for thing in batch]] = fresh
                if self._cache:
                    self._cache.put(batch, fresh)
                shown.update(len(batch))
        return vectors if len(place) == len(things) else vectors[[place[thing] for thing in things]]

    def _unknown(self, place: dict[C, int], vectors: np.ndarray) -> list[C]:
        """What the cache does not hold; vectors that it does go to their places, some at a time."""
        if self._cache is None:
            return list(place)
        wanted, missing = list(place), []
        for start in range(0, len(wanted), LOOKED_UP):
            known = self._cache.get(part := wanted[start : start + LOOKED_UP])
            for thing in part:
                if thing in known:
                    vectors[place[thing]] = known[thing]
                else:
                    missing.append(thing)
        return missing


def weights_hash(state: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def local(source: str) -> Path:
    """The model's folder; of a hub model only what cannot run code is downloaded."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"]))


def refuse_code(folder: Path) -> None:
    """A model folder may name classes of its own or hold pickled weights, and either runs code when loaded."""
    listed = folder / "modules.json"
    for module in json.loads(listed.read_text("utf-8")) if listed.exists() else ():
        if not str(module["type"]).startswith("sentence_transformers."):
            raise ValueError(f"modules.json names the class {module['type']}, which is not of sentence-transformers")
        part = folder / module["path"]
        if list(part.glob("*.bin")) and not list(part.glob("*.safetensors")):
            raise ValueError(f"{part} holds pickled weights; only safetensors are read")


class Cache:
    """Vectors by the hash of what they are of."""

    def __init__(self, path: Path, encoder: str, dim: int) -> None:
        self._shelf = Shelf(path, "embeddings", "vectors (key BLOB PRIMARY KEY, vector BLOB)")
        self._encoder, self._dim = encoder, dim

    def get(self, things: list[C]) -> dict[C, np.ndarray]:
        def read(db: sqlite3.Connection) -> dict[C, np.ndarray]:
            found = {}
            for thing in things:
                row = db.execute("SELECT vector FROM vectors WHERE key = ?", (self._key(thing),)).fetchone()
                if row and len(row[0]) == 4 * self._dim:
                    found[thing] = np.frombuffer(row[0], np.float32)
            return found

        return self._shelf.work(read)

    def put(self, things: list[C], vectors: np.ndarray) -> None:
        rows = [(self._key(thing), vector.tobytes()) for thing, vector in zip(things, vectors, strict=True)]
        self._shelf.work(lambda db: db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows))

    def _key(self, thing: str | bytes) -> bytes:
        content = thing.encode() if isinstance(thing, str) else thing
        return hashlib.sha256(self._encoder.encode() + b"\0" + content).digest()
