"""Synonyms: English WordNet 3.0, the Chinese thesaurus Cilin, or groups of words from a file. And Chinese homophones.

WordNet: Miller (1995), CACM 38(11). Replacing words by synonyms as augmentation: Zhang, Zhao & LeCun (2015), NeurIPS.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.errors import BadInput, UsageError, suggest
from augment.language.typos import mostly_unspaced, unspaced

WORDNET = "/usr/share/wordnet"  # where Debian's wordnet-base puts it; SPARRING_WORDNET names another folder
SENSES = 2  # WordNet lists the senses of a word by frequency; later ones are rarely meant
_FILES = (".tsv", ".csv", ".txt")
# Treebank's tags of uninflected forms: the synonym of an inflected one would have to be inflected too.
_PARTS = {"NN": "n", "VB": "v", "VBP": "v", "JJ": "a", "RB": "r"}
_TOKENS = re.compile(
    r"[^\W\d_]+(?=n['’]t\b)|n['’]t\b|['’](?:s|m|re|ve|ll|d)\b|[^\W\d_]+|\s+|.", re.IGNORECASE | re.DOTALL
)
_CONTRACTED = re.compile("n?['’]", re.IGNORECASE)


class Lexicon(Protocol):
    def split(self, text: str) -> list[str]:
        """Words, and what stands between them; joined with nothing between, they are the text again."""
        ...

    def substitutes(self, words: list[str]) -> list[list[str]]:
        """What may stand for each of the tokens of one text, none of it the token itself; [] where nothing may."""
        ...


def lexicon(name: str) -> Lexicon:
    """`wordnet`, `cilin`, or the path of a file with a group of synonyms per line, separated by tabs or commas.

    Raises UsageError when its data or packages are missing, BadInput when the data cannot be read.
    """
    if remedy := available(name):
        raise UsageError(f"synonyms '{name}' are not available here: {remedy}")
    if name == "wordnet":
        return _wordnet(_folder())
    return _cilin(_data("cilin")) if name == "cilin" else _groups(Path(name))


def available(name: str) -> str:
    """What to do before `lexicon(name)` works here; "" when it does."""
    if name == "wordnet":
        if find_spec("nltk") is None or find_spec("textblob") is None:
            return "pip install 'sparring[synonyms]'"
        if not (_folder() / "data.noun").is_file():
            return "apt install wordnet-base, or set SPARRING_WORDNET to the folder of its data.noun"
        return ""
    if name == "cilin":
        return unfetched("cilin")
    if not name.endswith(_FILES):
        return f"that is no file ending in {', '.join(_FILES)}{suggest(name, ('wordnet', 'cilin'))}"
    return "" if Path(name).is_file() else "there is no such file"


def suited(text: str) -> str:
    """The lexicon for the script of a text."""
    return "cilin" if mostly_unspaced(text) else "wordnet"


def replace_words(text: str, lexicon: Lexicon, rate: float, rng: np.random.Generator) -> str:
    """`text` with about `rate` of its replaceable words replaced, one at least; unchanged where there are none."""
    words = lexicon.split(text)
    choices = lexicon.substitutes(words)
    places = [i for i, choice in enumerate(choices) if choice]
    if not places:
        return text
    for i in rng.choice(places, max(1, round(rate * len(places))), replace=False).tolist():
        words[i] = choices[i][int(rng.integers(len(choices[i])))]
    return "".join(words)


class WordNet:
    """English. A word is replaced only in its base form, by lemmas with which it shares one of the first senses of both
    as the part of speech it has.

    folder: WordNet's dict files. Stop words ("not", "very") and words beside an apostrophe stay as they are.
    """

    def __init__(self, folder: Path) -> None:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
        from textblob.en import parser  # of its PatternTagger: a lexicon and rules in the package, no download

        self._reader, self._tag, self._stop = _reader(folder), parser.find_tags, ENGLISH_STOP_WORDS
        self._lemmas = lru_cache(maxsize=None)(self._look_up)

    def split(self, text: str) -> list[str]:
        return _TOKENS.findall(text)

    def substitutes(self, words: list[str]) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in words]
        before = ""  # the word before
        for i, part in self._parts(words).items():
            word = words[i]
            if part in _PARTS and word.isalpha() and not _CONTRACTED.match("".join(words[i + 1 : i + 2])):
                lemmas = self._lemmas(word.lower(), _PARTS[part])
                found[i] = [_same_case(word, lemma) for lemma in lemmas if _fits(before, word, lemma)]
            before = word
        return found

    def _parts(self, words: list[str]) -> dict[int, str]:
        """Place of each token that is not a space → its part of speech."""
        sentences: list[list[int]] = [[]]
        for i, word in enumerate(words):
            if not word.isspace():
                sentences[-1].append(i)
            if word in (".", "!", "?"):
                sentences.append([])
        tagged = (zip(places, self._tag([words[i] for i in places]), strict=True) for places in sentences)
        return {i: part for sentence in tagged for i, (_, part) in sentence}

    def _look_up(self, word: str, part: str) -> list[str]:
        if word in self._stop or len(word) < 3:
            return []
        senses = [s for s in self._reader.synsets(word, part)[:SENSES] if word in s.lemma_names()]  # no inflected form
        names = {name for sense in senses for name in sense.lemma_names() if name.isalpha() and name.islower()}
        # "go" may mean "fit", but in its twentieth sense: nobody would read it so.
        return sorted(n for n in names - {word} if not {*senses}.isdisjoint(self._reader.synsets(n, part)[:SENSES]))


_wordnet = cache(WordNet)  # it takes seconds to load


class Groups:
    """Words found by longest match, with or without spaces between, and what may stand for each, whatever its case."""

    def __init__(self, substitutes: Mapping[str, list[str]], words: Iterable[str]) -> None:
        self._substitutes, self._words = substitutes, frozenset(words)
        self._longest = max(map(len, self._words), default=0)

    def split(self, text: str) -> list[str]:
        tokens, start, other = [], 0, 0  # text[other:start] is in no known word
        while start < len(text):
            if end := self._end(text, start):
                tokens += [text[other:start], text[start:end]]
                start = other = end
            else:
                start += 1
        return [token for token in (*tokens, text[other:]) if token]

    def substitutes(self, words: list[str]) -> list[list[str]]:
        return [[_same_case(word, other) for other in self._substitutes.get(word.lower(), ())] for word in words]

    def _end(self, text: str, start: int) -> int:
        """Where the longest known word at `start` ends; 0 when none starts there."""
        if _inside_word(text, start):
            return 0
        for end in range(min(len(text), start + self._longest), start, -1):
            if text[start:end].lower() in self._words and not _inside_word(text, end):
                return end
        return 0


def homophones() -> dict[str, str]:
    """Chinese character → the common characters that sound the same but for the tone.

    Common are the 3,755 of GB 2312's first level, which an input method offers first. UsageError: not fetched yet.
    """
    return _homophones(_data("homophones"))


@cache
def _homophones(path: Path) -> dict[str, str]:
    alike: dict[str, str] = {}
    for group in _read(path, "homophones")["characters"].to_pylist():
        for character in group:
            known = alike.get(character, "")
            alike[character] = known + "".join(c for c in group if c != character and c not in known and _common(c))
    return {character: others for character, others in alike.items() if others}


def _common(character: str) -> bool:
    return 0xB0 <= (character.encode("gb2312", errors="ignore") or b"?")[0] <= 0xD7


@cache
def _cilin(path: Path) -> Groups:
    """Cilin (HIT's extended edition): groups with codes such as Ed03A01=, whose first letter is the major class.

    Classes are parts of speech refined: A to D nouns, E adjectives, F to J verbs, K and L function words. Only a word
    whose every group is of one class, and of which one is of synonyms ("="; "#" marks related words, "@" single ones),
    is replaced, by words that are as unambiguous and as long: longer ones are mostly idioms. Single characters stay:
    longest match leaves those over where it cut wrongly.
    """
    table = _read(path, "cilin").to_pydict()
    classes: dict[str, set[str]] = {}
    for code, words in zip(table["code"], table["words"], strict=True):
        for word in words:
            classes.setdefault(word, set()).add(code[0])
    groups = [words for words, mark in zip(table["words"], table["relation"], strict=True) if mark == "="]
    times = Counter(word for words in groups for word in words)
    clear = {w for w, of in classes.items() if len(of) == 1 and not of & {"K", "L"} and len(w) > 1 and times[w] == 1}
    longest = max(map(len, clear), default=0)
    alike = [[w for w in words if w in clear and len(w) == n] for words in groups for n in range(2, longest + 1)]
    return Groups(_others(alike), classes)


def _groups(path: Path) -> Groups:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: synonyms cannot be read ({error}); give a text file in UTF-8") from None
    groups = [[word.strip().lower() for word in re.split(r"[\t,]", line) if word.strip()] for line in lines]
    if substitutes := _others(groups):
        return Groups(substitutes, substitutes)
    raise BadInput(f"{path}: no line holds two synonyms; write a group per line, separated by tabs or commas")


def _others(groups: Iterable[list[str]]) -> dict[str, list[str]]:
    """Word → the other words of its groups."""
    others: dict[str, dict[str, None]] = {}
    for group in groups:
        for word in group:
            others.setdefault(word, {}).update(dict.fromkeys(other for other in group if other != word))
    return {word: list(other) for word, other in others.items() if other}


def _reader(folder: Path) -> Any:
    """NLTK's reader of the folder."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    nltk.data.path.append(str(folder))  # it reads only below folders listed there

    class Reader(WordNetCorpusReader):
        def open(self, file: str) -> Any:
            # Debian leaves out the names of the 45 lexicographer files. NLTK must have them; nothing here reads them.
            if file == "lexnames" and not (folder / file).exists():
                return io.StringIO("".join(f"{i:02d}\tfile{i}\t0\n" for i in range(45)))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """No map to the other version that NLTK would download."""

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no other languages
            return Reader(str(folder), None)
    except Exception as error:  # a damaged file ends in any of a dozen errors there
        raise BadInput(f"{folder}: WordNet cannot be read ({error}); install wordnet-base again") from None


def _folder() -> Path:
    return Path(os.environ.get("SPARRING_WORDNET") or WORDNET)


def _data(name: str) -> Path:
    """Where `sparring data NAME` puts it."""
    return Path(os.environ.get("SPARRING_DATA") or "sparring-data") / f"{name}.parquet"


def unfetched(name: str) -> str:
    """The command that fetches "cilin" or "homophones"; "" when its file is here."""
    folder = _data(name).parent
    elsewhere = f" --folder {folder}" if os.environ.get("SPARRING_DATA") else ""
    return "" if _data(name).is_file() else f"sparring data {name}{elsewhere}"


def _read(path: Path, name: str) -> pa.Table:
    if remedy := unfetched(name):
        raise UsageError(f"{path} is missing: {remedy}")
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: cannot be read ({error}); delete it, then: sparring data {name}") from None


def _same_case(word: str, other: str) -> str:
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


def _fits(before: str, word: str, other: str) -> bool:
    """Whether `a` or `an` before the word is right before the other too."""
    return before.lower() not in ("a", "an") or (word[0].lower() in "aeiou") == (other[0] in "aeiou")


def _inside_word(text: str, place: int) -> bool:
    """Whether letters or digits of a spaced script stand on both sides of the place."""
    around = text[max(0, place - 1) : place + 1]
    return len(around) == 2 and around.isalnum() and not unspaced(around)
