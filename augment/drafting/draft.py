"""A first recipe for the user's own files: guessed, tried on their rows, and written with the guesses in comments."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb

from augment.base.errors import UsageError
from augment.contracts.registry import consumer_class
from augment.drafting.catalogue import CATALOGUE, PEOPLE, beside, key_of
from augment.drafting.classes import of_many_classes
from augment.drafting.guess import Choices, Guess, check_choices, guess, with_units
from augment.drafting.look import look
from augment.drafting.pictures import find_pictures
from augment.drafting.trial import tried

LOG = "recommender"  # the kind of a log of what users did with items
BESIDE = {CATALOGUE: "a catalogue", PEOPLE: "what users declare of themselves"}  # kinds that describe these
SPLITS = {
    "time": "the latest rows are the test",
    "user_time": "each user's latest rows are the test",
    "new_items": "a share of items is held out, as if they were new",
}


def write_recipe(files: list[Path], choices: Choices | None = None) -> str:
    """TOML text of a recipe that loads and whose sources can be read, with one source and one task per file.

    Raises BadInput for a file that cannot be read or holds nothing to learn from, UsageError for one whose columns fit
    no task, and for a choice that fits no file.
    """
    parts = [
        "# Written by `sparring init`: check the guesses, then `sparring run` this file.",
        'name = "my-shop"',
        "seed = 7",
        'output = "sparring-out/my-shop"',
        "",
    ]
    for name, found in _guesses([_utf8(path) for path in files], choices or Choices()).items():
        parts += _source(found, name) + ([] if found.kind in BESIDE else _task(found, name))
    return "\n".join(parts) + "\n"


def _guesses(files: list[Path], choices: Choices) -> dict[str, Guess]:
    """Name of a source → what its file is, which has been tried."""
    with ExitStack() as stack:
        opened = [stack.enter_context(duckdb.connect()) for _ in files]
        for db in opened:
            db.execute("SET threads = 1")  # a few thousand rows; with more it once stood still on a busy machine
        chosen = choices.roles.values() if len(files) == 1 else ()
        looks = [look(db, path, chosen) for db, path in zip(opened, files, strict=True)]
        check_choices(choices, looks)
        for db, seen in zip(opened, looks, strict=True):
            find_pictures(db, seen)
        named: dict[str, Guess] = {}
        for db, seen in zip(opened, looks, strict=True):
            others = [pair for pair in zip(opened, looks, strict=True) if pair[1] is not seen]
            # What has no users is nothing to learn from alone: it stands beside what has some.
            logs = [(other, log) for other, log in others if key_of(log, "user", choices)]
            found = beside(db, seen, logs, choices) if logs else None
            found = found or of_many_classes(db, seen, choices) or guess(db, seen, choices)
            with_units(found)
            found.unread = seen.unread
            named[_name(found.path, named)] = found
        _join(named)
        for db, found in zip(opened, named.values(), strict=True):
            tried(db, found)
        return named


def _name(path: Path, taken: dict[str, Guess]) -> str:
    """What a recipe calls the source in that file."""
    name = re.sub(r"[^a-z0-9_-]+", "-", path.name.split(".")[0].lower()).strip("-_")[:80] or "source"
    while name in taken:
        name += "-2"
    return name


def _join(named: dict[str, Guess]) -> None:
    """Logs have the catalogue and the people that stand beside them, and a split that tests what these are for."""
    first = {kind: next((name for name, found in named.items() if found.kind == kind), "") for kind in BESIDE}
    for found in named.values():
        if found.kind != LOG:
            continue
        found.products, found.people, core = first[CATALOGUE], first[PEOPLE], found.split.get("core", 1)
        if found.people and "timestamp" in found.roles:
            found.split = {"by": "time", "core": core}
        elif found.products:
            found.split = {"by": "new_items", "core": core}


def _utf8(path: Path) -> Path:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{str(path)!r}: the name is not UTF-8, which recipes are: rename it") from None
    return path


def _source(found: Guess, name: str) -> list[str]:
    columns = [f"{role} = {_quote(column)}" for role, column in found.roles.items()]
    columns += [f"{key} = {_list(names)}" for key in ("fields", "numbers") if (names := getattr(found, key))]
    if found.mutable is not None:
        columns.append(f"mutable = {_list(found.mutable)}")
    what = BESIDE.get(found.kind, f"{found.kind} data")
    lines = [
        f"[sources.{name}]",
        f"# Looks like {what}; seen: {_printable(', '.join(column.name for column in found.seen))}",
        *(f"# '{_printable(column)}' is not read: it holds {why}" for column, why in found.unread.items()),
        f"path = {_quote(str(found.path))}",
        f"columns = {{ {', '.join(columns)} }}{_note(found, 'columns')}",
    ]
    if found.mutable is not None:
        lines.append("# mutable: fields whose change leaves what is asked the same; attacks swap these alone")
    lines += [f"{option} = {_value(value)}{_note(found, option)}" for option, value in found.options.items()]
    if by := found.split.get("by"):
        core = f", core = {found.split['core']}" if "core" in found.split else ""
        lines.append(f'split = {{ by = "{by}"{core} }}  # {SPLITS[by]}')
    elif "split" in found.notes:
        lines.append(f'split = {{ by = "random" }}{_note(found, "split")}')
    return [*lines, ""]


def _task(found: Guess, name: str) -> list[str]:
    own = consumer_class(found.kind).first_recipe(found)
    samples = [] if any(line.startswith("samples =") for line in own) else ["samples = 5000"]
    head = [f"[tasks.{name}]", f'consumer = "{found.kind}"', f'source = "{name}"']
    if found.products:
        head.append(
            f'products = "{found.products}"  # its items that nobody has met are published as sums of known ones'
        )
    if found.people:
        head.append(
            f'new_users = {{ attributes = "{found.people}" }}  # users of few rows, or none but attributes, get rows'
        )
    return [*head, *samples, *own, ""]


def _value(value: Any) -> str:
    """As TOML has it."""
    if isinstance(value, list):
        return _list(value)
    return _quote(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _list(values: list[str]) -> str:
    return f"[{', '.join(map(_quote, values))}]"


def _note(found: Guess, option: str) -> str:
    return f"  # {_printable(found.notes[option])}" if option in found.notes else ""


def _printable(comment: str) -> str:
    """A comment must not end before its line does, whatever a column is called."""
    return "".join(c if c.isprintable() else " " for c in comment)


def _quote(value: str) -> str:
    """A TOML basic string, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
