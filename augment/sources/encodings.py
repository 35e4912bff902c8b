"""Which encoding a text file is in: strict decoding of what it holds, and whether that reads like a language."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from augment.base.errors import BadInput
from augment.recipes.source import codec_of

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FEW = 1000  # of so many lines one may be in no encoding: it is malformed, and the file is read
MALFORMED = "\udcff"  # decoded, what was no character; encoded again, a byte that no UTF-8 has: DuckDB refuses the line
LENIENT = "sparring.malformed"  # codecs' name for that
BLOCK = 1 << 20
_SAMPLE = 1 << 20  # bytes of lines beyond ASCII that an encoding is told from
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}  # before those of UTF-16, which begin alike
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_PUNCTUATION = set(
    "，。！？、；：“”‘’（）《》【】…—～·「」『』・　％￥－＋＆＝" + "".join(map(chr, range(0xFF10, 0xFF5B)))
)


def _lenient(error: UnicodeError) -> tuple[str, int]:
    return MALFORMED, error.end  # type: ignore[attr-defined]


codecs.register_error(LENIENT, _lenient)


def _rows(codec: str, first: int, last: int) -> set[str]:
    """The characters of rows of a two-byte character set: the frequent ones come first in each."""
    pairs = (bytes((lead, trail)) for lead in range(first, last + 1) for trail in range(0xA1, 0xFF))
    return {c for pair in pairs if len(c := pair.decode(codec, "ignore")) == 1}


_HANZI = _rows("gb2312", 0xB0, 0xD7)
_KANJI = _rows("euc_jp", 0xB0, 0xCF) | set(map(chr, range(0x3041, 0x30FF)))
_FANTI = _rows("big5", 0xA4, 0xC6) | {
    c
    for lead in range(0xA4, 0xC7)
    for trail in range(0x40, 0x7F)
    if (c := bytes((lead, trail)).decode("big5", "ignore"))
}
_CYRILLIC = re.compile(r"[А-ЯЁа-яё][а-яё]{2,}")
_ACCENTED = re.compile(r"(?<![^\x00-\x7f])[à-öø-ýßÀ-ÖØ-ÝœŒšž€£°«»¿¡’‘“”–—…®™]{1,2}(?![^\x00-\x7f])")


def _of(usual: set[str] | re.Pattern[str]) -> Callable[[str], float]:
    """Of a text, the share of its characters beyond ASCII that are usual ones."""

    def score(text: str) -> float:
        found = "".join(usual.findall(text)) if isinstance(usual, re.Pattern) else (c for c in text if c in usual)
        return sum(c > "\x7f" for c in found) / max(1, sum(c > "\x7f" for c in text))

    return score


# What is tried, and how much of a text reads like that language; of equals the first, which has the fewest characters.
_CANDIDATES: dict[str, Callable[[str], float]] = {
    "euc_kr": _of(set(map(chr, range(0xAC00, 0xD7A4))) | _PUNCTUATION),
    "gb18030": _of(_HANZI | _PUNCTUATION),
    "big5": _of(_FANTI | _PUNCTUATION),
    "shift_jis": _of(_KANJI | _PUNCTUATION),
    "euc_jp": _of(_KANJI | _PUNCTUATION),
    "windows-1251": _of(_CYRILLIC),
    "latin-1": _of(_ACCENTED),
}


@contextmanager
def opened(path: str) -> Iterator[pa.NativeFile]:
    """The bytes of a file, decompressed. Raises BadInput for what cannot be read, such as half of a compressed file."""
    try:
        with pa.input_stream(path, compression=COMPRESSIONS.get(Path(path).suffix.lower())) as stream:
            yield stream
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None


def wide(first: bytes) -> str | None:
    """UTF-16 or UTF-32, of a file that begins so."""
    for mark, name in _MARKS.items():
        if first.startswith(mark):
            return name
    first = first[: len(first) // 2 * 2]
    for name, zeros in (("utf-16-le", first[1::2]), ("utf-16-be", first[::2])):  # without a mark: ASCII with zeros
        if zeros.count(0) > 0.3 * len(zeros) and first.count(0) < 0.7 * len(first):
            return name
    return None


def check(path: str, encoding: str) -> None:
    """Raise BadInput when a file's lines are in another encoding, naming it.

    Some lines may be in none, or another than most: they are malformed, and the share of bad rows decides.
    """
    lines = good = bad = 0
    with opened(path) as stream:
        name = wide(stream.read(BLOCK))
    if name and codec_of(encoding) == "utf-8":  # of ASCII, every byte but a mark is UTF-8 too
        raise BadInput(f'{path}: is not UTF-8 but reads as {name}: set `encoding = "{name}"`')
    with opened(path) as stream:
        text = io.TextIOWrapper(stream, codec_of(encoding), errors=LENIENT)
        for line in text:
            lines += 1
            bad += MALFORMED in line
            good += MALFORMED not in line and not line.isascii()
    if bad * FEW > lines and bad >= good and (fits := fitting(path)):
        raise BadInput(
            f"{path}: is not {encoding.upper()} ({bad:,} of {lines:,} lines) but reads as {fits}: set "
            f'`encoding = "{fits}"`'
        )


def fitting(path: str) -> str | None:
    """The encoding that the lines beyond ASCII read best in, or None where they read like no language."""
    found, size, rest = [], 0, b""
    with opened(path) as stream:
        block = stream.read(BLOCK)
        if name := wide(block):
            return name
        while block and size < _SAMPLE:
            *lines, rest = (rest + block).split(b"\n")
            found += [line for line in lines if not line.isascii()]
            size = sum(map(len, found))
            block = stream.read(BLOCK)
    sample = b"\n".join([*found, b"" if block else rest])  # of whole lines
    scores = {}
    for name, score in {"utf-8": lambda text: 1.0, **_CANDIDATES}.items():
        with suppress(UnicodeDecodeError):
            scores[name] = score(sample.decode(codec_of(name)))
    best = max(scores, key=lambda name: scores[name], default=None)
    if best is None or scores[best] < 0.5:
        return None
    return "windows-1252" if best == "latin-1" and re.search(rb"[\x80-\x9f]", sample) else best
