"""What a value is read as, in SQL: any physical type becomes text, and text a name, a number or a moment.

The same rules hold whatever holds the rows: a file's or database's types are left behind by `text_of`, and what comes
after knows text alone. So a run, a night and every format read the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {"1": ("true", "t", "yes", "y"), "0": ("false", "f", "no", "n")}  # booleans as labels and numbers, in any case
# Of times that DuckDB's own reading of ISO 8601 leaves out, those that nobody could take for another time.
_FORMATS = (
    "%Y%m%dT%H%M%S%z", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S", "%Y%m%d %H%M%S", "%Y%m%d %H:%M:%S", "%Y-%m-%d %H", "%Y.%m.%d",
    "%Y.%m.%d %H:%M:%S", "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%d/%b/%Y:%H:%M:%S %z", "%d %b %Y",
    "%d %b %Y %H:%M:%S", "%d-%b-%Y", "%d-%b-%Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%b %d, %Y",
)  # fmt: skip
COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # digits → format; no epoch after 1990 has as many
_DATES = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S", "T%H:%M:%S")
AMBIGUOUS = tuple(day + time for day in _DATES for time in _TIMES)  # what `timestamp_format` is for
_WIDE = "\\x{00A0}\\x{2009}\\x{202F}"  # spaces that do not break a line
_SPACE = f"[ {_WIDE}]"  # between a number and its unit, and between thousands


def text_of(column: str, kind: str, binary: bool = False) -> str:
    """SQL for the text of `column`, of DuckDB's type `kind`: null for NaN, no point in a whole number, no zeros that a
    decimal has of its type's scale alone.

    A BLOB is UTF-8; DuckDB raises its ConversionException for one that is not. A binary one, or what a struct has as
    `bytes`, is base64.
    """
    if binary and kind == "BLOB":
        return f"to_base64({column})"
    if binary and kind.startswith("STRUCT(") and re.search(r'[( ]"?bytes"? BLOB', kind):
        return f"to_base64({column}.bytes)"
    if kind in ("FLOAT", "DOUBLE"):
        whole = f"{column} = trunc({column}) AND abs({column}) < 1e18"
        number = (
            f"CASE WHEN {whole} THEN CAST(TRY_CAST({column} AS HUGEINT) AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
        return f"CASE WHEN NOT isnan({column}) THEN {number} END"
    if kind == "BLOB":
        return f"decode({column})"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return f"CAST(to_json({column}) AS VARCHAR)"
    if kind.startswith("DECIMAL") and not kind.endswith(",0)"):
        return f"rtrim(rtrim(CAST({column} AS VARCHAR), '0'), '.')"
    return f"CAST({column} AS VARCHAR)"


def given(column: str, null: Iterable[str]) -> str:
    """SQL for trimmed text, null where it is empty or one of the strings that mean missing."""
    text = f"nullif(trim({column}), '')"
    return f"CASE WHEN {text} NOT IN ({', '.join(map(literal, null))}) THEN {text} END" if null else text


def name_of(text: str) -> str:
    """SQL for an id or a category: a whole number has no point and no exponent, so that 259.0, which a column with
    nulls is often written as, is 259."""
    pointed = f"ends_with({text}, '0') AND regexp_full_match({text}, '-?\\d+\\.0+')"
    power = f"contains({text}, 'e+') AND regexp_full_match({text}, '-?\\d(\\.\\d+)?e\\+\\d\\d?')"
    number = f"TRY_CAST({text} AS DOUBLE)"
    whole = f"CASE WHEN {number} = trunc({number}) THEN TRY_CAST({number} AS HUGEINT) END"
    return (
        f"CASE WHEN {pointed} THEN split_part({text}, '.', 1) "
        f"WHEN {power} AND ({whole}) IS NOT NULL THEN CAST({whole} AS VARCHAR) ELSE {text} END"
    )


def number_of(text: str, decimal: str = ".", units: Iterable[str] = ()) -> str:
    """SQL for a number of text; NaN is null, yes and true are 1, no and false are 0."""
    number = figure(text, decimal, units)
    words = " ".join(f"WHEN lower({text}) IN ({', '.join(map(literal, w))}) THEN {n}.0" for n, w in WORDS.items())
    return f"CASE {words} WHEN NOT isnan({number}) THEN {number} END"


def figure(text: str, decimal: str = ".", units: Iterable[str] = ()) -> str:
    """SQL for the number in text, null where there is none: one of the units may stand before or after it, and groups
    of thousands apart, where that leaves one reading."""
    bare = _without_units(text, units) if units else text
    between = "," if decimal == "." else "."
    grouped = f"[+-]?[1-9]\\d{{0,2}}(?:[{between}'’]\\d{{3}}|{_SPACE}\\d{{3}})+(?:\\{decimal}\\d*)?"
    gaps = literal(f"[{between}'’ {_WIDE}]")
    joined = f"regexp_replace({bare}, {gaps}, '', 'g')"
    apart = f"CASE WHEN regexp_full_match({bare}, {literal(grouped)}) THEN {joined} ELSE {bare} END"
    if decimal == ".":
        return f"coalesce(TRY_CAST({text} AS DOUBLE), TRY_CAST({apart} AS DOUBLE))"
    return f"TRY_CAST(replace(replace({apart}, '.', '?'), ',', '.') AS DOUBLE)"  # a point stands between groups alone


def _without_units(text: str, units: Iterable[str]) -> str:
    one = "|".join(re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unit) for unit in units)
    before, after = literal(f"^([+-]?)(?:{one}){_SPACE}*"), literal(f"{_SPACE}*(?:{one})$")
    return f"regexp_replace(regexp_replace({text}, {before}, '\\1'), {after}, '')"


def microseconds(text: str, form: str | None = None) -> str:
    """SQL for epoch microseconds: of text as `form` says, else of the epoch in seconds to nanoseconds, compact digits
    or ISO 8601 and its like. Without an offset it is UTC.

    A `form` is for text: moments that are such by their column's type come as ISO 8601 and are read too, but where the
    form itself begins as that does.
    """
    if form:
        read = f"TRY_CAST(try_strptime({text}, {literal(form)}) AS TIMESTAMPTZ)"
        if not form.startswith("%Y-"):
            typed = f"regexp_full_match({text}, '\\d{{4}}-\\d\\d-\\d\\d( \\d\\d:\\d\\d:\\d\\d.*)?')"
            read = f"coalesce({read}, CASE WHEN {typed} THEN TRY_CAST({text} AS TIMESTAMPTZ) END)"
        return f"epoch_us({read})"
    text = f"regexp_replace({text}, '^(\\d+)\\.0+$', '\\1')"  # digits that JSON has as a float
    number = f"TRY_CAST({text} AS DOUBLE)"
    limits = {"1e11": "1e6", "1e14": "1e3", "1e17": "1"}  # by their size: seconds, milli-, micro-, else nanoseconds
    scale = " ".join(f"WHEN abs({number}) < {limit} THEN {factor}" for limit, factor in limits.items())
    epoch = f"TRY_CAST({number} * CASE {scale} ELSE 1e-3 END AS BIGINT)"
    compact = " ".join(
        f"WHEN length({text}) = {size} AND regexp_full_match({text}, '(19|20)\\d+') "
        f"THEN coalesce(epoch_us(try_strptime({text}, '{one}')), {epoch})"
        for size, one in COMPACT.items()
    )
    # 10:00:00,5 and 10:00 +02:00 and 10:00:00 +0000 UTC, which are ISO 8601 but for a character
    mended = f"regexp_replace(upper({text}), ',(\\d+)', '.\\1')"
    mended = f"regexp_replace({mended}, '(\\d) *(?:UTC|GMT)? *([+-]\\d\\d:?\\d\\d)(?: UTC)?$', '\\1\\2')"
    others = f"try_strptime({text}, [{', '.join(map(literal, _FORMATS))}])"
    moments = f"coalesce(TRY_CAST({text} AS TIMESTAMPTZ), TRY_CAST({mended} AS TIMESTAMPTZ), {others})"
    return f"CASE {compact} WHEN {number} IS NOT NULL THEN {epoch} ELSE epoch_us({moments}) END"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


EARLIEST = 631_152_000_000_000  # 1990 in microseconds: earlier timestamps are no shop's
