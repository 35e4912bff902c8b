"""What a user's file holds: how it is read, what its columns are, and the task that they fit.

Looks at the first rows and at a spread of all; `augment.drafting.trial` then tries what is guessed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from augment.base.errors import BadInput, UsageError, suggest
from augment.drafting.look import NEARLY, Column, Look
from augment.drafting.names import (
    CLICKS,
    GOOD,
    LETTERS,
    NAMES,
    OPINIONS,
    among,
    every_named,
    named,
    plain,
    rating,
    times,
)
from augment.recipes.source import Columns, Source, Split
from augment.sources.formats import kind_of
from augment.sources.sql import AMBIGUOUS, EARLIEST, WORDS, given, microseconds
from augment.sources.tables import one_line

# Words in names of fields whose change leaves what is asked the same, and of those that never do: whose, and of what.
_MUTABLE = """hour minute weekday dow dayofweek day daypart month season position pos slot rank placement device os
browser platform network connection carrier screen price discount channel referrer referer page layout"""
_FIXED = "id ids user item ad product customer member visitor session sku brand gender sex age category genre title"
_WORDS = 20  # different labels in words, at most: all that a look keeps


@dataclass(frozen=True)
class Choices:
    """What the user has decided: a task, and columns for roles. The rest is guessed."""

    task: str | None = None
    label: str | None = None
    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    text: str | None = None
    image: str | None = None

    @property
    def roles(self) -> dict[str, str]:
        chosen = {role: getattr(self, role) for role in ("label", "user", "item", "timestamp", "text", "image")}
        return {role: column for role, column in chosen.items() if column is not None}


@dataclass
class Guess:
    """A source and the task it is for, as far as known; `notes` say why, option by option."""

    path: Path
    kind: str
    roles: dict[str, str]
    fields: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    mutable: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    script: str = "latin"  # of the texts: latin, chinese or other
    products: str = ""  # the source that is its catalogue,
    people: str = ""  # and that of what its users declare
    unread: dict[str, str] = field(default_factory=dict)  # columns of pictures, it seems, that cannot be read → why
    seen: list[Column] = field(default_factory=list)

    def source(self, **changes: Any) -> Source:
        columns = Columns(**self.roles, fields=self.fields, numbers=self.numbers, mutable=self.mutable)
        return Source(**{"path": str(self.path), **self.options, **changes}, columns=columns, split=Split(**self.split))


def guess(db: duckdb.DuckDBPyConnection, look: Look, choices: Choices) -> Guess:
    """What the rows are that were looked at; `db` has them.

    Raises BadInput for a file that holds nothing to learn from; UsageError for one whose columns fit no task, or not
    the user's choices.
    """
    path, options, columns = look.path, look.options, look.columns
    roles = _roles(columns, choices)
    kind, positive = _kind(look, roles, choices)
    if kind != "sentiment":
        roles.pop("text", None)
        roles.pop("segment", None)
    if kind == "recommender":
        roles.pop("label", None)
    found = Guess(path, kind, roles, options=options, seen=list(columns.values()))
    if positive is not None:
        options["positive"] = positive
        found.notes["positive"] = "labels from here on are 1" if isinstance(positive, float) else "these labels are 1"
    _time(db, found, columns, choices)
    _missing(found, columns)
    if kind == "recommender":
        _unused_label(found, columns)
    if kind == "ctr":
        _fields(found, columns)
    if kind == "sentiment":
        text = columns[roles["text"]]
        rows = db.execute(f"SELECT {text.sql} FROM seen WHERE {text.sql} IS NOT NULL LIMIT 1000").fetchall()
        found.script = script_of(row[0] for row in rows)
    if kind == "recommender" and "timestamp" in roles:
        found.split = {"by": "user_time", "core": 5}
    elif "timestamp" in roles:
        found.split = {"by": "time"}
    return found


# -- roles and task ------------------------------------------------------------------------------------


def _roles(columns: dict[str, Column], choices: Choices) -> dict[str, str]:
    """Role → column, but for the label: as chosen, else by name."""
    roles = {role: found.name for role, name in choices.roles.items() if (found := named(columns, "", name))}
    for role, names in NAMES.items():
        if role not in roles:
            known = times(columns) if role == "timestamp" else every_named(columns, names)
            free = [c for c in known if c.rows and c.name not in roles.values()]
            if role == "text":  # numbers are none, whatever they are called
                free = [c for c in free if not c.mostly]
            roles |= {role: free[0].name} if free else {}
    return roles


def _kind(look: Look, roles: dict[str, str], choices: Choices) -> tuple[str, float | list[str] | None]:
    """The task, and the source's `positive`; puts the label among the roles."""
    path, columns = look.path, look.columns
    text = "text" in roles and choices.task in (None, "sentiment")
    chosen, useless = roles.get("label"), ""
    if choices.task != "recommender":
        for label in [chosen] if chosen else _labels(columns, roles, text):
            column = columns[label]
            clicks = among(label, CLICKS.partition(" ")[2]) and "text" not in choices.roles
            reviews = text and not (clicks and {"user", "item"} & roles.keys())
            if usable := _positive(column, rated=reviews or bool(chosen) or choices.task == "ctr"):
                roles["label"] = label
                return "sentiment" if reviews else "ctr", usable[0]
            if chosen or not _positive(column, rated=True):  # else a rating, which would do for reviews
                useless = useless or (
                    f"'{label}', whose values are {one_line(', '.join(column.values[:8])) or 'none'}: needed are 0 and "
                    "1, numbers of which the higher are better, or words such as positive and negative"
                )
            if useless and (chosen or (clicks and column.distinct < 2)):
                raise BadInput(f"{path}: nothing to learn from label {useless}")
    if choices.task in (None, "recommender") and {"user", "item"} <= roles.keys():
        return "recommender", None
    if useless and not look.unread and not any(column.binary for column in columns.values()):
        raise BadInput(f"{path}: nothing to learn from label {useless}")
    raise UsageError(_no_task(look, choices))


def _labels(columns: dict[str, Column], roles: dict[str, str], text: bool) -> list[str]:
    """Columns whose name is one of a label, most telling first."""
    names = f"{OPINIONS} {CLICKS}" if text else f"{CLICKS} {OPINIONS}"
    return [column.name for column in every_named(columns, names) if column.name not in roles.values()]


def _positive(column: Column, rated: bool) -> tuple[float | list[str] | None] | None:
    """The `positive` that makes labels 0 and 1 of a column's values, None where they are; or nothing that could.

    rated: numbers on a scale will do.
    """
    low, high = column.low, column.high
    if column.distinct < 2:
        return None
    clicks = {value: count for value, count in zip(column.values, column.counts, strict=True) if _is_click(value)}
    if len({float(value) for value in clicks}) == 2 and sum(clicks.values()) >= NEARLY * column.rows:
        return (None,)
    if column.mostly:
        if low >= 0 and high <= 1:
            return (None,)
        if column.distinct == 2:  # -1 and 1, 1 and 2
            return (high,)
        if not rated:
            return None
        if low < 0:  # a polarity: 0 is neither
            return (0.0 if column.fraction else 1.0,)
        return (_threshold(low, high),)
    words = {value.lower() for value in column.values}
    if words <= {word for both in WORDS.values() for word in both}:
        return (None,)
    good = [value for value in column.values if value.casefold() in GOOD.split() or LETTERS.get(value.lower()) in words]
    if not good and rated:
        good = _well_rated(column)
    return (good,) if good and column.distinct <= _WORDS and len(good) < column.distinct else None


def _well_rated(column: Column) -> list[str]:
    """Labels that differ in their number alone, as `4 out of 5 stars` or `★★★★☆`: those at the upper end."""
    found = {word: rated for word in column.values if (rated := rating(word))}
    if len(found) != column.distinct or len({beside for beside, _ in found.values()}) > 1:
        return []
    numbers = [number for _, number in found.values()]
    return sorted(word for word, (_, number) in found.items() if number >= _threshold(min(numbers), max(numbers)))


def _threshold(low: float, high: float) -> float:
    """From which number on a rating is good."""
    return 0.8 * high if low < 0.8 * high else high


def _is_click(value: str) -> bool:
    return re.fullmatch(r"[01](\.0+)?", value) is not None


def _no_task(look: Look, choices: Choices) -> str:
    path, columns, headless = look.path, look.columns, "names" in look.options

    def shown(column: Column) -> str:
        return f"{column.name} ({column.values[0]})" if headless and column.values else column.name

    names = one_line(", ".join(map(shown, columns.values())))
    binary = [column.name for column in columns.values() if column.binary]
    first = f"{path}: no header; columns {names}" if headless else f"{path}: columns {names}"
    if binary and choices.task in (None, "ctr"):
        which = one_line(", ".join(binary))
        how = f"say which is the label, as in --label {binary[0]}"
        return f"{first} fit no task by their names; of 0 and 1 are {which}: {how}"
    needed = {
        "sentiment": "--text and --label",
        "ctr": "--label (0 and 1)",
        "recommender": "--user and --item",
    }
    kinds = [choices.task] if choices.task else list(needed)
    wanted = "; ".join(f"{needed[kind]} for {kind}" for kind in kinds)
    if lists := [c.name for c in columns.values() if c.values and all(value.startswith("[") for value in c.values)]:
        wanted += f"; of lists, as in '{lists[0]}', give a row for each entry"
    for name, why in list(look.unread.items())[:1]:
        wanted = f"'{one_line(name)}' holds {why}; else {wanted}"
    if not headless and kind_of(str(path)) == "delimited text":
        wanted += "; by place, as column2, if the first line is a row"
    return f"{first} fit no task by their names; say which are which: {wanted}; or write it by hand (init --explain)"


# -- times, what is missing, fields --------------------------------------------------------------------


def _time(db: duckdb.DuckDBPyConnection, found: Guess, columns: dict[str, Column], choices: Choices) -> None:
    """Find how the times are written; a column that holds none loses its role."""
    if (first := found.roles.get("timestamp")) is None:
        return
    others = [] if choices.timestamp else times(columns)
    taken = set(found.roles.values())
    for column in [columns[first], *(other for other in others if other.name not in taken)]:
        if fits := _forms(db, column):
            found.roles["timestamp"] = column.name
            if fits[0] is not None:
                found.options["timestamp_format"] = fits[0]
                if len(fits) > 1:
                    found.notes["timestamp_format"] = f"or {', '.join(map(str, fits[1:]))}: these rows do not tell"
            return
    if choices.timestamp:
        seen = one_line(columns[first].values[0]) if columns[first].values else "nothing"
        raise UsageError(f"{found.path}: --time {first}: '{seen}' is no time that can be read")
    del found.roles["timestamp"]
    if among(first, NAMES["timestamp"]):
        found.notes["columns"] = f"'{first}' is left out: no times that can be read"


def _forms(db: duckdb.DuckDBPyConnection, column: Column) -> list[str | None]:
    """How nearly all of a column's times can be read: None, or formats. Nothing for one that holds none."""
    text = given(column.sql, column.missing)
    soonest = "epoch_us(now()) + 86400000000"
    forms = (None, *AMBIGUOUS)
    read = ", ".join(f"count(*) FILTER ({microseconds('t', f)} BETWEEN {EARLIEST} AND {soonest})" for f in forms)
    values = f"SELECT DISTINCT {text} AS t FROM seen WHERE {text} IS NOT NULL LIMIT 3000"
    total, *counts = db.execute(f"SELECT count(*), {read} FROM ({values})").fetchall()[0]
    best = max(counts, default=0)
    if best < 0.95 * total or not total:
        return []
    return [form for form, count in zip(forms, counts, strict=True) if count == best]


def _missing(found: Guess, columns: dict[str, Column]) -> None:
    """Words for missing in numbers, times and labels; `\\N` is one anywhere."""
    telling = [
        c for c in columns.values() if c.number or c.name in (found.roles.get("timestamp"), found.roles.get("label"))
    ]
    words = {word for column in telling for word in column.missing if word.lower() != "nan"}
    words |= {word for column in columns.values() for word in column.missing if word == "\\N"}
    if words:
        found.options["null"] = sorted(words)


def _unused_label(found: Guess, columns: dict[str, Column]) -> None:
    """Whoever has rated a thing has met it, whatever the rating: say so, where there are ratings or clicks."""
    name = next(iter(_labels(columns, found.roles, text=False)), None)
    if name is None or columns[name].distinct < 2:
        return
    usable = _positive(columns[name], rated=True)
    how = (
        f'; with label = "{name}" and keep = {usable[0]:g}, rows below are dropped'
        if (usable and isinstance(usable[0], float))
        else ""
    )
    found.notes.setdefault("columns", f"'{name}' is not used: every row is an interaction{how}")


def _fields(found: Guess, columns: dict[str, Column]) -> None:
    """All that is left and tells rows apart; what is measured rather than named is a number."""
    for column in columns.values():
        if column.name in found.roles.values() or column.distinct < 2:
            continue
        if measured(column):
            found.numbers.append(column.name)
            if not column.number:
                found.notes["columns"] = f"rows whose '{column.name}' is no number are bad"
        elif column.distinct < column.rows:
            found.fields.append(column.name)
    if not (found.fields or found.numbers or {"user", "item"} & found.roles.keys()):
        raise BadInput(f"{found.path}: nothing to learn from beside the label '{found.roles['label']}'")
    found.mutable = [name for name in (*found.fields, *found.numbers) if is_mutable(name)]


def measured(column: Column) -> bool:
    """Whether its values are numbers that say how much, not which."""
    many = column.distinct > 50 and not re.search(r"(id|hash|code|zip|postcode)$", column.name.lower())
    return column.mostly and (column.fraction or many)


def with_units(found: Guess) -> None:
    """The guess says what stands beside its numbers, as in 4.50 € or 20%."""
    read = (*found.numbers, found.roles.get("label"))
    if units := sorted({column.unit for column in found.seen if column.unit and column.name in read}):
        found.options["units"] = units


def is_mutable(name: str) -> bool:
    """Whether a field's change leaves what is asked the same, by its name: the hour or price, not the user or ad."""
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    return not words.isdisjoint(_MUTABLE.split()) and words.isdisjoint(_FIXED.split())


def script_of(texts: Iterable[str]) -> str:
    """chinese, other (mostly not in Latin letters) or latin."""
    letters = [character for text in texts for character in text[:1000] if character.isalpha()]
    foreign = sum(ord(letter) >= 0x250 for letter in letters)
    han = sum("\u3400" <= letter <= "\u9fff" for letter in letters)
    kana = sum("\u3040" <= letter <= "\u30ff" for letter in letters)
    if 2 * foreign <= len(letters):
        return "latin"
    return "chinese" if 2 * han > foreign and kana < 0.05 * len(letters) else "other"


def check_choices(choices: Choices, looks: list[Look]) -> None:
    """Raise UsageError for a chosen column that none of the files has."""
    names = [name for look in looks for name in look.columns]
    for role, column in choices.roles.items():
        if column not in names and plain(column) not in map(plain, names):
            option = "time" if role == "timestamp" else role
            raise UsageError(f"--{option} {column}: no such column{suggest(column, names)}")
