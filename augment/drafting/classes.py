"""Which of the user's files hold pictures, or texts, that are of one of many classes, and what these are called."""

from __future__ import annotations

import duckdb

from augment.base.errors import BadInput, UsageError
from augment.drafting.guess import Choices, Guess, script_of
from augment.drafting.look import Column, Look
from augment.drafting.names import NAMES, every_named, named
from augment.drafting.pictures import PICTURES, with_pictures
from augment.sources.sql import name_of
from augment.sources.tables import one_line

# Names of a column that says which class, most telling first.
_CLASSES = """label category kind class class_name type article_type product_type product_category department
sub_category rating stars score 标签 类别 kategorie catégorie categoria categoría カテゴリ 카테고리 категория
klasse sterne"""
MOST = 200  # classes: a column of more tells rows apart, not kinds


def of_many_classes(db: duckdb.DuckDBPyConnection, look: Look, choices: Choices) -> Guess | None:
    """The guess for a file of pictures, or, where the user says that it is for `category`, of texts; else None.

    Raises UsageError where it lacks what its task needs, BadInput for labels that are of one class or of too many.
    """
    if choices.task not in (None, "image", "category"):
        return None
    picture = None if choices.task == "category" else named(look.pictures, PICTURES, choices.image)
    if picture is None and choices.task != "category":
        if choices.task == "image":
            why = "".join(f"; '{one_line(name)}' holds {why}" for name, why in look.unread.items())
            raise UsageError(
                f"{look.path}: no column holds pictures: bytes, base64, or paths of files; say --image{why}"
            )
        return None
    if choices.task is None and every_named(look.columns, NAMES["user"]):
        return None  # a log of what people did, with a picture beside
    text = None if picture else named(look.columns, NAMES["text"], choices.text)
    label = named(look.columns, _CLASSES, choices.label)
    if label is None or (picture or text) is None:
        raise UsageError(f"{look.path}: say which columns are which: {'--image' if picture else '--text'} and --label")
    roles = {"image": picture.name} if picture else {"text": text.name}  # type: ignore[union-attr]
    found = Guess(look.path, "image" if picture else "category", {**roles, "label": label.name}, options=look.options)
    found.seen = list(look.columns.values())
    found.options["classes"] = _classes(db, look, label)
    found.notes["classes"] = "as seen in the rows that were looked at, the most frequent first"
    if picture:
        with_pictures(found, picture)
    if text:
        rows = db.execute(f"SELECT {text.sql} FROM seen WHERE {text.sql} IS NOT NULL LIMIT 1000").fetchall()
        found.script = script_of(row[0] for row in rows)
    return found


def _classes(db: duckdb.DuckDBPyConnection, look: Look, label: Column) -> list[str]:
    named = name_of(label.sql)
    missing = {word.lower() for word in label.missing}
    query = f"SELECT {named} AS c, count(*) FROM seen WHERE {named} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    words = [str(name).strip() for name, _ in db.execute(query).fetchall() if str(name).lower() not in missing]
    classes: dict[str, str] = {}
    for word in words:  # in another case it is the same class
        classes.setdefault(word.lower(), word)
    found = list(classes.values())
    if not 2 <= len(found) <= MOST:
        problem = "one class alone" if len(found) < 2 else f"{len(found):,} different ones, over {MOST}"
        raise BadInput(f"{look.path}: nothing to learn from label '{label.name}': it has {problem}; say --label")
    return found
