"""A task's own words: n-grams weighed by TF-IDF, and a truncated SVD of them as vectors. Fitted once, then frozen.

A sentence encoder that was trained elsewhere knows neither a shop's words nor how they are misspelt; counts of its own
training texts do. Latent semantic analysis: Deerwester et al. (1990), JASIS 41(6).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from augment.base.errors import BadInput
from augment.base.files import sha256
from augment.language.typos import mostly_unspaced

DIM = 512
FIT_CHARACTERS = 4_000_000  # of texts, some ten thousand reviews: more teach little, and cost time and memory
BATCH = 4096  # texts counted at a time
LENGTH = 2_000  # characters of a text that are read
MOST = {"words": 10_000, "characters": 30_000}  # commonest n-grams that count; three times as many gain .001 AUC
FEW = 20  # texts below which every n-gram counts, not only those of two texts
ITERATIONS = 2  # power iterations of the randomised SVD (Halko et al., 2011)
_WORD = re.compile(r"\b\w\w+\b")


def words(text: str) -> list[str]:
    """Words and pairs of them; none in a script without spaces, where characters tell all."""
    if mostly_unspaced(text):
        return []
    found = _WORD.findall(text[:LENGTH].lower())
    return found + [f"{a} {b}" for a, b in pairwise(found)]


def characters(text: str) -> list[str]:
    """Runs of 2 to 5 characters; of 1 to 3 in a script without spaces."""
    lengths = (1, 2, 3) if mostly_unspaced(text) else (2, 3, 4, 5)
    plain = " ".join(text[:LENGTH].lower().split())
    return [plain[i : i + n] for n in lengths for i in range(len(plain) - n + 1)]


ANALYZERS: dict[str, Callable[[str], list[str]]] = {"words": words, "characters": characters}


class Counts:
    """TF-IDF of texts: csr float32[n, F], words beside characters, each part of unit length."""

    def __init__(self, parts: dict[str, TfidfVectorizer]) -> None:
        self._parts = parts

    @classmethod
    def fit(cls, texts: Sequence[str]) -> tuple[Counts, csr_matrix]:
        """What was fitted, and the TF-IDF of the texts themselves. Of texts without any n-gram, F is 0."""
        parts, blocks = {}, []
        for name, analyzer in ANALYZERS.items():
            least = 1 if len(texts) < FEW else 2
            made = _vectorizer(analyzer, min_df=least, max_features=MOST[name])
            try:
                blocks.append(made.fit_transform(texts))
            except ValueError:  # no n-gram is in `least` texts
                continue
            parts[name] = made
        return cls(parts), _beside(blocks, len(texts))

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        return _beside([part.transform(texts) for part in self._parts.values()], len(texts))

    def arrays(self) -> dict[str, np.ndarray]:
        """What safetensors hold: the inverse document frequencies float32[F] and the n-grams, as JSON in bytes."""
        held = {}
        for name, part in self._parts.items():
            listed = json.dumps(part.get_feature_names_out().tolist())  # in ASCII
            held[f"{name}.idf"] = part.idf_.astype(np.float32)
            held[f"{name}.json"] = np.frombuffer(listed.encode(), np.uint8)
        return held

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Counts:
        """Raises ValueError or KeyError where `arrays` are not what `Counts.arrays` gave."""
        parts = {}
        for name in (name for name in ANALYZERS if f"{name}.idf" in arrays):
            listed = json.loads(arrays[f"{name}.json"].tobytes())
            parts[name] = _vectorizer(ANALYZERS[name], vocabulary=listed)
            parts[name].idf_ = arrays[f"{name}.idf"]
        return cls(parts)


def _beside(blocks: list[csr_matrix], rows: int) -> csr_matrix:
    return hstack(blocks, "csr") if blocks else csr_matrix((rows, 0), dtype=np.float32)


def _vectorizer(analyzer: Callable[[str], list[str]], **settings: object) -> TfidfVectorizer:
    return TfidfVectorizer(analyzer=analyzer, sublinear_tf=True, dtype=np.float32, **settings)


class Ngrams:
    """Texts to unit vectors float32[n, dim], dim ≤ 512; a text without any known n-gram to zeros.

    The name holds a hash of all that was fitted, so equal names are equal spaces.
    """

    def __init__(self, content: bytes, where: str = "n-grams") -> None:
        """content: what `fit` made, as it is kept. Raises BadInput when it is not that."""
        try:
            arrays = load(content)
            self._counts = Counts.of(arrays)
            self._components = arrays["components"].astype(np.float32)
            self.texts = int(arrays["texts"][0])
        except (SafetensorError, ValueError, KeyError) as error:
            raise BadInput(f"{where}: not the n-grams of an encoder ({error}); fit them anew") from None
        self.content = content
        self.name = name_of(content)

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int) -> Ngrams:
        """Of the texts, which must be training texts alone, or of as many of them as `FIT_CHARACTERS` allow."""
        known = list(dict.fromkeys(texts))
        order = np.random.default_rng(seed).permutation(len(known))
        read = np.cumsum([min(len(known[i]), LENGTH) for i in order.tolist()])
        known = [known[i] for i in np.sort(order[read <= FIT_CHARACTERS]).tolist()]
        counts, matrix = Counts.fit(known)
        arrays = {**counts.arrays(), "components": _components(matrix, seed)}
        return cls(save({**arrays, "texts": np.array([len(texts)], np.int64)}))

    @property
    def dim(self) -> int:
        return len(self._components)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), BATCH):
            part = slice(start, start + BATCH)
            vectors[part] = self._counts.transform(texts[part]) @ self._components.T
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def name_of(content: bytes) -> str:
    return f"ngrams@{sha256(content)[:12]}"


def _components(matrix: csr_matrix, seed: int) -> np.ndarray:
    """float16[dim, F]: right singular vectors, without those of singular values that are nothing but rounding."""
    rows, features = matrix.shape
    dim = min(DIM, rows, features)
    if not dim:
        return np.zeros((0, features), np.float16)
    _, values, vectors = randomized_svd(matrix, dim, n_iter=ITERATIONS, random_state=seed)
    return vectors[values > 1e-4 * values[0]].astype(np.float16)
