"""The n-grams that a published version's vectors are made of, kept beside the table for whoever encodes more texts.

    <root>/_sparring/encoders/<hash>.safetensors

The version's encoder is named by that hash, so a file is written once and never changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from augment.base.errors import BadInput
from augment.base.files import write_whole

if TYPE_CHECKING:  # reading a table needs no scikit-learn
    from augment.language.ngrams import Ngrams

PLACE = "_sparring/encoders"
_NAME = re.compile(r"ngrams@([0-9a-f]{12})$")


def keep(root: Path, ngrams: Ngrams | None) -> None:
    """Before the commit that names them."""
    if ngrams is not None and not (root / (place := paths([ngrams.name])[0])).exists():
        write_whole(root / place, ngrams.content)


def paths(encoders: Iterable[str]) -> list[str]:
    """Where the n-grams of these encoders are, relative to the table."""
    return [f"{PLACE}/{found[1]}.safetensors" for name in encoders if (found := _NAME.search(name))]


def load(encoders: Iterable[str], read: Callable[[str], bytes | None], where: object) -> Ngrams | None:
    """The n-grams of a version's encoder, None where it has none. Raises BadInput when they are gone or changed."""
    from augment.language.ngrams import Ngrams, name_of

    for path in paths(encoders):
        content = read(path)
        if content is None:
            raise BadInput(f"{where}/{path}: missing; the version's vectors cannot be made again without it")
        if paths([name_of(content)]) != [path]:
            raise BadInput(f"{where}/{path}: not what was published")
        return Ngrams(content, f"{where}/{path}")
    return None


def load_local(root: Path, encoders: Iterable[str]) -> Ngrams | None:
    """`load` from a table on this disk."""

    def read(path: str) -> bytes | None:
        return (root / path).read_bytes() if (root / path).exists() else None

    return load(encoders, read, root)


def unused(root: Path, runs: Iterable[str]) -> list[Path]:
    """Those that no manifest of these runs names."""
    manifests = [root / "_sparring" / "manifests" / f"{run}.json" for run in runs]
    named = "".join(path.read_text("utf-8", "replace") for path in manifests if path.exists())
    return [path for path in sorted((root / PLACE).glob("*.safetensors")) if path.stem not in named]
