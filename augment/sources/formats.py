"""What DuckDB selects from to read one file, of any format: its columns by place, under the names that the file has.

SQL does not tell `Label` from `label`, and readers rename what is there twice: by their place, columns are what they
are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import duckdb

from augment.base.errors import BadInput, UsageError
from augment.recipes.source import OF_TEXT, Source, given
from augment.sources.dialects import Dialect, as_utf8, dialect_of
from augment.sources.encodings import COMPRESSIONS
from augment.sources.sql import literal, quoted, text_of

MALFORMED = "__malformed"  # column of the ledger's parts: a line that no row could be made of
KEYS = 1000  # most columns of JSON lines
KINDS = {".parquet": "Parquet", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}
KINDS |= dict.fromkeys((".csv", ".tsv", ".txt", ".dat", ".log"), "delimited text")
_OWN = "="  # before a source's names in our tables and parts: none of them can be one of ours
_OBJECT = "json_valid(json) AND json_type(json) = 'OBJECT' AND json <> '{}'"


def own(name: str) -> str:
    """The source's column of that name, in our tables, quoted for SQL."""
    return quoted(_OWN + name)


@dataclass(frozen=True)
class Rows:
    """One file or query: `relation` has a column `c0`, `c1`, … for each name.

    path: what is read, which may be a copy. line: SQL of what a row holds that is none, null for a row. dialect: of
    delimited text.
    """

    names: list[str]
    kinds: list[str]  # DuckDB's types
    relation: str
    path: str | None = None
    line: str = "NULL"
    dialect: Dialect | None = None

    def text(self, column: str, binary: bool = False) -> str:
        """SQL for a column's text; of a binary one, bytes in base64."""
        place = self.place(column)
        return "NULL" if place is None else text_of(f"c{place}", self.kinds[place], binary)

    def place(self, column: str) -> int | None:
        """Where a column is, by its name; one whose name is there before, in any case, is also NAME_1 or NAME_2."""
        if column in self.names:
            return self.names.index(column)
        lower = [name.lower() for name in self.names]
        again = ((place, lower[:place].count(name)) for place, name in enumerate(lower))
        return next((p for p, count in again if count and column == f"{self.names[p]}_{count}"), None)

    @property
    def parameters(self) -> list[str]:
        return [] if self.path is None else [pattern(self.path)]


def pattern(path: str) -> str:
    """What DuckDB finds that one file by: it takes names for patterns, and ~ for a home."""
    return escape(os.path.abspath(path))


def kind_of(path: str) -> str:
    """The format that a file's name says. Raises BadInput for one that is not read."""
    suffixes = [s.lower() for s in Path(path).suffixes if s.lower() not in COMPRESSIONS]
    kind = suffixes[-1] if suffixes else ""
    if kind not in KINDS:
        raise BadInput(f"{path}: format '{kind}' is not one of {', '.join(sorted(KINDS))} (also .gz, .zst)")
    return KINDS[kind]


def rows_of(db: duckdb.DuckDBPyConnection, source: Source, path: str, scratch: Path, wanted: list[str]) -> Rows:
    """How one file is read with the source's options; of JSON lines, the wanted keys.

    Copies of text that DuckDB cannot read as it is are in `scratch`. Raises BadInput for what cannot be read, and
    UsageError for an option that its format does not have.
    """
    kind = kind_of(path)
    if kind == "Parquet":
        rows = _parquet(db, path)
        if rows.line != "NULL":  # a part of the ledger, which has taken the options into account
            return rows
    unused = {"Parquet": OF_TEXT, "JSON lines": tuple(o for o in OF_TEXT if o != "encoding"), "delimited text": ()}
    if odd := given(source, unused[kind]):
        raise UsageError(f"{path}: `{odd[0]}` is for delimited text: there is none in {kind}")
    if kind != "Parquet":
        text = as_utf8(path, source, scratch, lines=kind == "delimited text")
        if kind == "delimited text":
            rows = delimited(text, dialect_of(text, source, wanted))
        else:
            rows = _json(text, [key for key in wanted if key not in _partitions(path)])
    return with_partitions(rows, path)


def described(db: duckdb.DuckDBPyConnection, relation: str, names: list[str], path: str | None = None) -> Rows:
    """Rows of a relation whose columns have those names, in order."""
    given = [] if path is None else [pattern(path)]
    kinds = [str(row[1]) for row in db.execute(f"DESCRIBE SELECT * FROM {relation}", given).fetchall()]
    places = ", ".join(f"c{place}" for place in range(len(kinds)))
    return Rows(names, kinds, f"{relation} AS t({places})", path)


def _parquet(db: duckdb.DuckDBPyConnection, path: str) -> Rows:
    _, *nodes = db.execute("SELECT name, num_children FROM parquet_schema(?)", [pattern(path)]).fetchall()
    names: list[str] = []
    below = 0  # nodes still to come beneath the last column
    for name, children in nodes:
        if below:
            below -= 1
        else:
            names.append(name)
        below += children or 0
    relation = "read_parquet(?, hive_partitioning = false)"
    if names[-1:] == [MALFORMED] and all(name.startswith(_OWN) for name in names[:-1]):
        rows = described(db, relation, [name.removeprefix(_OWN) for name in names[:-1]], path)
        return replace(rows, line=f"c{len(names) - 1}")
    return described(db, relation, names, path)


def delimited(path: str, dialect: Dialect) -> Rows:
    """Delimited text in UTF-8, by one dialect from the first byte to the last.

    DuckDB finds the ends of lines within quotes in order alone: from the middle of a file, it takes lines of a quoted
    text for rows.
    """
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(dialect.names)))
    compression = COMPRESSIONS.get(Path(path).suffix.lower(), "none")
    quote = literal(dialect.quote)
    relation = (
        f"read_csv(?, auto_detect = false, columns = {{{columns}}}, delim = {literal(dialect.delimiter)}, "
        f"quote = {quote}, escape = {quote}, comment = '', header = {str(dialect.header).lower()}, "
        f"skip = {dialect.skip}, compression = '{compression}', store_rejects = true, strict_mode = true, "
        "parallel = false, hive_partitioning = false)"
    )
    kinds = ["VARCHAR"] * len(dialect.names)
    return Rows(dialect.names, kinds, relation, path, dialect=dialect)


def _json(path: str, wanted: list[str]) -> Rows:
    """The wanted keys as text: a number or a word as it is written, a string without its quotes."""
    pointers = ", ".join(literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in wanted)
    columns = ", ".join(f"found[{place + 1}] AS c{place}" for place in range(len(wanted)))
    found = f"SELECT json, json_extract_string(json, [{pointers}]::VARCHAR[]) AS found FROM {objects(path)}"
    line = f"CASE WHEN coalesce({_OBJECT}, false) THEN NULL ELSE '' END"
    return Rows(wanted, ["VARCHAR"] * len(wanted), f"(SELECT json, {columns} FROM ({found}))", path, line)


def objects(path: str) -> str:
    """JSON lines as one column `json`, null for what is none; its parameter is the escaped path."""
    compression = COMPRESSIONS.get(Path(path).suffix.lower(), "uncompressed")
    return f"read_json_objects(?, format = 'newline_delimited', ignore_errors = true, compression = '{compression}')"


def keys_of(db: duckdb.DuckDBPyConnection, path: str, most: int | None = None) -> list[str]:
    """The keys of the objects in JSON lines, or of the first `most` of them, the most frequent first."""
    limit = "" if most is None else f" LIMIT {most}"
    lines = f"SELECT CASE WHEN {_OBJECT} THEN json END AS record FROM {objects(path)}{limit}"
    keys = f"SELECT key, count(*) FROM (SELECT unnest(json_keys(record)) AS key FROM ({lines})) GROUP BY 1"
    return [key for key, _ in db.execute(f"{keys} ORDER BY 2 DESC, 1 LIMIT {KEYS}", [pattern(path)]).fetchall()]


def with_partitions(rows: Rows, path: str) -> Rows:
    """And a column for each folder KEY=VALUE that the file is in, where it has none of that name itself."""
    values = {key: value for key, value in _partitions(path).items() if key not in rows.names}
    if not values:
        return rows
    texts = ["NULL" if value == "__HIVE_DEFAULT_PARTITION__" else literal(value) for value in values.values()]
    columns = "".join(f", {text} AS c{place}" for place, text in enumerate(texts, len(rows.names)))
    return replace(
        rows,
        names=[*rows.names, *values],
        kinds=[*rows.kinds, *["VARCHAR"] * len(values)],
        relation=f"(SELECT *{columns} FROM {rows.relation})",
    )


def _partitions(path: str) -> dict[str, str]:
    folders = (folder.partition("=") for folder in Path(path).parts[:-1] if "=" in folder)
    return {key: unquote(value) for key, _, value in folders if key}


def sample(db: duckdb.DuckDBPyConnection, source: Source, path: str, most: int) -> list[str]:
    """Table `seen`: the first `most` rows of a file as the source's options read it, and its columns' names; of a file
    with more rows, as many of its others besides.

    Of names that differ in case alone the first is there, and of no name none; text and JSON have columns of text,
    Parquet its own types. Raises what `rows_of` does, and BadInput for a file without columns.
    """
    with TemporaryDirectory() as scratch:
        try:
            text = as_utf8(path, source, Path(scratch), lines=False) if kind_of(path) == "JSON lines" else None
            rows = rows_of(db, source, path, Path(scratch), keys_of(db, text, most) if text else [])
            if not any(rows.names):
                line = ", an object in each line" if kind_of(path) == "JSON lines" else ""
                raise BadInput(f"{path}: holds no columns; it should be {kind_of(path)} by its name{line}")
            first = {name.lower(): (place, name) for place, name in reversed([*enumerate(rows.names)]) if name}
            columns = ", ".join(f"c{place} AS {quoted(name)}" for place, name in sorted(first.values()))
            select = f"SELECT {columns} FROM {rows.relation} LIMIT {most}"
            db.execute(f"CREATE OR REPLACE TABLE seen AS {select}", rows.parameters)
            if db.execute("SELECT count(*) FROM seen").fetchall()[0][0] == most:
                # Of the others: a row that came twice would be a key that is no key.
                others = f"(SELECT {columns} FROM {rows.relation} OFFSET {most})"
                spread = f"SELECT * FROM {others} USING SAMPLE reservoir({most} ROWS) REPEATABLE (7)"
                db.execute(f"INSERT INTO seen {spread}", rows.parameters)
        except duckdb.Error as error:
            raise BadInput(f"{path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None
    return [name for _, name in sorted(first.values())]
