"""How files and queries become rows: formats, what is wrong with them, and the SQL that reads values of any type.

A run and a night read by the same `load`. A file that DuckDB would read wrong without a word (half of a compressed
file, UTF-16) is refused here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from glob import escape, glob
from pathlib import Path

import duckdb
import pyarrow as pa

from augment import database
from augment.errors import BadInput, suggest
from augment.recipe import Source

MEMORY = "2GB"  # beyond it DuckDB spills to the disk
MALFORMED = "__malformed"  # column of the ledger's parts: a line that no row could be made of
OURS = {"__row", "__day", MALFORMED}  # columns that reading adds; a source's own of these names cannot be read
LONGEST = 300  # characters of what an error quotes
KEYS = 1000  # most columns of such JSON lines
_BLOCK = 1 << 20
_CSV = "header = true, all_varchar = true, store_rejects = true"
# Values as text, like those of CSV: a column of several types would else be JSON, with quotes around its strings.
_JSON = (
    "(SELECT COLUMNS(*) ->> '$' FROM read_json(?, format = 'newline_delimited', ignore_errors = true, "
    "union_by_name = true, maximum_depth = 1))"
)
_READERS = {
    ".parquet": "read_parquet(?, union_by_name = true)",
    ".csv": f"read_csv(?, {_CSV})",
    ".tsv": f"read_csv(?, delim = '\t', {_CSV})",
    ".jsonl": _JSON,
    ".ndjson": _JSON,
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@contextmanager
def workspace(path: Path, name: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in the file `path`, for the source `name`; times without a zone are UTC.

    Raises BadInput for a value, the memory or the disk that it fails on: not for our SQL.
    """
    try:
        with duckdb.connect(str(path)) as db:
            db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 2; SET TimeZone = 'UTC'")
            db.execute("SET enable_progress_bar = false")
            yield db
    except (duckdb.DataError, duckdb.OperationalError) as error:
        raise BadInput(f"sources.{name}: cannot be prepared: {one_line(str(error))}") from None


def load(
    db: duckdb.DuckDBPyConnection, name: str, source: Source, path: str | None = None, since: date | None = None
) -> None:
    """Table `raw`: the source's columns, and `__row`, a row's place. Table `malformed`: lines that are no rows.

    path: of the source's files this one alone. since: of a database, rows of this day and later alone.
    Raises BadInput for what cannot be read, and for a column of the recipe that is not there.
    """
    wanted = columns_of(source)
    db.execute("CREATE OR REPLACE TABLE malformed (__row BIGINT, line VARCHAR)")
    if source.path is None:
        column = str(source.columns.timestamp)
        with database.rows_since(str(source.connection), str(source.query), column, since) as incoming:
            db.register("incoming", incoming)
            db.execute("CREATE OR REPLACE TABLE raw AS SELECT row_number() OVER () AS __row, * FROM incoming")
            db.unregister("incoming")
        _check_columns(db, f"sources.{name}: the query", wanted)
        return
    paths = [path] if path else files_of(source)
    place = path or place_of(source)
    if not (paths := [p for p in paths if Path(p).stat().st_size]):
        raise BadInput(f"sources.{name}: {place} is empty")
    check_files(paths)
    select = f"SELECT row_number() OVER () AS __row, * FROM {reader(Path(paths[0]))}"
    try:
        db.execute(f"CREATE OR REPLACE TABLE raw AS {select}", [[escape(p) for p in paths]])
    except duckdb.Error as error:  # also a bare one, of a Parquet file whose bits are flipped
        raise BadInput(f"sources.{name}: cannot read {place}: {one_line(str(error))}") from None
    json = is_json(Path(paths[0]))
    if json and _columns(db) == ["json"] and "json" not in wanted:
        keys_of(db, wanted)
    _check_columns(db, f"sources.{name}: {place}", wanted)
    _set_apart(db, json)


def _set_apart(db: duckdb.DuckDBPyConnection, json: bool) -> None:
    """Move to `malformed` what is no row: JSON of no key, marked rows of the ledger, lines that CSV has no row for."""
    columns = _columns(db)
    if json:
        empty = " AND ".join(f"{quoted(column)} IS NULL" for column in columns)
        db.execute(f"INSERT INTO malformed SELECT __row, '' FROM raw WHERE {empty}; DELETE FROM raw WHERE {empty}")
    elif MALFORMED in columns:
        marked = f"FROM raw WHERE {MALFORMED} IS NOT NULL"
        db.execute(f"INSERT INTO malformed SELECT __row, {MALFORMED} {marked}; DELETE {marked}")
        db.execute(f"ALTER TABLE raw DROP COLUMN {MALFORMED}")
    elif db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchall()[0][0]:
        lines = "SELECT line, any_value(csv_line) FROM reject_errors GROUP BY file_id, line"  # one may have several
        db.execute(f"INSERT INTO malformed {lines}")


def _columns(db: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in db.execute("DESCRIBE raw").fetchall() if row[0] != "__row"]


def _check_columns(db: duckdb.DuckDBPyConnection, place: str, wanted: list[str]) -> None:
    present = [name for name in _columns(db) if name.lower() not in OURS]
    for column in wanted:
        if column not in present:
            same = next((name for name in present if name.lower() == column.lower()), None)
            hint = f"; did you mean '{same}'?" if same else suggest(column, present)
            raise BadInput(f"{place} has no column '{one_line(column)}'{one_line(hint)}")


def columns_of(source: Source) -> list[str]:
    """The recipe's columns, as the source names them."""
    c = source.columns
    roles = [role for role in (c.id, c.user, c.item, c.timestamp, c.label, c.text, c.segment) if role]
    return list(dict.fromkeys([*roles, *c.fields, *c.numbers]))


def reader(path: Path) -> str:
    """What DuckDB selects from to read files like `path`; its one parameter is the list of files."""
    suffixes = [s for s in path.suffixes if s not in _COMPRESSIONS]
    kind = suffixes[-1].lower() if suffixes else ""
    if kind not in _READERS:
        known = ", ".join(sorted(_READERS))
        raise BadInput(f"{path}: format '{kind}' is not one of {known} (also .gz, .zst)")
    return _READERS[kind]


def is_json(path: Path) -> bool:
    return reader(path) == _JSON


def keys_of(db: duckdb.DuckDBPyConnection, wanted: list[str]) -> None:
    """Make columns of the keys in table `raw` when a line that is no JSON object left it whole lines alone.

    Those lines become rows of nulls, as lines do that cannot be parsed. Of two keys that differ in case alone, the
    wanted one keeps its name.
    """
    record = "CASE WHEN json_valid(json) AND json_type(json) = 'OBJECT' THEN json::JSON END"
    db.execute(f"CREATE OR REPLACE TABLE lines AS SELECT __row, {record} AS record FROM raw")
    counted = "SELECT key, count(*) FROM (SELECT unnest(json_keys(record)) AS key FROM lines) GROUP BY 1"
    query = f"{counted} ORDER BY list_contains(?, key) DESC, 2 DESC, 1 LIMIT {KEYS}"
    keys = [key for key, _ in db.execute(query, [wanted]).fetchall() if key and '"' not in key]
    columns = ", ".join(["__row", *(f"record ->> {literal('$.' + quoted(key))} AS {quoted(key)}" for key in keys)])
    db.execute(f"CREATE OR REPLACE TABLE raw AS SELECT {columns} FROM lines; DROP TABLE lines")


def paths_of(source: Source) -> list[str]:
    """What is at the source's path or paths, each once. Raises BadInput when nothing is."""
    patterns = [source.path] if isinstance(source.path, str) else source.path or []
    found = []
    for pattern in patterns:
        matched = sorted(glob(pattern, recursive=True))
        if not matched:
            raise BadInput(f"no file at {one_line(pattern) or 'an empty path'}")
        found += matched
    if not found:
        raise BadInput("`path` names no file")
    return list(dict.fromkeys(found))


def files_of(source: Source) -> list[str]:
    """The files at the source's path or paths. Raises BadInput when one is not there, or is no file."""
    found = paths_of(source)
    for path in found:
        check_regular(path)
    return found


def check_regular(path: str) -> None:
    """Raise BadInput for what is no file, or a link to none: a pipe would block for ever."""
    if not Path(path).is_file():
        raise BadInput(f"{path}: not a file that can be read")


def place_of(source: Source) -> str:
    """Where its rows are, in an error."""
    if isinstance(source.path, list):
        return f"{len(source.path)} files ({source.path[0]}, …)" if len(source.path) > 1 else source.path[0]
    return source.path or "the query"


def check_files(paths: list[str]) -> None:
    """Raise BadInput for files of several formats, and for what DuckDB would read wrong without a word."""
    if len({reader(Path(path)) for path in paths}) > 1:
        raise BadInput(f"{one_line(', '.join(paths))}: files of one source have one format")
    for path in paths:
        compression = _COMPRESSIONS.get(Path(path).suffix)
        try:
            with pa.input_stream(path, compression=compression) as stream:
                first = block = stream.read(_BLOCK)
                while compression and block:
                    block = stream.read(_BLOCK)
        except (OSError, pa.ArrowException) as error:
            raise BadInput(f"{path}: cannot be read: {one_line(str(error))}") from None
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BadInput(f"{path}: is UTF-16; save it as UTF-8")


def one_line(text: str) -> str:
    """The first line of a message, short and printable: what was in a file may be in it."""
    first = "".join(c if c.isprintable() else "?" for c in text.strip().partition("\n")[0])
    return first if len(first) <= LONGEST else first[:LONGEST] + "…"


def microseconds(column: str) -> str:
    """SQL for epoch microseconds of seconds, milliseconds, microseconds, nanoseconds, ISO text or timestamps."""
    number = f"TRY_CAST(CAST({quoted(column)} AS VARCHAR) AS DOUBLE)"
    limits = {"1e11": "1e6", "1e14": "1e3", "1e17": "1"}  # by their size: seconds, milli-, micro-, else nanoseconds
    scale = " ".join(f"WHEN abs({number}) < {limit} THEN {factor}" for limit, factor in limits.items())
    scale = f"CASE {scale} ELSE 1e-3 END"
    moment = f"epoch_us(TRY_CAST(CAST({quoted(column)} AS VARCHAR) AS TIMESTAMPTZ))"
    return f"CASE WHEN {number} IS NOT NULL THEN TRY_CAST({number} * {scale} AS BIGINT) ELSE {moment} END"


def number_of(column: str) -> str:
    """SQL for a number, also from text; true is 1 and false 0, whichever format they come from."""
    words = f"CASE lower(CAST({quoted(column)} AS VARCHAR)) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END"
    return f"coalesce(TRY_CAST({quoted(column)} AS DOUBLE), {words})"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
