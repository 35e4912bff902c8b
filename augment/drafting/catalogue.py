"""Which of the user's files stand beside the log of another: its catalogue, a row an item; its people, a row a user."""

from __future__ import annotations

import re

import duckdb

from augment.drafting.guess import Choices, Guess, measured
from augment.drafting.look import NEARLY, Column, Look
from augment.drafting.names import CLICKS, NAMES, every_named, named, times
from augment.drafting.pictures import PICTURES, with_pictures
from augment.sources.sql import name_of

CATALOGUE, PEOPLE = "catalogue", "people"  # the kinds of their guesses
# Names of a column that describes an item, most telling first.
_TEXTS = """description product_description title name product_name item_name product_title display_name text
summary 标题 名称 描述 beschreibung titel bezeichnung titre libellé nom descripción título titolo nome descrizione
descrição название описание наименование 商品名 タイトル 상품명"""
_WHEN = re.compile(r"(date|time|_at|At)$")  # names of columns that say when a user came, not who it is
_LONG = 12  # characters, in the mean, of what is a text rather than a property


def beside(
    db: duckdb.DuckDBPyConnection, look: Look, logs: list[tuple[duckdb.DuckDBPyConnection, Look]], choices: Choices
) -> Guess | None:
    """The guess for a file that describes items or users of the logs; None for any other.

    A key that is called `id` alone is of those whose ids it has.
    """
    own = named(look.columns, "id")

    def shared(role: str) -> int:
        """How many of the key's values some log has for the role, of those that were looked at."""
        if own is None:
            return 0
        mine, others = _values(db, own), [(log, key_of(seen, role, choices)) for log, seen in logs]
        return max((len(mine & _values(log, column)) for log, column in others if column), default=0)

    key = "user" if shared("user") > shared("item") else "item"
    return catalogue(look, choices, " id" * (key == "item")) or people(look, choices, " id" * (key == "user"))


def key_of(look: Look, role: str, choices: Choices, also: str = "") -> Column | None:
    """The column of users or of items: the user's choice where the file has it, else the one of the most telling name.

    also: further names.
    """
    return named(look.columns, "", choices.roles.get(role)) or named(look.columns, NAMES[role] + also)


def _values(db: duckdb.DuckDBPyConnection, column: Column) -> set[str]:
    return {row[0] for row in db.execute(f"SELECT DISTINCT {name_of(column.sql)} FROM seen").fetchall() if row[0]}


def catalogue(look: Look, choices: Choices, also: str = " id") -> Guess | None:
    """The guess for a file that has one row an item and no user; None for any other.

    also: names of the key that could be another's.
    """
    item = key_of(look, "item", choices, also)
    if item is None or key_of(look, "user", choices) or item.distinct < NEARLY * item.rows:
        return None
    others = [column for column in look.columns.values() if column is not item and column.distinct > 1]
    text = named(look.columns, "", choices.text) or next(filter(_is_text, every_named(look.columns, _TEXTS)), None)
    picture = named(look.pictures, PICTURES, choices.image) or next(iter(look.pictures.values()), None)
    others = [column for column in others if column is not text and column.name not in look.pictures]
    fields, numbers = _properties(others)
    if text is None and picture is None and not fields and not numbers:
        return None
    roles = {"item": item.name} | ({"text": text.name} if text else {})
    found = Guess(look.path, CATALOGUE, roles, fields, numbers, options=look.options, seen=list(look.columns.values()))
    if picture:
        with_pictures(found, picture)
    return found


def people(look: Look, choices: Choices, also: str = "") -> Guess | None:
    """The guess for a file that has one row a user, with what each declares, and no items; None for any other."""
    user = key_of(look, "user", choices, also)
    if user is None or key_of(look, "item", choices) or user.distinct < NEARLY * user.rows:
        return None
    asked = every_named(look.columns, CLICKS)  # and what users said or did is no attribute but a task of its own
    if any(column.binary for column in asked) or any(map(_is_text, every_named(look.columns, NAMES["text"]))):
        return None
    others, when = [c for c in look.columns.values() if c is not user and c.distinct > 1], times(look.columns)
    declared = [c for c in others if c not in when and not _WHEN.search(c.name)]
    fields, numbers = _properties(declared)
    if not fields and not numbers:
        return None
    seen = list(look.columns.values())
    return Guess(look.path, PEOPLE, {"user": user.name}, fields, numbers, options=look.options, seen=seen)


def _properties(columns: list[Column]) -> tuple[list[str], list[str]]:
    """The names of those that many have alike, and of what is measured."""
    numbers = [column.name for column in columns if measured(column)]
    return [c.name for c in columns if not measured(c) and c.distinct < 0.5 * c.rows], numbers


def _is_text(column: Column) -> bool:
    return not column.mostly and sum(map(len, column.values)) >= _LONG * len(column.values)
