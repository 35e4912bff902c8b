"""Real tables under other names, types, formats and dialects, and what must be read of them, for `commands.py`."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.rows import codec_of
from malformed.generated import compressed
from malformed.structured import Dressed, write

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
FORMS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "offset", "%s", "ms", "%Y%m%d%H%M%S"]
FORMS += ["%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%a, %d %b %Y %H:%M:%S GMT", "%d/%b/%Y:%H:%M:%S +0000"]
PLAIN_FORMS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "offset", "%s", "%Y/%m/%d %H:%M:%S", "%d %b %Y %H:%M:%S"]
LABELS = [("no", "yes"), ("False", "True"), ("negative", "positive"), ("Bad", "Good"), ("0.0", "1.0"), ("-1", "1")]
LABELS += [("1", "5"), ("差评", "好评"), ("f", "t")]
MISSING = ["", "", "NaN", "NA", "\\N", "null", "-"]
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
    {"delimited": _delimited, "json": _json, "parquet": _parquet}[form](made, folder, chance)
    if chance.random() < 0.12 and len(made.rows) > 1:
        _spoil(made, chance)
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


def part(table: Table, files: list[Path]) -> Table:
    """The rows of the first files alone."""
    rows, bad = (sum(table.counts[path][place] for path in files) for place in (0, 1))
    return replace(table, files=files, rows=table.rows[:rows], malformed=bad, broken=None)


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


# -- formats -------------------------------------------------------------------------------------------


def _parts(made: Table, chance: random.Random) -> list[list[dict[str, str]]]:
    files = chance.choice([1, 1, 1, 2, 4])
    count = len(made.rows)
    return [made.rows[n * count // files : (n + 1) * count // files] for n in range(files)]


def _delimited(made: Table, folder: Path, chance: random.Random) -> None:
    encodings = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1", "gb18030", "big5", "shift_jis"]
    encoding, codec = chance.choice(encodings), ""
    codec = codec_of(encoding)
    known = {c: c if c.encode(codec, "ignore").decode(codec) == c else f"x{n}" for n, c in enumerate(made.rows[0])}
    made.whole &= list(known) == list(known.values())  # 用户 in Latin-1
    made.rows = [{known[c]: v.encode(codec, "ignore").decode(codec) for c, v in row.items()} for row in made.rows]
    made.roles = {role: known[column] for role, column in made.roles.items()}
    dress = Dressed({}, [], names=list(made.rows[0]))
    if chance.random() < 0.1:  # 'user_id ' and ' label'
        padded = {c: chance.choice([f" {c}", f"{c} ", c]) for c in made.rows[0]}
        made.rows = [{padded[c]: v for c, v in row.items()} for row in made.rows]
        made.roles = {role: padded[column] for role, column in made.roles.items()}
        dress.names = list(made.rows[0])
    if chance.random() < 0.12:
        dress.options["delimiter"] = chance.choice(["::", "^", "~"])
    if chance.random() < 0.12 and len(made.rows) > 1:
        dress.options["names"] = dress.names
        made.choices = _by_place(made)
    if chance.random() < 0.2:
        for row in made.rows:
            row.update({c: v.replace(".", ",") for c, v in row.items() if re.fullmatch(r"-?\d+\.\d+", v)})
    made.how += [encoding, json.dumps(dress.options), *made.choices]
    for number, rows in enumerate(_parts(made, chance)):
        before = dress.malformed
        cells = [list(row.values()) for row in rows]
        path = write(folder / f"rows{number}", cells, encoding, dress, chance)
        made.files.append(path)
        made.counts[path] = (len(rows), dress.malformed - before)
    made.how += dress.how
    if chance.random() < 0.1:
        _add_empty(made, folder / "rows9.csv")


def _spoil(made: Table, chance: random.Random) -> None:
    """One more file, that cannot be read as the others are."""
    first = made.files[0]
    made.broken = first.with_name("rows8" + "".join(first.suffixes))
    content, how = first.read_bytes(), chance.choice(["half", "no column", "encoding"])
    plain = first.suffix not in (".gz", ".zst", ".parquet")
    if how == "half" and not plain:
        content = content[: len(content) // 2]
    elif how == "encoding" and plain and made.form == "delimited" and first.suffix != ".tsv":
        content = content.splitlines(keepends=True)[0] + "宝贝收到了，质量很好；非常满意\n".encode("gb18030") * 40
    else:
        how = "no column"
        content = {"json": b'{"a": 1}\n{"a": 2}\n', "delimited": b"a,b\n1,2\n"}.get(made.form, b"PAR1 and no more")
        content = compressed(content, first.suffix)
    if made.choices and how == "no column":  # without header, any file has all columns
        made.broken = None
        return
    made.how.append(f"{made.broken.name}: {how}")
    made.broken.write_bytes(content)
    made.files.append(made.broken)
    made.counts[made.broken] = (0, 0)


def _by_place(made: Table) -> list[str]:
    """Options of `init` for files without a header, whose columns are named by their place."""
    places = {name: f"column{place + 1}" for place, name in enumerate(made.rows[0])}
    made.rows = [{places[column]: value for column, value in row.items()} for row in made.rows]
    made.roles = {role: places[column] for role, column in made.roles.items() if role != "segment"}
    chosen = []
    for role, column in made.roles.items():
        chosen += [f"--{'time' if role == 'timestamp' else role}", column]
    return [*chosen, "--task", made.task]


def _add_empty(made: Table, path: Path) -> None:
    path.write_bytes(b"")
    made.files.append(path)
    made.counts[path] = (0, 0)


def _value(cell: str, how: str) -> Any:
    """A cell of JSON or Parquet: text, or the number that it is."""
    if cell.lower() in EMPTY:
        return None
    if how != "text" and re.fullmatch(r"-?(0|[1-9]\d{0,17})(\.\d+)?", cell):
        return float(cell) if how == "float" or "." in cell else int(cell)
    return cell


def _json(made: Table, folder: Path, chance: random.Random) -> None:
    for number, rows in enumerate(_parts(made, chance)):
        lines, hows = [], [chance.choice(["text", "number", "float", "mixed"]) for _ in made.rows[0]]
        for row in rows:
            cells = zip(row.items(), hows, strict=True)
            record: dict[str, Any] = {
                c: _value(v, chance.choice(["text", "number"]) if how == "mixed" else how) for (c, v), how in cells
            }
            if chance.random() < 0.1:
                record = {c: v for c, v in record.items() if v is not None}
            record |= {"nested": {"a": [1, {"b": None}]}} if chance.random() < 0.3 else {}
            lines.append(json.dumps(record, ensure_ascii=chance.random() < 0.5))
        bad = len(rows) > 100 and chance.random() < 0.2
        if bad:
            lines.insert(chance.randrange(len(lines)), chance.choice(['{"half": ', "not json", "[1, 2]", '"text"']))
        suffix = chance.choice([".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst"])
        encoding = chance.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig"])
        path = folder / f"rows{number}{suffix}"
        path.write_bytes(compressed(chance.choice(["\n", "\r\n"]).join(lines).encode(encoding), suffix))
        made.files.append(path)
        made.counts[path] = (len(rows), int(bad))
        made.how.append(f"{path.name} {encoding} {hows} {'a bad line' if bad else ''}")


def _parquet(made: Table, folder: Path, chance: random.Random) -> None:
    for number, rows in enumerate(_parts(made, chance)):
        columns, kinds = {}, []
        for column in chance.sample(list(made.rows[0]), len(made.rows[0])):
            values, kind = _typed([row[column] for row in rows], made, chance)
            columns[column] = values
            kinds.append(f"{column}: {kind}")
        if chance.random() < 0.3:
            columns["tags"] = pa.array([[1, 2]] * len(rows))
            columns["more"] = pa.array([{"a": 1, "b": {"c": "x"}}] * len(rows))
        path = folder / f"rows{number}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=chance.choice([50, 10_000]))
        made.files.append(path)
        made.counts[path] = (len(rows), 0)
        made.how.append(f"{path.name} {kinds}")


def _typed(cells: list[str], made: Table, chance: random.Random) -> tuple[pa.Array, str]:
    """A column in one of the types that hold it."""
    values: list[Any] = [None if cell.lower() in EMPTY else cell for cell in cells]
    there = [value for value in values if value is not None]
    tries = ["string", "large_string", "binary", "dictionary"]
    if there and all(re.fullmatch(r"-?(0|[1-9]\d{0,14})", value) for value in there):
        tries += ["int64", "double", "decimal", "int64", "double"]
    elif there and all(re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?", value) for value in there):
        tries += ["double", "double", "decimal"]
    if there and set(there) <= {"0", "1"}:
        tries += ["bool", "bool"]
    if there and set(there) <= made.times.keys() and all(value[:5].endswith("-") for value in there):
        tries += ["timestamp", "timestamp", "timestamp tz"]
    kind = chance.choice(tries)
    made_of = {
        "string": (str, pa.string()), "large_string": (str, pa.large_string()), "binary": (str.encode, pa.binary()),
        "dictionary": (str, pa.string()), "int64": (int, pa.int64()), "double": (float, pa.float64()),
        "decimal": (Decimal, pa.decimal128(30, 9)), "bool": (lambda v: v == "1", pa.bool_()),
        "timestamp": (made.times.get, pa.timestamp("us")), "timestamp tz": (made.times.get, pa.timestamp("us", "UTC")),
    }  # fmt: skip
    change, of = made_of[kind]
    array = pa.array([None if value is None else change(value) for value in values], of)
    return (array.dictionary_encode() if kind == "dictionary" else array), kind
