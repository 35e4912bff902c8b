"""Real tables in every dress that files come in, through `sparring init`, `run` and `nightly`.

    python scripts/malformed/commands.py --table ratings.parquet --table reviews.parquet --minutes 10 --seed 1

Each input takes rows of a real table, names its columns as others do, and writes them as delimited text in dialects of
their own (`structured.py`), JSON lines or Parquet of other types, with surprises late. `init` must write a recipe that
reads every row as it was, with the roles that the columns have; then `run` and `nightly` read all files of a glob, of
which some are unlike the first, by that recipe with a few samples. Encoders are hashed words, there is one baseline.
The last line counts how they ended; `failures.jsonl` holds what was wrong, the folder of each stays.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
from sklearn.feature_extraction.text import HashingVectorizer

sys.path.append(str(Path(__file__).parents[1]))

from augment import cli
from augment.base.errors import BadInput
from augment.contracts.registry import consumer_class
from augment.language import encoders
from augment.language.encoders import TextEncoder
from augment.recipes.loading import parse
from augment.recipes.source import Source, Split
from augment.sources.ledger import Ledger
from augment.sources.prepare import prepare
from consumers.ctr import ClickModel
from consumers.recommender import Recommender
from consumers.sentiment import Sentiment
from malformed import conclude, dressing, expected, tables
from malformed.tables import Real, Table

# What makes a recipe's task one of seconds.
SMALL = {
    "samples = ": "samples = 6",
    "generator = ": "generator = { bank = 6, variants = 2, steps = 2, batch = 4, draws = 2 }",
    "gates = ": "gates = { band = [-9.0, 9.0], min_plausibility = 0.0, min_label_agreement = 0.0 }",
    "output = ": 'output = "{output}"',
}
OPTIONS = {
    "ctr": 'model = "logistic", epochs = 1, weight_decay = 0.1, attacked_rows = 20',
    "sentiment": "C = 1.0, variants = 2, held_out = 1, attacked_rows = 20",
    "recommender": "l2 = 100.0",
}
PLAIN = {
    ClickModel: {"model": "logistic", "epochs": 1, "weight_decay": 0.1},
    Sentiment: {"C": 1.0},
    Recommender: {"model": "popular"},
}


@dataclass
class Ended:
    """How a command ended: what it printed, and on standard error."""

    code: int
    out: str
    said: list[str]

    def fault(self) -> str | None:
        """What no command may do."""
        errors = [line for line in self.said if line.startswith("sparring: ")]
        if self.code not in (0, 2, 3, 5, 6) or "Traceback" in "\n".join(self.said):
            return f"exit {self.code}: {self.said[-1:]}"
        if self.code not in (0, 3) and not (len(errors) == 1 and errors[0].isprintable() and len(errors[0]) < 1000):
            return f"exit {self.code} without one clear line: {self.said}"
        return None


def command(*arguments: str) -> Ended:
    """A command in this process, as the shell would run it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", ["sparring", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue().splitlines())


class Trial:
    """One input through the commands; `counts`: how each ended."""

    def __init__(self, table: Table, folder: Path, chance: random.Random, counts: Counter[str]) -> None:
        self.table, self.folder, self.chance, self.counts = table, folder, chance, counts

    def fault(self) -> str | None:
        written, files = self.folder / "recipe.toml", self.table.files[:1]
        if self.chance.random() < 0.15 and not self.table.choices:
            files = self.table.files[:2]  # each becomes a source and a task
        ended = command("init", *map(str, files), *self.table.choices, "-o", str(written), "--json")
        self._count("init" if len(files) == 1 else "init of two", ended)
        if (fault := ended.fault()) or ended.code == 3:
            return f"init: {fault or 'exit 3'}"
        if ended.code:
            return f"init refused: {ended.said}" if self.table.whole and len(files) == 1 else None
        text = written.read_text("utf-8")
        made = parse(text, "written")
        for number, (name, file) in enumerate(zip(made.tasks, files, strict=True)):
            task, source, first = made.tasks[name], made.sources[name], tables.part(self.table, file)
            if fault := self._guessed(task.consumer, source, text) if number == 0 else None:
                return f"init: {fault}"
            if fault := self._read(source, first, text, "init" + number * "2", task.consumer):
                return f"init, {name} reads: {fault}"
        if len(files) > 1:
            return None
        return self._commands(written, text, source, task.consumer)

    def _count(self, name: str, ended: Ended) -> None:
        self.counts[f"{name}: exit {ended.code}"] += 1
        for line in ended.said if ended.code else ():
            if line.startswith("sparring: "):
                kind = re.sub(r"/\S+/|'[^']*'|\"[^\"]*\"|[\d,.]*\d", "…", line)[:160]
                self.counts[f"says {name}: {kind}"] += 1

    def _guessed(self, kind: str, source: Source, text: str) -> str | None:
        """What is absurd about a guess, if the file leaves no room for another."""
        if not self.table.whole:
            return None
        roles = {role: column for role, column in source.columns.model_dump().items() if isinstance(column, str)}
        wanted = {role: column for role, column in self.table.roles.items() if role in tables.NEEDED[kind]}
        if kind != self.table.task and "--task" not in self.table.choices:
            return f"took {self.table.task} for {kind}"
        if roles != wanted and "left out" not in text and "often missing" not in text:
            return f"roles {roles}, not {wanted}"
        return None

    def _read(self, source: Source, table: Table, text: str, name: str, consumer: str) -> str | None:
        """Whether a run and a night read each row as it was written, or with a reason."""
        files = [str(path) for path in table.files]
        lenient = source.model_copy(
            update={"path": files, "split": Split(), "max_bad_share": 1.0, "max_text": 10**9, "labelled": None}
        )
        ledger, found = self.folder / f"ledger-{name}", []
        try:
            reader = Ledger(ledger, "x", lenient)
            reader.take_in(self.table.last, 2, False)
            night = reader.source(date.min, date.max)
        except BadInput as error:
            if name.startswith("init"):
                return f"a night cannot: {error}"
            named = table.broken is None or table.broken.name in str(error)
            return None if named else f"{table.broken} is not named: {error}"
        if table.broken:
            return f"{table.broken} was read"
        for how, each in (("run", lenient), ("night", night)):
            if each is None:
                continue
            with suppress(BadInput):  # a split is left empty, say
                prepare("x", each, consumer_class(consumer).modality, self.folder / f"{name}-{how}", 1)
            with duckdb.connect(str(self.folder / f"{name}-{how}" / "source.duckdb")) as db:
                roles = expected.columns_read(lenient, consumer_class(consumer).modality)
                columns = "".join(f', "{column}"' for column in roles)
                rows = db.execute(f"SELECT __reason{columns} FROM typed ORDER BY __row").fetchall()
                bad = db.execute("SELECT count(*) FROM malformed").fetchall()[0][0]
            if len(rows) != len(table.rows) or bad != table.malformed:
                return f"{how}: {len(rows)} rows of {len(table.rows)}, {bad} malformed of {table.malformed}"
            found.append(sorted((str(row) for row in rows if row[0] != "duplicate id"), key=str))
            if how == "run" and (fault := expected.unlike(rows, table, lenient, list(roles.values()), text)):
                return f"{how}: {fault}"
        plain = [[re.sub(r"^\('duplicate'", "(None", row) for row in each] for each in found]
        if len(plain) == 2 and sorted(plain[0]) != sorted(plain[1]):
            odd = [pair for pair in zip(*map(sorted, plain), strict=False) if pair[0] != pair[1]][:1]
            return f"a run and a night differ: {odd}"
        return None

    def _commands(self, written: Path, text: str, source: Source, consumer: str) -> str | None:
        files = [*self.table.files]
        place = json.dumps([str(path) for path in files]) if len(files) > 1 else json.dumps(str(files[0]))
        lines = [re.sub(r"^path = .*", lambda _: f"path = {place}", line) for line in text.splitlines()]
        for begin, new in SMALL.items():
            new = new.replace("{output}", str(self.folder / "out"))
            lines = [new if line.startswith(begin) else line for line in lines]
        lines = [line.replace("verdict = {", "verdict = { seeds = 1, draws = 100, tolerance = 1.0,") for line in lines]
        if self.chance.random() < 0.7:
            lines = ["strategies = { noise = 1.0 }" if line.startswith("strategies = ") else line for line in lines]
        if self.chance.random() < 0.7:  # their models are many
            lines = [line for line in lines if not line.startswith(("teachers = ", "weights = "))]
        lines = [line for line in lines if not line.startswith("options = ")]
        at = lines.index(f'consumer = "{consumer}"')
        lines.insert(at + 1, f"options = {{ {OPTIONS[consumer]} }}")
        lines += ["[nightly]", "min_free_gb = 0.0", "window_days = 9000"]
        written.write_text("\n".join(lines) + "\n", "utf-8")
        if len(files) > 1 and (fault := self._read(source, self.table, text, "glob", consumer)):
            return f"glob: {fault}"
        if len(self.table.rows) > 1000 or self.chance.random() < 0.5:  # trainings depend little on files
            return None
        if self.table.broken:
            return self._broken(written)
        codes = []
        for name, more in (("run", []), ("nightly", ["--as-of", str(self.table.last)])):
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            ended = command(name, str(written), "--device", "cpu", "--json", *more)
            self._count(name, ended)
            if fault := ended.fault():
                return f"{name}: {fault}"
            if ended.code == 2 and len(files) == 1:
                return f"{name} refuses what init wrote: {ended.said}"
            codes.append(0 if ended.code == 3 else ended.code)
        return None if codes[0] == codes[1] else f"run and nightly end with {codes}: {ended.said}"

    def _broken(self, written: Path) -> str | None:
        """A run refuses the glob and names the file; so does a night."""
        for name, more in (("run", []), ("nightly", ["--as-of", str(self.table.last)])):
            ended = command(name, str(written), "--device", "cpu", "--json", *more)
            self._count(name, ended)
            if fault := ended.fault():
                return f"{name}: {fault}"
            if ended.code not in (2, 5) or str(self.table.broken) not in ended.said[-1]:
                return f"{name} of a glob with {self.table.broken} ends with {ended.code}: {ended.said}"
        return None


def fast() -> list[Any]:
    """Patches: texts are encoded by hashed words, and there is one plain baseline for each task."""
    hashing = HashingVectorizer(n_features=24, norm="l2")
    hashed = TextEncoder("hashed", 24, lambda texts: hashing.transform(texts).toarray(), None)
    patches: list[Any] = [
        patch.object(encoders, name, lambda *_: hashed) for name in ("_sentence_transformer", "_usem3")
    ]
    for consumer, plain in PLAIN.items():

        def made(cls: Callable[..., Any], seed: int, device: str, plain: Any = plain) -> dict[str, Any]:
            return {"plain": cls(**plain, seed=seed, device=device)}

        patches.append(patch.object(consumer, "baselines", classmethod(made)))
    return patches


def run(paths: list[Path], minutes: float, seed: int, folder: Path, count: int | None = None) -> Counter[str]:
    """Inputs for so many minutes (or `count` of them), each by a seed of its own; how many ended how."""
    counts, number, ends = Counter[str](), 0, time.monotonic() + 60 * minutes
    real = [Real(path) for path in paths]
    for each in fast():
        each.start()
    while time.monotonic() < ends and number != count:
        chance, place = random.Random(f"{seed}:{number}"), folder / f"{number:05}"
        place.mkdir()
        table = dressing.dressed(chance.choice(real), place, chance)
        try:
            wrong = Trial(table, place, chance, counts).fault()
        except Exception as error:  # whatever it is, it is what this looks for
            wrong = f"{type(error).__name__}: {error}"
        counts["inputs"] += 1
        counts["rows"] += len(table.rows)
        counts[f"{table.form}: {'failed' if wrong else 'right'}"] += 1
        counts["failed"] += bool(wrong)
        if wrong:
            told = {"seed": seed, "number": number, "why": wrong[:1500], "how": table.how}
            with (folder / "failures.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(told, ensure_ascii=False) + "\n")
        else:
            shutil.rmtree(place)
        number += 1
    patch.stopall()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, action="append", help="Parquet with columns named plainly")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--count", type=int, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fault-commands-"))
    conclude(folder, run(options.table, options.minutes, options.seed, folder, options.count))


if __name__ == "__main__":
    main()
