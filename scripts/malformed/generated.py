"""Malformed inputs made from nothing by hypothesis; how they are written; the case they make."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

Rows = list[dict[Any, Any]]
Made = tuple[str, str, str, Rows, list[Any], dict[str, Any]]  # kind, suffix, how, rows, columns, settings
SUFFIXES = [".parquet", ".csv", ".tsv", ".jsonl", ".csv.gz", ".csv.zst", ".jsonl.gz", ".jsonl.zst", ".ndjson"]
FIELDS = ["gender", "occupation", "zip3", "genre", "hour", "weekday"]


@dataclass(frozen=True)
class Kind:
    """A kind of source: who reads it, and which columns it needs."""

    consumer: str
    columns: dict[str, Any]
    settings: dict[str, Any]
    needs: tuple[str, ...]  # columns of a split that are never null

    def names(self) -> list[str]:
        return [n for value in self.columns.values() for n in (value if isinstance(value, list) else [value])]


KINDS = {
    "behaviour": Kind(
        "recommender",
        {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "label": "rating"},
        {"keep": 2, "split": {"by": "user_time", "core": 1}},
        ("user_id", "item_id", "timestamp", "label"),
    ),
    "impressions": Kind(
        "ctr",
        {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "label": "label", "fields": FIELDS}
        | {"numbers": ["age", "year"]},
        {"split": {"by": "time"}, "test_rows": 50},
        ("user_id", "item_id", "timestamp", "label"),
    ),
    "reviews": Kind(
        "sentiment",
        {"id": "review_id", "text": "text", "label": "label", "segment": "category"},
        {"labelled": 20, "unlabelled": 60},
        ("row_id", "text", "label"),
    ),
}
METRICS = {"recommender": "ndcg@20", "ctr": "auc", "sentiment": "auc"}


@dataclass
class Case:
    """One malformed input, on disk; `refused`: reading it must not succeed."""

    kind: str
    how: str
    recipe: Path
    refused: bool = False


# -- files -----------------------------------------------------------------------------------------


def encoded(rows: Rows, names: list[Any], suffix: str) -> bytes:
    """The rows as a file of that format; what a format cannot hold is written as text."""
    if suffix == ".parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_arrays([column([r.get(n) for r in rows]) for n in names], list(names)), buffer)
        return buffer.getvalue()
    if "json" in suffix:
        lines = [json.dumps({str(n): r.get(n) for n in names if n in r}, default=str) for r in rows]
        return compressed("\n".join(lines).encode(), suffix)
    buffer_text = io.StringIO()
    writer = csv.writer(buffer_text, delimiter="\t" if "tsv" in suffix else ",", lineterminator="\n")
    writer.writerow(names)
    writer.writerows([["" if r.get(n) is None else text(r[n]) for n in names] for r in rows])
    return compressed(buffer_text.getvalue().encode("utf-8", "surrogatepass"), suffix)


def column(values: list[Any]) -> pa.Array:
    """Arrow's own type where the values have one; else text, which may be no UTF-8."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError):
        raw = [None if v is None else text(v).encode("utf-8", "surrogatepass") for v in values]
        return pa.array(raw, pa.binary()).view(pa.string())


def text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def compressed(content: bytes, suffix: str) -> bytes:
    if suffix.endswith(".gz"):
        return gzip.compress(content, 1)
    return pa.compress(content, "zstd", asbytes=True) if suffix.endswith(".zst") else content


def expanded(content: bytes, suffix: str) -> bytes:
    if suffix.endswith((".gz", ".zst")):
        stream = pa.CompressedInputStream(pa.BufferReader(content), "gzip" if suffix.endswith("gz") else "zstd")
        return bytes(stream.read())
    return content


def recipe_for(kind: str, place: str, output: Path, **changes: Any) -> str:
    """A recipe that reads one file."""
    of = KINDS[kind]
    source = {"path": place, "columns": of.columns, **of.settings, **changes}
    verdict = {"clean": [METRICS[of.consumer]], "improve": [METRICS[of.consumer]]}
    task = {"consumer": of.consumer, "source": "logs", "samples": 10, "strategies": {"noise": 1.0}, "verdict": verdict}
    tables = [("sources.logs", source), ("tasks.it", task)]
    lines = ['name = "faulty"', f"output = {toml(str(output))}"]
    for name, table in tables:
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# -- from nothing ----------------------------------------------------------------------------------

NOW = 1_600_000_000
ODD_TEXT = ["", " ", "\t", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "NaN", "nan", "inf", "-Infinity", "null", "NULL",
            "\\N", "None", '"', '""', "'", "a,b", "a\tb", "a\nb", "a\r\nb", "\ufeff", "\u2028", "\x1b[31m", "1e999",
            "0x10", "1_000", "١٢", "1.5.2", "9" * 400, "x" * 25_000, "é" * 70_000, "infinity", "epoch", "2020-13-45",
            "2020-02-30T25:61:61Z", "290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54", "0001-01-01", "9999-12-31",
            "2020-01-01 00:00:00+99:99", "{}", "[]", '{"a": 1', "${HOME}", "../../x",
            "%s", "'); DROP TABLE raw; --"]  # fmt: skip
ODD_NUMBERS = [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1e39, -1.5, 0, -1, 2**31, 2**63 - 1, -(2**63),
               2**64 - 1, 2**64, 10**30, 10**400, NOW * 1000, NOW * 10**6, NOW * 10**9, NOW * 10**12, 2**53 + 1,
               -62_135_596_800, 253_402_300_800, 4_102_444_800, 1e17, 1e11]  # fmt: skip
ODD_OBJECTS = [True, False, b"\xff\x00", b"", [], [1, None], {}, {"a": {"b": [1]}}, Decimal("1e20"), Decimal("NaN"),
               date(1, 1, 1), datetime(9999, 12, 31), datetime(2020, 1, 1, tzinfo=timezone.utc)]  # fmt: skip
ODD_NAMES = ["", " ", "__row", "__reason", "row_id", "User_ID", "user_id ", "timestamp.1", 'quo"te', "semi;colon",
             "new\nline", "nul\x00l", "naïve", "日本", "SELECT", "a" * 5000, "1", "label",
             "reason", "\ufeffuser_id"]  # fmt: skip

odd = st.one_of(
    st.none(),
    st.sampled_from(ODD_TEXT),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_OBJECTS),
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Co", "Zs"]), max_size=5),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.binary(max_size=8),
)


def good_row(kind: str, number: int) -> dict[str, Any]:
    """A row that nothing is wrong with."""
    common = {"user_id": number % 7, "item_id": number * 5 % 11, "timestamp": NOW + 700 * number}
    if kind == "behaviour":
        return {**common, "rating": 1 + number % 5}
    if kind == "impressions":
        fields = {field: f"{field}{number % 3}" for field in FIELDS}
        return {**common, "label": number % 2, **fields, "age": 20 + number % 40, "year": 1990 + number % 9}
    words = f"review number {number}"
    return {"review_id": f"r{number}", "text": words, "label": number % 2, "category": f"c{number % 3}"}


@st.composite
def faulty(draw: st.DrawFn) -> Made:
    """Rows of which some are bad, and what was done to their columns."""
    kind, suffix = draw(st.sampled_from(sorted(KINDS))), draw(st.sampled_from(SUFFIXES))
    names: list[Any] = list(KINDS[kind].names())
    rows = [good_row(kind, n) for n in range(draw(st.sampled_from([0, 1, 3, 40, 90])))]
    mixed = draw(st.booleans())  # else one column alone is bad, so that Parquet keeps the types of the others
    bad = names if mixed else [draw(st.sampled_from(names))]
    for number in range(draw(st.integers(0, 8))):
        row = good_row(kind, 1000 + number)
        row.update({name: draw(odd) for name in bad if not mixed or draw(st.booleans())})
        rows.insert(draw(st.integers(0, len(rows))), row)
    if rows and draw(st.integers(0, 5)) == 0:
        rows += [dict(rows[-1])] * draw(st.integers(1, 200))
    done = draw(st.sampled_from(["nothing"] * 6 + ["drop", "rename", "add", "twice", "constant", "none", "wide"]))
    victim = draw(st.sampled_from(names))
    if done == "drop":
        names.remove(victim)
    elif done == "rename":
        new = draw(st.sampled_from([*ODD_NAMES, victim.upper(), victim[:-1], victim + "s"]))
        rows = [{new if k == victim else k: v for k, v in row.items()} for row in rows]
        names[names.index(victim)] = new
    elif done == "add":
        for new in draw(st.lists(st.sampled_from(ODD_NAMES), min_size=1, max_size=4)):
            names.append(new)
            value = draw(odd)
            rows = [{**row, new: value if number % 2 else None} for number, row in enumerate(rows)]
    elif done == "twice":
        names.append(draw(st.sampled_from([victim, victim.upper()])))
    elif done == "constant":
        value = draw(odd)
        rows = [{**row, victim: value} for row in rows]
    elif done == "none":
        names = []
    elif done == "wide":
        names += [f"column{n}" for n in range(1500)]
        rows = rows[:20]
    changes: dict[str, Any] = {"max_bad_share": draw(st.sampled_from([0.05, 1.0, 1.0]))}
    if draw(st.booleans()):
        changes["split"] = {"by": draw(st.sampled_from(["random", "random" if kind == "reviews" else "time"]))}
    return kind, suffix, done, rows, names, changes


def written(made: Made, folder: Path) -> Case:
    """What hypothesis made, as a file and its recipe."""
    kind, suffix, how, rows, names, changes = made
    path = folder / f"logs{suffix}"
    path.write_bytes(encoded(rows, names, suffix))
    (folder / "recipe.toml").write_text(recipe_for(kind, str(path), folder / "out", **changes), "utf-8")
    return Case(kind, f"{suffix} columns: {how}", folder / "recipe.toml")
