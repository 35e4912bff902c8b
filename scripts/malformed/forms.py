"""Tables as files: delimited text in dialects, JSON lines, Parquet of many types; and files that spoil a glob."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.recipes.source import codec_of
from malformed.generated import compressed
from malformed.structured import Dressed, write
from malformed.tables import EMPTY, Table


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


def spoil(made: Table, chance: random.Random) -> None:
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
        exact = len(cell) < 16  # a float has no more digits
        return float(cell) if (how == "float" and exact) or "." in cell else int(cell)
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
    made_of: dict[str, tuple[Callable[[str], Any], pa.DataType]] = {
        "string": (str, pa.string()), "large_string": (str, pa.large_string()), "binary": (str.encode, pa.binary()),
        "dictionary": (str, pa.string()), "int64": (int, pa.int64()), "double": (float, pa.float64()),
        "decimal": (Decimal, pa.decimal128(30, 9)), "bool": (lambda v: v == "1", pa.bool_()),
        "timestamp": (made.times.get, pa.timestamp("us")), "timestamp tz": (made.times.get, pa.timestamp("us", "UTC")),
    }  # fmt: skip
    change, of = made_of[kind]
    array = pa.array([None if value is None else change(value) for value in values], of)
    return (array.dictionary_encode() if kind == "dictionary" else array), kind


WRITERS = {"delimited": _delimited, "json": _json, "parquet": _parquet}
