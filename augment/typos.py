"""Typing errors as people make them. `unseen` and `respelt` are held out for evaluation, the others are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

RATE = 0.3  # share of words that are touched
WORD = 1.7  # characters of a word in a script without spaces (jieba cuts shopping reviews into 1.66 on average)
Edit = Callable[[str, int, np.random.Generator], str]  # of a word, at a place that has a next character
# Scripts without spaces between words: kana and Chinese characters.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {
    key: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _KEYBOARD for i, key in enumerate(row)
}  # the keys left and right of each
_LOOK_ALIKE = str.maketrans("aeiostlbg", "4310$7189")
_TEXTED = {"you": "u", "are": "r", "for": "4", "to": "2", "too": "2", "and": "n", "great": "gr8", "love": "luv",
           "very": "v", "with": "w", "because": "cuz", "please": "pls", "really": "rly", "thanks": "thx"}  # fmt: skip
_SOUNDS = (("ight", "ite"), ("ough", "uff"), ("tion", "shun"), ("ph", "f"), ("ck", "k"), ("qu", "kw"), ("ea", "ee"),
           ("ou", "ow"), ("ai", "ay"), ("wh", "w"), ("ss", "s"), ("ll", "l"), ("tt", "t"), ("c", "k"), ("z", "s"),
           ("ie", "ei"), ("y", "i"), ("er", "a"), ("s", "z"))  # fmt: skip


def typo(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Swapped, dropped, doubled or mistyped characters, words run together: about `rate` of the words change."""
    if unspaced(text):
        return _each_character(text, rng, rate / WORD, (_double, _swap))
    return _each_word(text, rng, rate, (_swap, _drop, _double, _mistype, _join))


def spacing(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Words run together or split in two; spaces between characters where a script has none."""
    if unspaced(text):
        return _each_character(text, rng, rate / WORD, (_split,))
    return _each_word(text, rng, rate, (_join, _split))


def look_alike(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Letters replaced by digits and signs that look like them."""
    return _each_word(text, rng, rate, (_look_alike,))


def word_drop(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """About `rate` of the words are left out; at least one stays. Nothing happens where words are not spaced."""
    words = text.split(" ")
    kept = [word for word, dropped in zip(words, rng.random(len(words)) < rate, strict=True) if not dropped]
    return " ".join(kept or words)


def homophones(text: str, rng: np.random.Generator, alike: Mapping[str, str], rate: float = RATE) -> str:
    """Characters replaced by others that sound the same: `alike` maps a character to those."""
    touched = (rng.random(len(text)) < rate / WORD).tolist()
    return "".join(
        alike[c][int(rng.integers(len(alike[c])))] if hit and alike.get(c) else c
        for c, hit in zip(text, touched, strict=True)
    )


def unseen(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Lost vowels and inserted signs: a family that generation never uses."""
    if unspaced(text):
        return _each_character(text, rng, rate / WORD, (_insert,))
    return _each_word(text, rng, rate, (_lose_vowels, _insert))


def respelt(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Spelt as it sounds, or as people text ("nite", "u", "gr8"); left-out characters in a script without spaces.

    The second family that generation never uses.
    """
    if unspaced(text):
        return _each_character(text, rng, rate / WORD, (_drop,))
    return _each_word(text, rng, rate, (_respell,), shortest=1)


def unspaced(text: str) -> bool:
    """Whether the text is in a script without spaces between words."""
    return bool(_UNSPACED.search(text))


def _each_word(text: str, rng: np.random.Generator, rate: float, edits: Sequence[Edit], shortest: int = 3) -> str:
    words = text.split(" ")
    touched = np.flatnonzero(rng.random(len(words)) < rate)
    kinds = rng.integers(len(edits), size=len(touched))
    for i, kind in zip(touched.tolist(), kinds.tolist(), strict=True):
        if len(words[i]) >= shortest:
            words[i] = edits[kind](words[i], int(rng.integers(max(1, len(words[i]) - 1))), rng)
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


def _split(word: str, i: int, rng: np.random.Generator) -> str:
    return word[: i + 1] + " " + word[i + 1 :]


def _respell(word: str, i: int, rng: np.random.Generator) -> str:
    """The texted form, or up to two sounds spelt another way."""
    lower = word.lower()
    core = lower.strip(".,!?;:")
    if core in _TEXTED:
        return lower.replace(core, _TEXTED[core])
    found = [sound for sound in _SOUNDS if sound[0] in lower]
    for k in rng.permutation(len(found))[:2].tolist():
        old, new = found[k]
        lower = lower.replace(old, new, 1)
    return lower


def _look_alike(word: str, i: int, rng: np.random.Generator) -> str:
    return word.lower().translate(_LOOK_ALIKE)


def _lose_vowels(word: str, i: int, rng: np.random.Generator) -> str:
    """Two or more; a single lost letter is a typo like any other, so a sign is inserted then."""
    bare = word[0] + re.sub("[aeiou]", "", word[1:])
    return bare if len(word) - len(bare) >= 2 else _insert(word, i, rng)


def _insert(word: str, i: int, rng: np.random.Generator) -> str:
    return word[: i + 1] + "*~_^"[int(rng.integers(4))] + word[i + 1 :]
