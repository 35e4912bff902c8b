"""Delimited text as it is: ends of lines, delimiter, header, and quotes that are never closed.

Nothing is guessed from the first rows: quotes are doubled within quotes (RFC 4180) from the first byte to the last, and
the delimiter is the recipe's or that of the file's own first line. What DuckDB would read wrong (another encoding, ends
of lines of several kinds, a quote that is never closed) is copied into UTF-8 that it reads right, a block at a time.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from augment.base.errors import BadInput
from augment.recipes.source import Source, codec_of
from augment.sources.contents import check_text
from augment.sources.encodings import BLOCK, LENIENT, MALFORMED, check, fitting, opened, wide

DELIMITERS = (",", ";", "\t", "|")  # that a first line may have without being asked
LONGEST_RECORD = 500_000  # characters within which a quote must be closed
LONGEST_LINE = 10_000  # characters of a malformed line that are kept
_AROUND = 64  # bytes before and behind quotes that tell which they are
_STAND_IN = "\ue000"  # for a delimiter of several characters: Python's csv knows none


@dataclass(frozen=True)
class Dialect:
    """How one file of delimited text is read."""

    names: list[str]  # of its columns
    delimiter: str
    quote: str
    header: bool
    skip: int = 0  # lines before the header, or the first row


def as_utf8(path: str, source: Source, folder: Path, lines: bool = True) -> str:
    """The path of a text file, or of a copy in `folder` where it is not UTF-8; or, with `lines`, these end unlike.

    Raises BadInput for what is no text, and for text of another encoding than the source's, naming the one that fits.
    """
    check_text(path, lines)
    codec = codec_of(source.encoding)
    utf8 = codec in ("utf-8", "utf-8-sig", "ascii")
    valid, beyond, plain = _survey(path, source.quote)
    if utf8 and not valid:
        check(path, source.encoding)
    one_byte = len("é".encode(codec, "ignore")) == 1
    if not codec.startswith("utf") and valid and beyond > (0 if one_byte else 20):
        raise BadInput(f"{path}: is UTF-8, not {source.encoding.upper()}: leave `encoding` out")
    return path if utf8 and (plain or not lines) else _copied(path, source, folder / "utf8")


def _survey(path: str, quote: str) -> tuple[bool, int, bool]:
    """Whether a file is UTF-8, how many of its bytes are beyond ASCII, and whether its lines end alike."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, beyond, within, ends, last = True, 0, 0, set(), b""
    with opened(path) as stream:
        while block := stream.read(BLOCK):
            if not last:
                valid = wide(block) is None
            if valid and not (block.isascii() and not decoder.getstate()[0]):
                beyond += len(block) - len(block.decode("ascii", "ignore"))
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    valid = False
            outside = b"\r" + block if last[-1:] == b"\r" else block
            if quote:  # ends of lines within quotes are the text's own
                parts = outside.split(quote.encode())
                outside, within = b"|".join(parts[within::2]), (within + len(parts) - 1) % 2
            crlf, lf = outside.count(b"\r\n"), outside.count(b"\n")
            cr = outside[: -1 if outside.endswith(b"\r") else None].count(b"\r")  # the last may be half of an end
            ends |= {end for end, count in (("crlf", crlf), ("lf", lf - crlf), ("cr", cr - crlf)) if count > 0}
            last = block
    valid = valid and not decoder.getstate()[0]
    return valid, beyond, len(ends) < 2


def _copied(path: str, source: Source, copy: Path) -> str:
    """A copy in UTF-8 whose lines end in a line feed. A few characters that are none make their lines malformed."""
    codec = codec_of(source.encoding)
    bad = False
    with opened(path) as stream, copy.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        text = io.TextIOWrapper(stream, "utf-8-sig" if codec == "utf-8" else codec, errors=LENIENT, newline=None)
        try:
            while block := text.read(BLOCK):
                bad = bad or MALFORMED in block
                out.write(block)
        except UnicodeError as error:  # UTF-16 without its mark, say
            fits = fitting(path)
            remedy = f'; set `encoding = "{fits}"`' if fits else ""
            raise BadInput(f"{path}: is not {source.encoding.upper()}: {error}{remedy}") from None
    if bad:
        check(path, source.encoding)
    return str(copy)


def dialect_of(path: str, source: Source, wanted: list[str]) -> Dialect:
    """How the UTF-8 file at `path` is read: by the recipe, and where that says nothing by the file's own first line.

    Of the delimiters that line may have, it is the one by which most columns of the recipe are found, then the one that
    finds most columns. Raises BadInput for a first line that is no header.
    """
    with opened(path) as stream:
        head = stream.read(BLOCK).decode("utf-8", "replace").lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    delimiters, skip = (source.delimiter,) if source.delimiter else DELIMITERS, 0
    if excel := re.match(r"sep=(.)\n", head, re.IGNORECASE):  # a first line that tells Excel alone
        head, skip = head[excel.end() :], 1
        delimiters = (source.delimiter or excel[1],)
    elif not source.delimiter and re.search(r"\.tsv\b", path.lower()):
        delimiters = ("\t",)

    blank = re.match(r"(?: *\n)*", head)
    skip, head = skip + blank[0].count("\n"), head[blank.end() :]  # type: ignore[index, union-attr]

    def fits(delimiter: str) -> tuple[int, int]:
        cells = _cells(head, delimiter, source.quote)
        found = int(len(cells) == len(source.names)) if source.names else len(set(cells) & set(wanted))
        return found, len(cells)

    delimiter = max(delimiters, key=fits)
    names = source.names or _cells(head, delimiter, source.quote)
    return Dialect(names, delimiter, source.quote, source.header, skip)


def _cells(head: str, delimiter: str, quote: str) -> list[str]:
    """The values of the first line that is not empty."""
    one = delimiter if len(delimiter) == 1 else _STAND_IN
    text = io.StringIO(head.replace(delimiter, one), newline="")
    quoting = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    try:
        cells = next((row for row in csv.reader(text, delimiter=one, **quoting) if row), [])
    except csv.Error:  # a value of absurd length
        cells = []
    return [cell.replace(_STAND_IN, delimiter) if one == _STAND_IN else cell for cell in cells]


def may_end_open(path: str, dialect: Dialect) -> bool:
    """Whether the last quote of a UTF-8 file may begin a value that nothing closes: DuckDB leaves the rows from
    there on out without a word. Never false where it does; true also where an inch mark stands within a value, say.
    """
    quote, count, kept = dialect.quote.encode(), 0, b""  # kept: the last quotes with what is around them
    with opened(path) as stream:
        while block := stream.read(BLOCK):
            count += block.count(quote)
            seen = kept + block
            last = seen.rfind(quote)
            first = len(seen[: last + 1].rstrip(quote))
            kept = seen[max(0, first - _AROUND) : last + _AROUND] + seen[max(last + _AROUND, len(seen) - _AROUND) :]
    before, after = kept[: kept.rfind(quote)].rstrip(quote), kept[kept.rfind(quote) + 1 :]
    run = len(kept) - len(before) - len(after)
    begins = not before.strip(b" ") or before.rstrip(b" ").endswith((dialect.delimiter.encode(), b"\r", b"\n"))
    ends = not after or after.startswith((dialect.delimiter.encode(), b"\r", b"\n"))
    return count > 0 and (count % 2 == 1 or not ends or run % 2 == begins)


def without_open_quotes(path: str, dialect: Dialect, folder: Path) -> tuple[str, Path]:
    """A copy without the lines whose quotes are never closed, and JSON lines of [place, line] that hold those.

    A quote must be closed within the record that it begins, and that have as many values as the header, or its line
    alone is malformed: what follows is read.
    """
    copy, apart = folder / "closed", folder / "apart"
    quote, between = re.escape(dialect.quote), re.escape(dialect.delimiter)
    inner = f"{quote}(?:[^{quote}]|{quote}{quote})*"
    cell = f"(?:{inner}{quote}|(?!{quote})(?:(?!{between})[^\n])*)"
    whole = re.compile(f"{cell}(?:{between}{cell}){{{len(dialect.names) - 1}}}\n?\\Z")
    unclosed = re.compile(f"(?:{cell}{between})*{inner}\\Z")
    with opened(path) as stream, copy.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        lines = _Lines(io.TextIOWrapper(stream, "utf-8-sig", errors=LENIENT, newline=None))
        with apart.open("w", encoding="utf-8", newline="") as bad:
            for line in lines:
                if dialect.quote not in line or lines.place <= 1 + dialect.skip or not unclosed.match(line):
                    out.write(line)  # what is wrong with it, if anything, is so within the line
                elif (record := _closed(line, lines, whole, unclosed, dialect.quote)) is not None:
                    out.write(record)
                else:
                    shown = line.rstrip("\n")[:LONGEST_LINE].replace(MALFORMED, "?")
                    bad.write(json.dumps([lines.place, shown]) + "\n")
    return str(copy), apart


class _Lines:
    """Lines of a text, of which some can be given back. `place`: of the last one, from 1."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self._back, self.place = text, deque[str](), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._text)
        self.place += 1
        return line

    def back(self, lines: list[str]) -> None:
        self._back.extendleft(reversed(lines))
        self.place -= len(lines)


def _closed(line: str, lines: _Lines, whole: re.Pattern[str], unclosed: re.Pattern[str], quote: str) -> str | None:
    """The record that begins with the line and ends in one of those that follow, or None: those are given back then."""
    record, taken = line, []
    while unclosed.match(record) and len(record) < LONGEST_RECORD:
        more, size = [], len(record)
        for following in lines:
            more.append(following)
            size += len(following)
            if quote in following or size > LONGEST_RECORD:
                break
        taken += more
        record += "".join(more)
        if whole.match(record):
            return record
        if not more:
            break
    lines.back(taken)
    return None
