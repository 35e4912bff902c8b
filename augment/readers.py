"""How files become rows: their formats, what is wrong with them, and the SQL that reads values of any type.

A file that DuckDB would read wrong without a word (half of a compressed file, UTF-16) is refused here.
"""

from __future__ import annotations

import codecs
from glob import glob
from pathlib import Path

import duckdb
import pyarrow as pa

from augment.errors import BadInput
from augment.recipe import Source

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
    columns = ", ".join(["__row", *(f"record ->> {_text('$.' + _q(key))} AS {_q(key)}" for key in keys)])
    db.execute(f"CREATE OR REPLACE TABLE raw AS SELECT {columns} FROM lines; DROP TABLE lines")


def files_of(source: Source) -> list[str]:
    """The files at the source's path or paths. Raises BadInput when one is not there, or is no file."""
    patterns = [source.path] if isinstance(source.path, str) else source.path or []
    found = []
    for pattern in patterns:
        matched = sorted(glob(pattern, recursive=True))
        if not matched:
            raise BadInput(f"no file at {one_line(pattern) or 'an empty path'}")
        found += matched
    if not found:
        raise BadInput("`path` names no file")
    for path in found:
        if not Path(path).is_file():  # a pipe would block for ever
            raise BadInput(f"{path}: not a file that can be read")
    return found


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
    number = f"TRY_CAST(CAST({_q(column)} AS VARCHAR) AS DOUBLE)"
    limits = {"1e11": "1e6", "1e14": "1e3", "1e17": "1"}  # by their size: seconds, milli-, micro-, else nanoseconds
    scale = " ".join(f"WHEN abs({number}) < {limit} THEN {factor}" for limit, factor in limits.items())
    scale = f"CASE {scale} ELSE 1e-3 END"
    moment = f"epoch_us(TRY_CAST(CAST({_q(column)} AS VARCHAR) AS TIMESTAMPTZ))"
    return f"CASE WHEN {number} IS NOT NULL THEN TRY_CAST({number} * {scale} AS BIGINT) ELSE {moment} END"


def number_of(column: str) -> str:
    """SQL for a number, also from text; true is 1 and false 0, whichever format they come from."""
    words = f"CASE lower(CAST({_q(column)} AS VARCHAR)) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END"
    return f"coalesce(TRY_CAST({_q(column)} AS DOUBLE), {words})"


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
