"""A look at a file: how it is read, and what its columns hold, in its first rows and in a spread of all."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from augment.base.errors import BadInput
from augment.base.files import check_regular
from augment.drafting.units import unit
from augment.recipes.source import Columns, Source
from augment.sources.contents import check_text
from augment.sources.dialects import as_utf8, dialect_of
from augment.sources.encodings import BLOCK, fitting, opened
from augment.sources.formats import kind_of, sample
from augment.sources.sql import WORDS, figure, literal, quoted, text_of
from augment.sources.tables import one_line

SAMPLE = 10_000  # first rows looked at, and as many of the others
NEARLY = 0.97  # of a column's values; of the rest, fewer are bad rows than stop a run
MISSING = ("\\n", "na", "n/a", "#n/a", "null", "none", "nan", "nil", "-", "--", "?")
_DELIMITERS = ("::", "\x01", "^", "~")  # that readers take only when they are told to


@dataclass
class Column:
    """What the rows that were looked at have in a column."""

    name: str
    sql: str  # its text
    rows: int  # with a value
    distinct: int
    number: bool  # every value is one; a leading zero marks a code, such as a postcode
    mostly: bool  # nearly every value is: a few bad rows do not change what a column is
    fraction: bool
    comma: bool  # numbers with a decimal comma
    low: float
    high: float
    missing: list[str]  # words that mean missing
    values: list[str]  # the most frequent ones
    counts: list[int]  # of these
    unit: str = ""  # that all have before or after the number

    @property
    def binary(self) -> bool:
        words = {word for both in WORDS.values() for word in both}
        is_word = {value.lower() for value in self.values} <= words
        return self.distinct == 2 and (is_word or (self.number and (self.low, self.high) == (0, 1)))


@dataclass
class Look:
    """The options that a file is read with, and its columns by name."""

    path: Path
    options: dict[str, Any]
    columns: dict[str, Column]
    kinds: dict[str, str]  # DuckDB's type of each column, of those too that are no text
    pictures: dict[str, Column] = field(default_factory=dict)  # bytes or base64, without `values`, or paths of files
    unread: dict[str, str] = field(default_factory=dict)  # columns that might be of pictures → why they are not read


def look(db: duckdb.DuckDBPyConnection, path: Path, chosen: Iterable[str] = ()) -> Look:
    """Look at a file, whose rows are in table `seen` then: the first, and a spread of the others.

    chosen: columns that the user names; one by its place, as column2, says that there is no header.
    Raises BadInput for a file that cannot be read, or has no rows.
    """
    _check_file(path)
    options: dict[str, Any] = {}

    def seen() -> list[str]:
        return sample(db, Source(path=str(path), columns=Columns(), **options), str(path), SAMPLE)

    try:
        names = seen()
    except BadInput:
        fits = fitting(str(path)) if kind_of(str(path)) != "Parquet" else None
        if fits in (None, "utf-8"):
            raise
        options["encoding"] = fits
        names = seen()
    if kind_of(str(path)) == "delimited text":
        delimiter = next((d for d in _DELIMITERS if len(names) == 1 and d in names[0]), None)
        if delimiter:
            options["delimiter"] = delimiter
            names = seen()
        by_place = any(re.fullmatch(r"column\d+", name) and name not in names for name in chosen)
        if by_place or sum(_is_value(name) for name in names) * 2 > len(names):  # the first line is a row
            options |= {"header": False, "names": [f"column{place + 1}" for place in range(_width(path, options))]}
            names = seen()
    if kind_of(str(path)) == "delimited text" and (len(names) == 1 or not _rows(db)):
        _check_header(path)
    if not _rows(db) and kind_of(str(path)) == "delimited text":  # quotes that no line closes
        options["quote"] = ""
        names = seen()
    if not _rows(db):
        raise BadInput(_no_rows(path, names))
    kinds = [str(row[1]) for row in db.execute("DESCRIBE seen").fetchall()]
    columns = [_column(db, name, kind) for name, kind in zip(names, kinds, strict=True) if name.strip()]
    commas = [c for c in columns if c and c.comma]
    if kind_of(str(path)) == "delimited text" and commas and not any(c and c.number and c.fraction for c in columns):
        options["decimal"] = ","
        for column in commas:
            column.number = column.mostly = column.fraction = True
    found = {column.name: column for column in columns if column}
    return Look(path, options, found, dict(zip(names, kinds, strict=True)))


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInput(f"no file at {path}")
    check_regular(str(path))
    if not path.stat().st_size:
        raise BadInput(f"{path} is empty")
    if kind_of(str(path)) != "Parquet":
        check_text(str(path), kind_of(str(path)) == "delimited text")


def _rows(db: duckdb.DuckDBPyConnection) -> int:
    return int(db.execute("SELECT count(*) FROM seen").fetchall()[0][0])


def _no_rows(path: Path, names: list[str]) -> str:
    with opened(str(path)) as stream:
        lines = stream.read(BLOCK).strip().splitlines()
    if kind_of(str(path)) != "delimited text" or len(lines) < 2:
        return f"{path} has no rows"
    shown = one_line(", ".join(names))
    return f"{path}: no line has as many values as the first, which is to name them ({shown}): mend that line"


def _check_header(path: Path) -> None:
    """Raise BadInput where lines stand above the one that names columns, as in many a shop's exports."""
    with opened(str(path)) as stream:
        lines = [line for line in stream.read(BLOCK).decode("utf-8", "replace").splitlines()[:-1] if line.strip()][:50]
    for delimiter in ",;\t|":
        rows = [row for line in lines for row in csv.reader([line], delimiter=delimiter)]
        widths = [len(row) for row in rows]
        usual = max(set(widths), key=widths.count, default=1)
        above = widths.index(usual) if usual in widths else 0
        if usual > 1 and above and widths.count(usual) >= 0.6 * len(widths) and not any(map(_is_value, rows[above])):
            first = one_line(lines[above])
            raise BadInput(f"{path}: lines stand above the one that names the columns ({first}): remove them")


def _width(path: Path, options: dict[str, Any]) -> int:
    """How many values the first line has; some may be the same."""
    source = Source(path=str(path), columns=Columns(), **options)
    with TemporaryDirectory() as folder:
        return len(dialect_of(as_utf8(str(path), source, Path(folder)), source, []).names)


def _is_value(name: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+([.,:/-]\d+)*\s*", name) is not None


def _column(db: duckdb.DuckDBPyConnection, name: str, kind: str) -> Column | None:
    """None for a column that is no text, such as pictures."""
    text = f"nullif(trim({text_of(quoted(name), kind)}), '')"
    there = f"lower(t) NOT IN ({', '.join(map(literal, MISSING))})"
    try:
        values = db.execute(
            f"SELECT t, count(*) FROM (SELECT {text} AS t FROM seen) WHERE {there} "
            "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 20"
        ).fetchall()
        one = unit([str(value) for value, _ in values])
        rows, distinct, numbers, fraction, commas, low, high, missing = db.execute(
            f"SELECT count(*), count(DISTINCT t), {_numbers(one)}, "
            f"(SELECT list(DISTINCT t) FROM (SELECT {text} AS t FROM seen) WHERE NOT {there}) "
            f"FROM (SELECT {text} AS t FROM seen) WHERE {there}"
        ).fetchall()[0]
    except duckdb.Error:
        return None
    number = bool(rows) and numbers == rows
    comma_only = bool(rows) and not number and commas == rows
    mostly = bool(rows) and numbers >= NEARLY * rows
    most, counts = map(list, zip(*values, strict=True)) if values else ([], [])
    return Column(name, text, rows, distinct, number, mostly, bool(fraction), comma_only, low, high,
                  sorted(missing or []), most, counts, one if mostly or comma_only else "")  # fmt: skip


def _numbers(one: str) -> str:
    """SQL of how many values `t` are numbers, whether any is no whole one, how many are with a decimal comma where some
    can be nothing else, the least and the greatest. one: the unit that they have."""
    units = [one] if one else []
    plain = f"CASE WHEN NOT regexp_matches(t, '^[+-]?0[0-9]') THEN {figure('t', '.', units)} END"
    with_comma = f"(contains(t, ',') AND {figure('t', ',', units)} IS NOT NULL)"
    point = f"CASE WHEN {with_comma} THEN {figure('t', ',', units)} ELSE {plain} END"
    certain = f"{with_comma} AND {figure('t', '.', units)} IS NULL"  # 6,25 and 1.234,50, not 1,234
    return (
        f"count({plain}), coalesce(bool_or({plain} <> floor({plain})), false), "
        f"count({point}) * CAST(coalesce(bool_or({certain}), false) AS INT), "
        f"coalesce(min({point}), 0), coalesce(max({point}), 0)"
    )
