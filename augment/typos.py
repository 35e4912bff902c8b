"""Typing errors as people make them. `typo` is for generation; `unseen` is another family, for evaluation only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

RATE = 0.3  # share of words (where there are no words, a fifth of it of characters) that are touched
Edit = Callable[[str, int, np.random.Generator], str]  # of a word, at a place that has a next character
# Scripts without spaces between words: kana and Chinese characters.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {
    key: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _KEYBOARD for i, key in enumerate(row)
}  # the keys left and right of each
_LOOK_ALIKE = str.maketrans("aeiostlbg", "4310$7189")


def typo(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Swapped, dropped, doubled or mistyped characters, words run together: about `rate` of the words change."""
    if _UNSPACED.search(text):
        return _each_character(text, rng, rate / 5, (_drop, _double, _swap))
    return _each_word(text, rng, rate, (_swap, _drop, _double, _mistype, _join))


def unseen(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Look-alike characters, lost vowels, inserted characters: a family that generation never uses."""
    if _UNSPACED.search(text):
        return _each_character(text, rng, rate / 5, (_insert,))
    return _each_word(text, rng, rate, (_look_alike, _lose_vowels, _insert))


def _each_word(text: str, rng: np.random.Generator, rate: float, edits: Sequence[Edit]) -> str:
    words = text.split(" ")
    touched = np.flatnonzero(rng.random(len(words)) < rate)
    kinds = rng.integers(len(edits), size=len(touched))
    for i, kind in zip(touched.tolist(), kinds.tolist(), strict=True):
        if len(words[i]) > 2:
            words[i] = edits[kind](words[i], int(rng.integers(len(words[i]) - 1)), rng)
    return " ".join(words).replace("\0 ", "").replace("\0", "")


def _each_character(text: str, rng: np.random.Generator, rate: float, edits: Sequence[Edit]) -> str:
    touched = np.flatnonzero(rng.random(len(text)) < rate)
    for i in touched[::-1].tolist():  # from the end, so that earlier places stay where they are
        if i < len(text) - 1:
            text = edits[int(rng.integers(len(edits)))](text, i, rng)
    return text


def _swap(word: str, i: int, rng: np.random.Generator) -> str:
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _drop(word: str, i: int, rng: np.random.Generator) -> str:
    return word[:i] + word[i + 1 :]


def _double(word: str, i: int, rng: np.random.Generator) -> str:
    return word[: i + 1] + word[i:]


def _mistype(word: str, i: int, rng: np.random.Generator) -> str:
    near = _BESIDE.get(word[i].lower(), word[i])
    return word[:i] + near[int(rng.integers(len(near)))] + word[i + 1 :]


def _join(word: str, i: int, rng: np.random.Generator) -> str:
    return word + "\0"  # swallows the space that follows


def _look_alike(word: str, i: int, rng: np.random.Generator) -> str:
    return word.lower().translate(_LOOK_ALIKE)


def _lose_vowels(word: str, i: int, rng: np.random.Generator) -> str:
    return word[0] + re.sub("[aeiou]", "", word[1:])


def _insert(word: str, i: int, rng: np.random.Generator) -> str:
    return word[: i + 1] + "*~_^"[int(rng.integers(4))] + word[i + 1 :]
