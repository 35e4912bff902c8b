"""What must be read of the tables of `dressing.py`, value by value."""

from __future__ import annotations

import re
from typing import Any

from augment.recipes.source import Source, field_column
from augment.sources.sql import WORDS
from malformed.tables import EMPTY, Table


def columns_read(source: Source, modality: str) -> dict[str, tuple[str, str]]:
    """Columns of the typed rows → sort and the file's column."""
    columns = source.columns
    names = {"user_id": columns.user, "item_id": columns.item, "segment": columns.segment}
    found = {ours: ("name", column) for ours, column in names.items() if column}
    found |= {"text": ("text", columns.text)} if columns.text else {}
    found |= {"timestamp": ("time", columns.timestamp)} if columns.timestamp else {}
    found |= {"label": ("label", columns.label)} if columns.label else {}
    found |= {field_column(column): ("name", column) for column in columns.fields}
    return found | {field_column(column): ("number", column) for column in columns.numbers}


def unlike(rows: list[Any], table: Table, source: Source, read: list[tuple[str, str]], text: str) -> str | None:
    """The first value that is not what was written, in a row that has no reason; or a good row that is called bad."""
    for number, (found, written) in enumerate(zip(rows, table.rows, strict=True)):
        wanted = [_wanted(sort, written[column], table, source) for sort, column in read]
        for (sort, column), value, right in zip(read, found[1:], wanted, strict=True):
            if sort == "time" and "do not tell" in text:
                continue
            same = value == right or (sort in ("number", "label") and _close(value, right))
            if not same and not (found[0] and isinstance(right, Exception)):
                if found[0] and found[0] not in ("duplicate", "bot"):
                    return f"row {number} is called bad ({found[0]}): {column} {written[column]!r}, {wanted}"
                return f"row {number}: {column} {written[column]!r} was read as {value!r}, not {right!r}; {found[0]}"
    return None


def _close(value: Any, right: Any) -> bool:
    return isinstance(value, float) and isinstance(right, float) and abs(value - right) <= 1e-9 * max(1, abs(right))


def _wanted(sort: str, cell: str, table: Table, source: Source) -> Any:
    """What a cell is read as; an error where it cannot be."""
    value = cell.replace("\r\n", "\n").replace("\r", "\n").strip(" ")
    nothing = {"", *source.null}
    if value in nothing or (table.form != "delimited" and value.lower() in EMPTY):
        return ValueError("missing") if sort in ("time",) else None
    if sort == "text":
        return value
    if sort == "name":
        if re.fullmatch(r"-?\d(\.\d+)?e\+\d\d?", value):
            return str(int(float(value)))
        return value.split(".")[0] if re.fullmatch(r"-?\d+\.0+", value) else value
    if sort == "time":
        return table.times.get(value, ValueError("no time"))
    if sort == "label" and isinstance(source.positive, list):
        return float(value.lower() in [word.lower() for word in source.positive])
    if value.lower() == "nan":
        return None
    for meant, words in WORDS.items():
        if value.lower() in words:
            return float(meant)
    try:
        number = float(value.replace(",", ".") if source.decimal == "," else value)
    except ValueError:
        return ValueError("no number")
    positive = source.positive
    return float(number >= positive) if sort == "label" and isinstance(positive, int | float) else number
