"""Real rows in every dress that files come in: what is read must be the rows, by a run and by a night, or refused.

    python scripts/malformed/structured.py --reviews reviews.parquet --count 500 --seed 1

Each input takes rows of a real table of reviews, deals them out to files of their own dialects (delimiter, quotes, ends
of lines, encoding, compression, order of columns, header, format of times and of numbers), puts surprises into them
late (a text among numbers, an open quote, a line too short or too long), and says in the recipe what only a recipe can
say. The last line counts how they ended; the exit code is 0 when every row was read as it was, counted as bad, or the
whole was refused in one line where it had to be.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from augment.sources.prepare import prepare

sys.path.append(str(Path(__file__).parents[1]))

from augment.base.errors import BadInput
from augment.recipes.source import Source, codec_of
from augment.sources.ledger import Ledger
from malformed import conclude
from malformed.generated import compressed

NAMES = ["id", "text", "kind", "price", "at"]
START = datetime(2024, 1, 5, tzinfo=timezone.utc)
TIMES = {None: "%Y-%m-%dT%H:%M:%SZ", "iso": "%Y-%m-%d %H:%M:%S", "offset": "%Y-%m-%dT%H:%M:%S+00:00", "epoch": "%s"}
TIMES |= {"compact": "%Y%m%d%H%M%S", **{form: form for form in ("%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S")}}
ENDS = ["\n", "\r\n", "\r", "mixed"]
ENCODINGS = ["utf-8"] * 5 + ["utf-8-sig", "gb18030", "utf-16", "big5", "shift_jis", "latin-1"]


@dataclass
class Dressed:
    """A source, what must be read of it, and how many lines are malformed; `named`: the encoding a refusal names."""

    options: dict[str, Any]
    rows: list[tuple[Any, ...]]
    malformed: int = 0
    named: str | None = None
    how: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: NAMES)


def dressed(reviews: list[tuple[str, str]], folder: Path, chance: random.Random) -> Dressed:
    """Files in `folder`, and what is in them."""
    count = chance.choice([1, 3, 40, 400, 400, 25_000])
    encoding = chance.choice(ENCODINGS)
    real = chance.choices(reviews, k=count)
    codec = codec_of(encoding)

    def kept(text: str) -> str:
        return text.encode(codec, "ignore").decode(codec)

    real = [(kept(one), kept(two)) for one, two in real]
    decimal, form = chance.choice([".", ".", ","]), chance.choice(list(TIMES))
    null = chance.choice([[], ["\\N"], ["NA", "-"]])
    options: dict[str, Any] = {"path": str(folder / "rows*"), "decimal": decimal, "null": null}
    options["timestamp_format"] = form if form and "%" in form else None
    if chance.random() < 0.2:
        options["delimiter"] = chance.choice(["::", ";", "|", "\t", "~"])
    if chance.random() < 0.2:
        options |= {"header": False, "names": NAMES}
    if chance.random() < 0.15:
        options["quote"] = "'"
    made = Dressed(options, [])
    if encoding not in ("utf-8", "utf-8-sig"):
        if chance.random() < 0.3 and any(not text.isascii() for text, _ in real):
            made.named = encoding
        else:
            options["encoding"] = encoding
    cells = [_row(number, *texts, made, chance, form) for number, texts in enumerate(real)]
    files = chance.choice([1, 1, 2, 5])
    for number in range(files):
        part = cells[number * count // files : (number + 1) * count // files]
        write(folder / f"rows{number}", part, encoding, made, chance)
    made.how += [f"{count} rows", encoding, str(form), json.dumps(options)]
    return made


def _row(number: int, text: str, kind: str, made: Dressed, chance: random.Random, form: str | None) -> list[str]:
    """The cells of a row, which is also added to what must be read."""
    at, price = START + timedelta(seconds=37 * number), round(chance.uniform(-50, 2000), 2)
    missing = chance.random() < 0.1
    late = number > 20_480 and chance.random() < 0.01
    written = "late" if late else chance.choice(["", *made.options["null"], "NaN"]) if missing else f"{price:.2f}"
    if made.options["decimal"] == ",":
        written = written.replace(".", ",")
    when = str(int(at.timestamp())) if form == "epoch" else at.strftime(TIMES[form])
    empty = {"", *made.options["null"]}
    made.rows.append(
        (
            f"r{number:06}", *(None if v.strip(" ") in empty else _even(v) for v in (text, kind)),
            None if missing or late else price, int(at.timestamp()) * 1_000_000, "price not a number" if late else None,
        )
    )  # fmt: skip
    return [f"r{number:06}", text, kind, written, when]


def _even(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip(" ")


def write(path: Path, rows: list[list[str]], encoding: str, made: Dressed, chance: random.Random) -> Path:
    """One file in a dialect of its own, as far as the recipe does not say it; its path, which has a suffix then."""
    options, width = made.options, len(made.names)
    delimiter = options.get("delimiter") or chance.choice([",", ";", "\t", "|"])
    order = list(range(width)) if "names" in options else chance.sample(range(width), width)
    extra = 0 if "names" in options else chance.choice([0, 0, 2])
    end, quoting = chance.choice(ENDS), chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    one = delimiter if len(delimiter) == 1 else "\ue000"
    records: list[str] = []

    def record(cells: list[str]) -> str:
        # All cells are quoted where one holds a long delimiter, or begins with a space that may precede a quote.
        odd = any(delimiter in cell or cell.startswith(" ") or "\r" in cell for cell in cells)
        out, every = io.StringIO(), odd or quoting == csv.QUOTE_ALL
        csv.writer(out, delimiter=one, quotechar=options.get("quote", '"'), lineterminator="",
                   quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL).writerow(cells)  # fmt: skip
        return out.getvalue().replace("\ue000", delimiter)

    if "names" not in options:
        if chance.random() < 0.1 and len(delimiter) == 1:
            records.append(f"sep={delimiter}")
        records.append(record([*(made.names[i] for i in order), *[f"more {i}" for i in range(extra)]]))
    for cells in rows:
        records.append(record([*(cells[i] for i in order), *["x, y"] * extra]))
    for bad in (
        f"only{delimiter}two",
        delimiter.join(["many"] * (width + 4)),
        f"open{delimiter}{options.get('quote', chr(34))}never",
    ):
        if len(rows) > 100 and chance.random() < 0.2:
            records.insert(chance.randint(len(rows) // 2, len(records)), bad)
            made.malformed += 1
            made.how.append(bad)
    ends = [chance.choice(ENDS[:3]) for _ in records] if end == "mixed" else [end] * len(records)
    if records and chance.random() < 0.3:
        ends[-1] = ""
    content = "".join(r + e for r, e in zip(records, ends, strict=True)).encode(
        "utf-8-sig" if encoding == "utf-8-sig" else codec_of(encoding)
    )
    suffix = chance.choice([".csv", ".txt", ".dat", ".log", ".tsv" if delimiter == "\t" else ".csv"])
    suffix += chance.choice(["", "", ".gz", ".zst"])
    path = path.with_name(path.name + suffix)
    path.write_bytes(compressed(content, suffix))
    made.how.append(f"{path.name} {delimiter!r} {end!r} {quoting}")
    return path


def trouble(made: Dressed, folder: Path) -> str | None:
    """What is wrong with what a run and a night read, if anything is."""
    columns = {
        "id": "id",
        "user": "id",
        "item": "id",
        "text": "text",
        "segment": "kind",
        "timestamp": "at",
        "numbers": ["price"],
    }
    source = Source.model_validate({**made.options, "columns": columns, "max_bad_share": 1, "max_text": 10**9})
    try:
        ledger = Ledger(folder / "ledger", "x", source)
        ledger.take_in(date(2026, 1, 1), 2, False)
        night = ledger.source(date.min, date.max)
        if night is None:
            return "a night finds no row of the day that it took in"
    except BadInput as error:
        named = made.named or "\0"
        right = f'encoding = "{named}"' in str(error) or (named == "latin-1" and "windows-1252" in str(error))
        return None if right else f"refused: {error}"
    if made.named:
        return f"{made.named} was read as UTF-8"
    for name, each in (("run", source), ("night", night)):
        with suppress(BadInput):  # of a few rows, a split is left empty
            prepare("x", each, "behaviour", folder / name, 1)
        with duckdb.connect(str(folder / name / "source.duckdb")) as db:
            found = db.execute("SELECT id, text, segment, price, timestamp, __reason FROM typed ORDER BY id").fetchall()
            malformed = db.execute("SELECT count(*) FROM malformed").fetchall()[0][0]
        found = [(a, b and _even(b), c and _even(c), d, e, f) for a, b, c, d, e, f in found]
        if found != made.rows:
            wrong = [pair for pair in zip(found, made.rows, strict=False) if pair[0] != pair[1]][:1]
            return f"{name}: {len(found)} rows of {len(made.rows)}, {wrong}"
        if malformed != made.malformed:
            return f"{name}: {malformed} malformed lines, not {made.malformed}"
    return None


def run(count: int, seed: int, folder: Path, reviews: list[tuple[str, str]]) -> Counter[str]:
    """Dress and read `count` inputs: how many were right, refused as they had to be, or failed (`failures.jsonl`)."""
    counts, chance = Counter[str](), random.Random(seed)
    for number in tqdm(range(count), unit="input", disable=not sys.stderr.isatty()):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = dressed(reviews, Path(place), chance)
            try:
                wrong = trouble(made, Path(place))
            except Exception as error:  # whatever it is, it is what this looks for
                wrong = f"{type(error).__name__}: {error}"
            counts["failed" if wrong else "refused" if made.named else "right"] += 1
            if wrong:
                with (folder / "failures.jsonl").open("a", encoding="utf-8") as file:
                    file.write(
                        json.dumps({"number": number, "seed": seed, "why": wrong[:1000], "how": made.how}) + "\n"
                    )
    return counts


def reviews_of(path: Path) -> list[tuple[str, str]]:
    """Text and category of a table of reviews: its columns `text` and `category`, the latter as it is."""
    table = pq.read_table(path, columns=["text", "category"])
    return [
        (text or "", kind or "") for text, kind in zip(*(c.cast(pa.string()).to_pylist() for c in table), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=Path, required=True, action="append", help="Parquet with text and category")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fault-dress-"))
    counts = run(options.count, options.seed, folder, [row for path in options.reviews for row in reviews_of(path)])
    conclude(folder, counts)


if __name__ == "__main__":
    main()
