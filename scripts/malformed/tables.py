"""Real tables, blocks of their rows, and files of these with what is in them, for `commands.py`."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Names that others give to columns of ours.
NAMES = {
    "user_id": ["user_id", "userId", "User ID", "customer-id", "用户", "member_id"],
    "session_id": ["session_id", "Session.Id"],
    "item_id": ["item_id", "ItemID", "product id", "SKU", "asin", "商品"],
    "timestamp": ["timestamp", "Date", "created_at", "event_time", "时间"],
    "text": ["text", "Review Text", "reviewText", "评论", "comment"],
    "label": ["label"],
    "category": ["category", "Department", "genre"],
}
ROLES = {"user_id": "user", "session_id": "user", "item_id": "item", "timestamp": "timestamp", "text": "text"}
ROLES |= {"label": "label", "category": "segment"}
NEEDED = {
    "recommender": ("user", "item", "timestamp"),
    "ctr": ("user", "item", "timestamp", "label"),
    "sentiment": ("user", "item", "timestamp", "label", "text", "segment"),
}
EMPTY = {"", "nan"}


@dataclass
class Table:
    """Files, the rows in them in order (column → what was written), and which roles the columns have.

    whole: nothing in it is wrong, so `init` has no reason to refuse it. counts: rows and malformed lines by file.
    """

    files: list[Path]
    rows: list[dict[str, str]]
    roles: dict[str, str]
    task: str
    form: str
    last: date
    times: dict[str, int] = field(default_factory=dict)  # what was written → microseconds
    whole: bool = True
    choices: list[str] = field(default_factory=list)
    malformed: int = 0
    counts: dict[Path, tuple[int, int]] = field(default_factory=dict)
    how: list[str] = field(default_factory=list)
    broken: Path | None = None  # a file, not the first, that must be refused by name


class Real:
    """A real table, of which blocks of rows are taken."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        table = pq.read_table(path)
        kept = [n for n, t in zip(table.column_names, table.schema.types, strict=True) if not pa.types.is_nested(t)]
        self._table = table.select([name for name in kept if name not in ("review_id", "split", "propensity")])
        columns = set(self._table.column_names)
        self.task = "sentiment" if "text" in columns else "ctr" if "label" in columns else "recommender"

    def block(self, count: int, chance: random.Random) -> pa.Table:
        """Rows in their order; those of users side by side for a recommender."""
        if self.task != "recommender":
            return self._table.take(sorted(chance.sample(range(len(self._table)), min(count, len(self._table)))))
        return self._table.slice(chance.randrange(max(1, len(self._table) - count)), count)


def part(table: Table, file: Path) -> Table:
    """The rows of one of its files."""
    before = sum(table.counts[path][0] for path in table.files[: table.files.index(file)])
    rows, bad = table.counts[file]
    return replace(table, files=[file], rows=table.rows[before : before + rows], malformed=bad, broken=None)
