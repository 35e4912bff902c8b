"""What is read: physical type × role × format, each cell by a run and by a night."""

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from logs import read_twice

from augment.recipes.schema import Source

MOMENT = datetime(2024, 1, 5, 10, 20, 30, tzinfo=timezone.utc)
SECONDS = 1_704_450_030
MICROSECONDS = SECONDS * 1_000_000
DAY = SECONDS // 86400 * 86400 * 1_000_000


@dataclass
class Cell:
    """One physical type: a value, and what it is as an id or category, a text, a number and a moment (microseconds)."""

    kind: pa.DataType
    value: object
    name: str
    number: float | None = None
    time: int | None = None
    text: str | None = None  # where it is not the name
    written: dict[str, object] = field(default_factory=dict)  # format → name and text, where it writes another text


def moment(unit, zone=None):
    value = MOMENT if zone else MOMENT.replace(tzinfo=None)
    fraction = {"s": "", "ms": ".000", "us": ".000000", "ns": ".000000000"}[unit]
    csv = f"2024-01-05 10:20:30{fraction}{'Z' if zone else ''}"
    written = {"csv": csv, "jsonl": str(value), "sqlite": csv.replace(" ", "T").replace("Z", "")}
    text = "2024-01-05 10:20:30+00" if zone else "2024-01-05 10:20:30"
    return Cell(pa.timestamp(unit, zone), value, text, None, MICROSECONDS, written=written)


CELLS = {
    "int64": Cell(pa.int64(), 259, "259", 259, 259_000_000),
    "int64 beyond a double": Cell(pa.int64(), 2**53 + 1, "9007199254740993", 2.0**53, 2**53),
    "uint32": Cell(pa.uint32(), 7, "7", 7, 7_000_000),
    "float64, whole": Cell(pa.float64(), 259.0, "259", 259, 259_000_000, written={"jsonl text": "259.0"}),
    "float64": Cell(pa.float64(), 0.25, "0.25", 0.25, 250_000),
    "float64, NaN": Cell(pa.float64(), float("nan"), None, written={"csv": "nan", "jsonl": "NaN"}),
    "float32": Cell(pa.float32(), 0.5, "0.5", 0.5, 500_000),
    "decimal": Cell(pa.decimal128(7, 2), Decimal("6.25"), "6.25", 6.25, 6_250_000),
    "boolean": Cell(pa.bool_(), True, "true", 1, written={"sqlite": "1", "sqlite time": 1_000_000}),
    "string": Cell(pa.string(), '这件 dress, "5"\nnice', '这件 dress, "5"\nnice'),
    "string, number": Cell(pa.string(), "007", "007", 7, 7_000_000),
    "string, whole number": Cell(pa.string(), "259.0", "259", 259, 259_000_000, text="259.0"),
    "string, blank": Cell(pa.string(), "  ", None),
    "string, yes": Cell(pa.string(), "Yes", "Yes", 1),
    "binary": Cell(pa.binary(), "上衣".encode(), "上衣"),
    "dictionary": Cell(pa.dictionary(pa.int8(), pa.string()), "Tops", "Tops"),
    "date": Cell(pa.date32(), date(2024, 1, 5), "2024-01-05", None, DAY),
    "epoch s": Cell(pa.int64(), SECONDS, str(SECONDS), SECONDS, MICROSECONDS),
    "epoch ms": Cell(pa.int64(), SECONDS * 10**3, str(SECONDS * 10**3), SECONDS * 1e3, MICROSECONDS),
    "epoch us": Cell(pa.int64(), SECONDS * 10**6, str(SECONDS * 10**6), SECONDS * 1e6, MICROSECONDS),
    "epoch ns": Cell(pa.int64(), SECONDS * 10**9, str(SECONDS * 10**9), SECONDS * 1e9, MICROSECONDS),
    "epoch s, float": Cell(
        pa.float64(), float(SECONDS), str(SECONDS), SECONDS, MICROSECONDS, written={"jsonl text": f"{SECONDS}.0"}
    ),
    "compact day": Cell(pa.int64(), 20240105, "20240105", 20240105, DAY),
    "compact time": Cell(pa.int64(), 20240105102030, "20240105102030", 20240105102030, MICROSECONDS),
    "timestamp s": moment("s"),
    "timestamp ms": moment("ms"),
    "timestamp us": moment("us"),
    "timestamp ns": moment("ns"),
    "timestamp s, zone": moment("s", "UTC"),
    "timestamp ms, zone": moment("ms", "UTC"),
    "timestamp us, zone": moment("us", "UTC"),
    "timestamp ns, zone": moment("ns", "UTC"),
}
for text in (
    "2024-01-05T10:20:30", "2024-01-05 10:20:30", "2024-01-05T10:20:30Z", "2024-01-05T12:20:30+02:00",
    "2024-01-05 12:20:30+0200", "2024-01-05 12:20:30+02", "2024-01-05 12:20:30 +02:00", "2024/01/05 10:20:30",
    "2024-01-05 10:20:30.000", "2024-01-05 10:20:30,000", "2024-01-05 10:20:30 UTC", "20240105T102030Z",
    "20240105 102030", "Fri, 05 Jan 2024 10:20:30 GMT", "05/Jan/2024:12:20:30 +0200",
):  # fmt: skip
    CELLS[text] = Cell(pa.string(), text, text, None, MICROSECONDS)
for text in ("2024-01-05", "2024/01/05", "2024-1-5", "5 Jan 2024"):
    CELLS[text] = Cell(pa.string(), text, text, None, DAY)
for text in ("05.01.2024", "01/05/2024", "soon"):  # of two orders: `timestamp_format` says which
    CELLS[text] = Cell(pa.string(), text, text)
COLUMNS = {"id": "a", "user": "b", "item": "c", "segment": "d", "text": "e", "label": "f", "timestamp": "g",
           "fields": ["h", "label"], "numbers": ["j"]}  # fmt: skip


def table(cell):
    """The value and a missing one, in a column for each role."""
    names = ["a", "b", "c", "d", "e", "f", "g", "h", "label", "j"]
    values = pa.array([cell.value, None], cell.kind) if cell.kind != pa.string() else pa.array([cell.value, None])
    return pa.table(dict.fromkeys(names, values))


def write_jsonl(rows, path):
    def plain(value):
        return (
            value.decode() if isinstance(value, bytes) else float(value) if isinstance(value, Decimal) else str(value)
        )

    path.write_text("".join(json.dumps(row, default=plain) + "\n" for row in rows.to_pylist()), "utf-8")


def write_csv(rows, path):
    pc.write_csv(
        rows.cast(pa.schema([(f.name, pa.string() if f.type == pa.binary() else f.type) for f in rows.schema])), path
    )


WRITERS = {"parquet": pq.write_table, "csv": write_csv, "jsonl": write_jsonl}
HELD_AS = {
    pa.uint32(): pa.int64(),
    pa.decimal128(7, 2): pa.float64(),
    pa.dictionary(pa.int8(), pa.string()): pa.string(),
}


def ingest(uri, driver, rows):
    """A table `cells` in a database, of the nearest types that it has."""
    kind = HELD_AS.get(rows.schema.field("a").type, rows.schema.field("a").type)
    with driver.connect(uri) as db, db.cursor() as cursor:
        cursor.adbc_ingest("cells", rows.cast(pa.schema([(name, kind) for name in rows.column_names])), mode="replace")
        db.commit()


def check(cell, source, folder, form):
    name = cell.written.get(form, cell.name)
    text = cell.written.get(f"{form} text", cell.text or name)
    time = cell.written.get(f"{form} time", cell.time)
    expected = [(*[name] * 6, text, cell.number, cell.number, time), (None,) * 10]
    columns = 'id, user_id, item_id, segment, h, "field:label", text, label, j, timestamp'
    assert read_twice(source, folder, columns) == (expected, [])


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", CELLS)
def test_what_a_file_holds(tmp_path, name, form):
    path = tmp_path / f"cells.{form}"
    WRITERS[form](table(CELLS[name]), path)
    check(CELLS[name], Source.model_validate({"path": str(path), "columns": COLUMNS}), tmp_path, form)


@pytest.mark.parametrize("name", CELLS)
def test_what_sqlite_holds(tmp_path, name):
    driver = pytest.importorskip("adbc_driver_sqlite.dbapi")
    ingest(str(tmp_path / "x.db"), driver, table(CELLS[name]))
    where = {"connection": f"sqlite:///{tmp_path}/x.db", "query": "SELECT * FROM cells"}
    check(CELLS[name], Source.model_validate({**where, "columns": COLUMNS}), tmp_path, "sqlite")


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_what_postgresql_holds(server, tmp_path, monkeypatch, name):
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    driver = pytest.importorskip("adbc_driver_postgresql.dbapi")
    ingest(server.replace("${SHOP_PASSWORD}", "secret"), driver, table(CELLS[name]))
    where = {"connection": server, "query": "SELECT * FROM cells"}
    check(CELLS[name], Source.model_validate({**where, "columns": COLUMNS}), tmp_path, "postgresql")
