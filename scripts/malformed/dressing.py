"""Rows of a real table under other names, and with values written otherwise, for `commands.py`."""

from __future__ import annotations

import random
import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from malformed import forms
from malformed.tables import NAMES, ROLES, Real, Table

FORMS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "offset", "%s", "ms", "%Y%m%d%H%M%S"]
FORMS += ["%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%a, %d %b %Y %H:%M:%S GMT", "%d/%b/%Y:%H:%M:%S +0000"]
PLAIN_FORMS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "offset", "%s", "%Y/%m/%d %H:%M:%S", "%d %b %Y %H:%M:%S"]
LABELS = [("no", "yes"), ("False", "True"), ("negative", "positive"), ("Bad", "Good"), ("0.0", "1.0"), ("-1", "1")]
LABELS += [("1", "5"), ("差评", "好评"), ("f", "t")]
MISSING = ["", "", "NaN", "NA", "\\N", "null", "-"]


def dressed(real: Real, folder: Path, chance: random.Random) -> Table:
    """Files of real rows in `folder`, and what is in them."""
    count = 25_000 if chance.random() < 0.06 else chance.choice([1, 12, 60, 200, 200, 400, 400, 900])
    block = real.block(count, chance)
    form = chance.choice(["delimited"] * 3 + ["json", "parquet"])
    made = Table([], [], {}, real.task, form, date(2026, 11, 20), how=[real.name, f"{len(block)} rows", form])
    renamed = {name: chance.choice(NAMES.get(name, [name])) for name in block.column_names}
    when = _times(block, chance)
    if when is not None and "timestamp" not in renamed:
        renamed["timestamp"] = chance.choice(NAMES["timestamp"])
    if chance.random() < 0.1:  # a column that decides the task is not there
        renamed.pop(chance.choice(list(renamed)))
        made.whole = False
    made.roles = {ROLES[name]: new for name, new in renamed.items() if name in ROLES}
    if "ad_id" in renamed:
        made.roles.setdefault("item", "ad_id")
    style, missing = chance.choice(FORMS), chance.choice(MISSING)
    plain = {name: block[name].to_pylist() for name in block.column_names if name in renamed and name != "timestamp"}
    made.whole &= len(block) >= 200 and all(_telling(plain, real.task))
    mixed = chance.random() < 0.15  # several ways to write a time, none of which can be another
    words = chance.choice(LABELS) if chance.random() < 0.3 and real.task != "recommender" else ("0", "1")
    for number in range(len(block)):
        if mixed:
            style = chance.choice(PLAIN_FORMS)
        row = {renamed[name]: _cell(values[number], missing) for name, values in plain.items()}
        if when is not None and "timestamp" in renamed:
            row[renamed["timestamp"]] = cell = _moment(when[number], style, chance)
            made.times[cell] = _microseconds(when[number], style)
        if (label := made.roles.get("label")) in row and row[label] in ("0", "1"):
            row[label] = words[int(row[label])]
        made.rows.append(row)
    made.how.append(f"{'mixed' if mixed else style} {missing!r} {words} {renamed}")
    if chance.random() < 0.2:
        _priced(made, chance)
    if made.times:
        made.last = max(when).date() + timedelta(days=1)  # type: ignore[arg-type]
    _surprise(made, renamed, chance)
    forms.WRITERS[form](made, folder, chance)
    if chance.random() < 0.12 and len(made.rows) > 1:
        forms.spoil(made, chance)
    made.malformed = sum(bad for _, bad in made.counts.values())
    return made


def _priced(made: Table, chance: random.Random) -> None:
    """Numbers as people write them in one column, which are none to a reader."""
    columns = [c for c, v in made.rows[-1].items() if re.fullmatch(r"\d+\.\d+", v) and c not in made.roles.values()]
    if not columns:
        return
    column, how = chance.choice(columns), chance.choice(["${}", "{} EUR", "{:,.2f}", "{}%", "{:+.3f}", "{:.2e}"])
    made.how.append(f"{column}: {how}")
    for row in made.rows:
        if re.fullmatch(r"\d+\.\d+", row[column]):
            row[column] = how.format(float(row[column]) * (1000 if "," in how else 1))


def _telling(plain: dict[str, list[Any]], task: str) -> list[bool]:
    """Whether there is something to learn from rows as they are."""
    enough = []
    if task != "recommender":
        ones = sum(map(bool, plain.get("label", [])))
        enough.append(min(ones, len(plain.get("label", [])) - ones) >= 60)
    else:
        users = plain.get("user_id") or plain.get("session_id") or [0]
        enough.append(len(set(users)) < len(users) / 6)
    return enough


def _times(block: pa.Table, chance: random.Random) -> list[datetime] | None:
    """Real moments, or for tables without some made-up ones, or none."""
    utc = timezone.utc
    if "timestamp" in block.column_names:
        values = block["timestamp"].to_pylist()
        if isinstance(values[0], str):
            return [datetime.fromisoformat(value) for value in values]
        if isinstance(values[0], datetime):
            return [value.replace(tzinfo=utc) for value in values]
        return [datetime.fromtimestamp(value, utc) for value in values]
    if chance.random() < 0.5:
        return None
    start = datetime(2023, 3, 5, tzinfo=utc)
    return [start + timedelta(seconds=chance.randrange(86_400 * 60)) for _ in range(len(block))]


def _moment(at: datetime, style: str, chance: random.Random) -> str:
    if style == "offset":
        hours = chance.choice([-5, 0, 2, 8])
        return (at + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") + f"{hours:+03}:00"
    if style == "ms":
        return str(int(at.timestamp() * 1000))
    return str(int(at.timestamp())) if style == "%s" else at.strftime(style)


def _microseconds(at: datetime, style: str) -> int:
    whole = int(at.timestamp()) * 1_000_000
    fine = {"ms": at.microsecond // 1000 * 1000, "%Y-%m-%d %H:%M:%S.%f": at.microsecond}
    return whole + fine.get(style, 0)


def _cell(value: Any, missing: str) -> str:
    if value is None:
        return missing
    return str(int(value)) if isinstance(value, bool) else str(value)


def _surprise(made: Table, renamed: dict[str, str], chance: random.Random) -> None:
    """Late rows of another sort: what no reader that looks at the first rows can know."""
    rows, how = made.rows, chance.choice(["none", "none", "quote", "float", "word", "date", "lines", "empty"])
    if len(rows) < 60 or how == "none":
        return
    made.how.append(how)
    late = range(20_481, len(rows)) if len(rows) > 20_481 else range(len(rows) - 8, len(rows))
    column = chance.choice(list(rows[0]))
    if how == "date":
        column = renamed.get("timestamp", column)
    for place in chance.sample(late, min(3, len(late))):
        odd = {"quote": f'5" {rows[place][column]}', "float": "3.5", "word": "n/a yet", "date": "next Tuesday",
               "lines": 'a\n"b",\tc;d\n', "empty": ""}[how]  # fmt: skip
        rows[place] = {**rows[place], column: odd}
