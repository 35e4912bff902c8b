"""A guess is tried on the rows it was made from, by what a run reads with, and mended until it reads them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow.parquet as pq

from augment.base.errors import BadInput
from augment.contracts.registry import consumer_class
from augment.drafting.catalogue import CATALOGUE, PEOPLE
from augment.drafting.guess import Guess
from augment.drafting.pictures import without_pictures
from augment.recipes.source import OF_TEXT, Source
from augment.sources import prepare as rules
from augment.sources.formats import MALFORMED, own
from augment.sources.prepare import prepare, prepare_catalogue
from augment.sources.splits import TooManyBad
from augment.sources.sql import literal

WHOLE = 32_000_000  # bytes up to which a file is tried whole; of a larger one, the rows that were looked at
MENDS = 12  # of one guess
BESIDE = {CATALOGUE: rules.PRODUCTS, PEOPLE: rules.PEOPLE}
PICTURES = 300  # of which a file is tried: each is decoded


def tried(db: duckdb.DuckDBPyConnection, guess: Guess) -> None:
    """Change the guess until `prepare` reads its rows. Raises BadInput where nothing that is known helps."""
    with TemporaryDirectory() as folder:
        part = _part(db, guess, Path(folder)) if guess.path.stat().st_size > WHOLE else None
        for number in range(MENDS):
            try:
                source = guess.source(**_as_part(part)) if part else guess.source()
                if guess.kind in BESIDE:
                    prepare_catalogue("init", source, BESIDE[guess.kind], Path(folder) / str(number), 0)
                else:
                    prepare("init", source, consumer_class(guess.kind).modality, Path(folder) / str(number), 0)
                return
            except TooManyBad as error:
                reasons = pq.read_table(error.quarantine, columns=["reason"])["reason"].to_pylist()
                rows = int(db.execute("SELECT count(*) FROM seen").fetchall()[0][0])
                if not any(_mend(guess, reason, count / rows) for reason, count in Counter(reasons).most_common()):
                    raise _told(guess, error) from None
            except BadInput as error:
                if not _loosen(guess, str(error)):
                    raise _told(guess, error) from None
    raise BadInput(f"{guess.path}: no way to read it was found; write the recipe by hand (init --explain)")


def _part(db: duckdb.DuckDBPyConnection, guess: Guess, folder: Path) -> Path:
    """The rows that were looked at, as the ledger keeps rows: text, of which the options for text have been used."""
    path = folder / "seen.parquet"
    columns = ", ".join(f"{column.sql} AS {own(column.name)}" for column in guess.seen)
    few = f" LIMIT {PICTURES}" if "image" in guess.roles else ""
    query = f"SELECT {columns}, CAST(NULL AS VARCHAR) AS {MALFORMED} FROM seen{few}"
    db.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet)")
    return path


def _as_part(part: Path) -> dict[str, Any]:
    used = (option for option in OF_TEXT if option != "decimal")
    return {"path": str(part), **{option: Source.model_fields[option].get_default() for option in used}}


def _told(guess: Guess, error: BadInput) -> BadInput:
    return BadInput(f"{guess.path}: {str(error).removeprefix('sources.init: ').removeprefix('sources.init.')}")


def _mend(guess: Guess, reason: str, share: float) -> bool:
    """Change what makes rows bad for this reason; whether there was anything to change. share: of the rows."""
    name, _, what = reason.rpartition(" ")
    if reason.endswith(" not a number") and (number := reason.removesuffix(" not a number")) in guess.numbers:
        guess.numbers.remove(number)
        guess.fields.append(number)
        return True
    if reason.endswith(" too long"):
        return _drop(guess, reason.removesuffix(" too long"))
    if guess.kind == CATALOGUE and reason.startswith("image "):  # an item is worth more than its picture
        return without_pictures(guess, f"'{guess.roles.get('image')}' is left out: {share:.0%} are bad: {reason}")
    if reason.startswith("image ") and share < 0.5 and "max_bad_share" not in guess.options:
        return _set(guess, "max_bad_share", round(1.2 * share + 0.05, 2), f"{share:.0%} are bad: {reason}")
    if reason == "label missing":
        return _set(guess, "unlabelled", 0, "rows without a label are left out")
    if name == "timestamp":
        return _without_time(guess, f"'{guess.roles['timestamp']}' is left out: {share:.0%} are {what}")
    if what == "missing" and guess.kind == "ctr" and name in guess.roles:
        guess.fields.append(guess.roles.pop(name))
        guess.notes["columns"] = f"'{guess.fields[-1]}' is a field, no {name}: it is often missing"
        return True
    if what == "missing" and guess.kind == "sentiment" and name in ("user", "item"):
        guess.notes["columns"] = f"'{guess.roles.pop(name)}' is left out: it is often missing"
        return True
    if what == "missing" and share < 0.5 and "max_bad_share" not in guess.options:
        return _set(guess, "max_bad_share", round(min(1.0, 1.2 * share + 0.05), 2), f"{share:.0%} have no {name}")
    if reason == "bot":
        return _set(guess, "max_per_minute", 1_000_000, "times are not that fine")
    if reason == "malformed line" and share > 0.01:
        return _set(guess, "quote", "", "quotes are not closed")
    return False


def _loosen(guess: Guess, message: str) -> bool:
    """Ask less of the rows, or leave a column out that cannot be read; whether that may help."""
    if twice := re.search(r" columns '(.*)': rename them| has no column '(.*?)'", message):
        return _drop(guess, twice[1] or twice[2])
    if not re.search(r"no rows left|no good rows left|on one side", message) or not guess.split:
        return False
    if guess.split.get("core", 1) > 1 and "no good rows" in message:
        guess.split = {**guess.split, "core": 1}
        return True
    guess.split = {}
    guess.notes["split"] = "by time, a part would have no rows, or labels of one kind alone"
    return True


def _set(guess: Guess, option: str, value: Any, note: str) -> bool:
    if option in guess.options:
        return False
    guess.options[option], guess.notes[option] = value, note
    return True


def _drop(guess: Guess, name: str) -> bool:
    if name not in (*guess.fields, *guess.numbers):
        return False
    for names in (guess.fields, guess.numbers, guess.mutable or []):
        if name in names:
            names.remove(name)
    return True


def _without_time(guess: Guess, note: str) -> bool:
    if "timestamp" not in guess.roles:
        return False
    del guess.roles["timestamp"]
    guess.options.pop("timestamp_format", None)
    guess.split, guess.notes["columns"] = {}, note
    return True
