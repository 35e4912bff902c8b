"""Which of the user's files is a catalogue: a row for each item that the log of another is about."""

from __future__ import annotations

from augment.drafting.guess import Guess
from augment.drafting.look import NEARLY, Column, Look
from augment.drafting.names import NAMES, every_named, named
from augment.drafting.pictures import PICTURES, with_pictures

CATALOGUE = "catalogue"  # the kind of its guess
# Names of a column that describes an item, most telling first.
_TEXTS = """description product_description title name product_name item_name product_title display_name text
summary 标题 名称 描述 beschreibung titel bezeichnung titre libellé nom descripción título titolo nome descrizione
descrição название описание наименование 商品名 タイトル 상품명"""
_LONG = 12  # characters, in the mean, of what is a text rather than a property


def catalogue(look: Look, image: str | None = None) -> Guess | None:
    """The guess for a file that has one row an item and no user; None for any other. image: the column that the user
    chose for pictures."""
    item = named(look.columns, NAMES["item"] + " id")
    if item is None or every_named(look.columns, NAMES["user"]) or item.distinct < NEARLY * item.rows:
        return None
    others = [column for column in look.columns.values() if column is not item and column.distinct > 1]
    text = next(filter(_is_text, every_named(look.columns, _TEXTS)), None)
    picture = named(look.pictures, PICTURES, image) or next(iter(look.pictures.values()), None)
    others = [column for column in others if column is not text and column.name not in look.pictures]
    numbers = [column.name for column in others if _measured(column)]
    fields = [column.name for column in others if not _measured(column) and column.distinct < 0.5 * column.rows]
    if text is None and picture is None and not fields and not numbers:
        return None
    roles = {"item": item.name} | ({"text": text.name} if text else {})
    found = Guess(look.path, CATALOGUE, roles, fields, numbers, options=look.options, seen=list(look.columns.values()))
    if picture:
        with_pictures(found, picture)
    return found


def _is_text(column: Column) -> bool:
    return not column.mostly and sum(map(len, column.values)) >= _LONG * len(column.values)


def _measured(column: Column) -> bool:
    return column.mostly and (column.fraction or column.distinct > 50)
