"""Typing errors as people make them. `unseen` and `respelt` are held out for evaluation, the others are not.

A text is a row of stretches: of words with spaces between them, or of a script without (Chinese characters, kana, Thai,
Lao, Khmer, Burmese). What is edited is a grapheme cluster, which a reader takes for one character (UAX #29); none is
ever taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice

import numpy as np
import regex

from augment.base.progress import say

RATE = 0.3  # share of words that are touched
WORD = 1.7  # characters of a word in Chinese or Japanese (jieba cuts shopping reviews into 1.66 on average)
COMPLEX_WORD = 3.0  # clusters of a word in Thai, Lao, Khmer or Burmese (2.8 to 3 in reviews cut by hand)
LOOKED_AT = 200  # pairs of texts and copies by which the share is known well enough
Edit = Callable[[list[str], int, np.random.Generator], list[str]]  # of clusters, at a place that has a next one
# Of words, or of clusters where they are not spaced, float[n]: those of the greatest are touched, instead of any.
Rank = Callable[[Sequence[str]], np.ndarray]
# Scripts without spaces between words. Those of South-East Asia are what Unicode's rules for line breaks call complex
# (class SA, UAX #14).
_COMPLEX = regex.compile(r"\p{Line_Break=SA}")
_LETTERS = rf"[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}\p{{Bopomofo}}ー{_COMPLEX.pattern}]"
_UNSPACED = regex.compile(_LETTERS)
_SPACED = regex.compile(rf"(?V1)[[\p{{L}}\p{{M}}]--{_LETTERS}]+")  # letters of all other scripts
_CLUSTER = regex.compile(r"\X\p{M}*")  # a Burmese vowel that UAX #29 lets stand alone is a mark all the same
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {
    key: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _KEYBOARD for i, key in enumerate(row)
}  # the keys left and right of each
_LOOK_ALIKE = str.maketrans("aeiostlbg", "4310$7189")
_VOWELS = frozenset("aeiou")
_TEXTED = {"you": "u", "are": "r", "for": "4", "to": "2", "too": "2", "and": "n", "great": "gr8", "love": "luv",
           "very": "v", "with": "w", "because": "cuz", "please": "pls", "really": "rly", "thanks": "thx"}  # fmt: skip
# A letter under an accent of its own is another letter.
_SOUNDS = [(regex.compile(rf"{old}(?!\p{{M}})"), new) for old, new in (
           ("ight", "ite"), ("ough", "uff"), ("tion", "shun"), ("ph", "f"), ("ck", "k"), ("qu", "kw"), ("ea", "ee"),
           ("ou", "ow"), ("ai", "ay"), ("wh", "w"), ("ss", "s"), ("ll", "l"), ("tt", "t"), ("c", "k"), ("z", "s"),
           ("ie", "ei"), ("y", "i"), ("er", "a"), ("s", "z"))]  # fmt: skip


def typo(text: str, rng: np.random.Generator, rate: float = RATE, rank: Rank | None = None) -> str:
    """Swapped, dropped, doubled or mistyped characters, words run together: about `rate` of the words change."""
    return _edited(text, rng, rate, (_swap, _drop, _double, _mistype, _join), (_double, _swap), rank=rank)


def spacing(text: str, rng: np.random.Generator, rate: float = RATE, rank: Rank | None = None) -> str:
    """Words run together or split in two; spaces between characters where a script has none."""
    return _edited(text, rng, rate, (_join, _split), (_split,), rank=rank)


def look_alike(text: str, rng: np.random.Generator, rate: float = RATE, rank: Rank | None = None) -> str:
    """Latin letters replaced by digits and signs that look like them."""
    return _edited(text, rng, rate, (_look_alike,), (), rank=rank)


def word_drop(text: str, rng: np.random.Generator, rate: float = RATE, rank: Rank | None = None) -> str:
    """About `rate` of the words are left out; at least one stays. Nothing happens where words are not spaced."""
    words = text.split(" ")
    dropped = set(_touched(words, np.full(len(words), rate), rng, rank))
    kept = [word for i, word in enumerate(words) if i not in dropped]
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
    return _edited(text, rng, rate, (_lose_vowels, _insert), (_insert,))


def respelt(text: str, rng: np.random.Generator, rate: float = RATE) -> str:
    """Spelt as it sounds, or as people text ("nite", "u", "gr8"); left-out characters in a script without spaces.

    The second family that generation never uses.
    """
    return _edited(text, rng, rate, (_respell,), (_drop,), shortest=1)


def units(text: str) -> list[str]:
    """Its words, or clusters where they are not spaced, as a `Rank` is asked of them."""
    return [unit for part, bare in _stretches(text) for unit in (_clusters(part) if bare else part.split(" "))]


def unspaced(text: str) -> bool:
    """Whether any of the text is in a script without spaces between words."""
    return bool(_UNSPACED.search(text))


def mostly_unspaced(text: str) -> bool:
    """Whether more of the words are in a script without spaces than in others."""
    if not unspaced(text):
        return False
    sizes = {True: 0.0, False: 0.0}
    for stretch, bare in _stretches(text):
        sizes[bare] += sum(size for _, size in _units(stretch, bare))
    return sizes[True] > sizes[False]


def touched(pairs: Iterable[tuple[str, str]]) -> float:
    """Share of the words of texts that are another in their copies; NaN without any words.

    pairs: texts and their copies. Where a script has no spaces, a changed character counts as one word.
    """
    changed = total = 0.0
    for text, copy in pairs:
        before, after = ([unit for part in _stretches(t) for unit in _units(*part)] for t in (text, copy))
        words = sum(size for _, size in before)
        total += words
        if text != copy:
            matcher = SequenceMatcher(None, [w for w, _ in before], [w for w, _ in after], autojunk=False)
            edits = [code[1:] for code in matcher.get_opcodes() if code[0] != "equal"]
            changed += min(words, sum(max(b - a, min(1, d - c)) for a, b, c, d in edits))
    return changed / total if total else float("nan")


def say_touched(copies: Mapping[str, Iterable[tuple[str, str]]], asked: float = RATE) -> dict[str, float]:
    """Say which share of words each family of edits really touched, and where that is less than half of `asked`.

    copies: family → texts and their copies, of which the first few hundred are looked at.
    """
    shares = {family: touched(islice(pairs, LOOKED_AT)) for family, pairs in copies.items()}
    shares = {family: share for family, share in shares.items() if np.isfinite(share)}
    for family, share in shares.items():
        little = f", {asked:.0%} were asked" if share < asked / 2 else ""
        say(f"{family} touched {share:.0%} of words{little}")
    return shares


def _units(stretch: str, bare: bool) -> list[tuple[str, float]]:
    """The words of a stretch, or its clusters where they are not spaced, each with the share of a word that it is."""
    if not bare:
        return [(word, 1.0) for word in stretch.split()]
    found = _clusters(stretch)
    return [(c, 0.0 if c.isspace() else 1 / n) for c, n in zip(found, _lengths(found), strict=True)]


def _stretches(text: str) -> Iterator[tuple[str, bool]]:
    """The text cut where words with spaces end or begin, and whether a stretch is without.

    What is no letter (signs, digits, spaces) goes with the unspaced letters that it touches.
    """
    if not _UNSPACED.search(text):
        yield text, False
        return
    start = end = 0  # of what is spaced so far
    for found in _SPACED.finditer(text):
        if _UNSPACED.search(text, end, found.start()):
            if start < end:
                yield text[start:end], False
            yield text[end : found.start()], True
            start = found.start()
        end = found.end()
    if start < end and _UNSPACED.search(text, end):
        yield text[start:end], False
        start = end
    if start < len(text):
        yield text[start:], bool(_UNSPACED.search(text, start))


def _edited(
    text: str, rng: np.random.Generator, rate: float, of_words: Sequence[Edit], of_others: Sequence[Edit],
    shortest: int = 3, rank: Rank | None = None,
) -> str:  # fmt: skip
    """Each stretch with edits of its kind. Words of fewer clusters than `shortest` stay as they are."""
    made = [
        _each_cluster(stretch, rng, rate, of_others, rank)
        if bare
        else _each_word(stretch, rng, rate, of_words, shortest, rank)
        for stretch, bare in _stretches(text)
    ]
    return "".join(made).replace("\0 ", "").replace("\0", "")


def _touched(
    units: Sequence[str], chances: np.ndarray, rng: np.random.Generator, rank: Rank | None, shortest: int = 0
) -> list[int]:
    """Places, in order: each by its chance; or as many as that comes to, of the greatest `rank`.

    shortest: characters of a unit that may be ranked.
    """
    if rank is None:
        return np.flatnonzero(rng.random(len(units)) < chances).tolist()
    able = np.array([i for i, unit in enumerate(units) if len(unit) >= max(1, shortest) and not unit.isspace()], int)
    wanted = int(chances.sum() + rng.random())
    ranked = able[np.argsort(-rank([units[i] for i in able]), kind="stable")] if wanted and len(able) else able[:0]
    return sorted(ranked[:wanted].tolist())


def _each_word(
    text: str, rng: np.random.Generator, rate: float, edits: Sequence[Edit], shortest: int, rank: Rank | None
) -> str:
    words = text.split(" ")
    touched = _touched(words, np.full(len(words), rate), rng, rank, shortest)
    kinds = rng.integers(len(edits), size=len(touched))
    for i, kind in zip(touched, kinds.tolist(), strict=True):
        word = _clusters(words[i])
        if len(word) >= shortest:
            words[i] = "".join(edits[kind](word, int(rng.integers(max(1, len(word) - 1))), rng))
    return " ".join(words)


def _each_cluster(text: str, rng: np.random.Generator, rate: float, edits: Sequence[Edit], rank: Rank | None) -> str:
    if not edits:
        return text
    found = _clusters(text)
    touched = _touched(found, rate / _lengths(found), rng, rank)
    for i in touched[::-1]:  # from the end, so that earlier places stay where they are
        if i < len(found) - 1:
            found = edits[int(rng.integers(len(edits)))](found, i, rng)
    return "".join(found)


def _clusters(text: str) -> list[str]:
    return list(text) if text.isascii() else _CLUSTER.findall(text)


def _lengths(clusters: Sequence[str]) -> np.ndarray:
    """float64[n]: of how many clusters like each a word is made."""
    if not _COMPLEX.search("".join(clusters)):
        return np.full(len(clusters), WORD)
    return np.array([COMPLEX_WORD if _COMPLEX.match(cluster) else WORD for cluster in clusters])


def _swap(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return [*word[:i], *word[i + 1 : i + 2], word[i], *word[i + 2 :]]


def _drop(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return word[:i] + word[i + 1 :]


def _double(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return word[: i + 1] + word[i:]


def _mistype(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    near = _BESIDE.get(word[i].lower())
    return [*word[:i], near[int(rng.integers(len(near)))] if near else word[i], *word[i + 1 :]]


def _join(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return [*word, "\0"]  # swallows the space that follows


def _split(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return [*word[: i + 1], " ", *word[i + 1 :]]


def _respell(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    """The texted form, or up to two sounds spelt another way."""
    lower = "".join(word).lower()
    core = lower.strip(".,!?;:")
    if core in _TEXTED:
        return [lower.replace(core, _TEXTED[core])]
    found = [sound for sound in _SOUNDS if sound[0].search(lower)]
    for k in rng.permutation(len(found))[:2].tolist():
        old, new = found[k]
        lower = old.sub(new, lower, count=1)
    return [lower]


def _look_alike(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return [cluster.lower().translate(_LOOK_ALIKE) if len(cluster) == 1 else cluster for cluster in word]


def _lose_vowels(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    """Two or more; a single lost letter is a typo like any other, so a sign is inserted then."""
    bare = word[:1] + [cluster for cluster in word[1:] if cluster not in _VOWELS]
    return bare if len(word) - len(bare) >= 2 else _insert(word, i, rng)


def _insert(word: list[str], i: int, rng: np.random.Generator) -> list[str]:
    return [*word[: i + 1], "*~_^"[int(rng.integers(4))], *word[i + 1 :]]
