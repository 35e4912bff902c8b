"""Bad input never hurts: thousands of malformed files and recipes, each ending in splits or in one clear line.

    python scripts/malformed/inputs.py --data sparring-data --count 2000 --seed 1

Half are made from nothing by hypothesis (`generated.py`), half by damaging slices of the demo data and a shipped recipe
(`damaged.py`).
Each is read in this process twice: by what `sparring run` reads with, and through the ledger as `sparring nightly`
reads. Both must end alike. Of those that are refused, one in a hundred goes through the real commands. The last line
says how many ended how; the exit code is 0 when nothing failed. Inputs that failed stay in the folder, and
`failures.jsonl` there says what went wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import hypothesis
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from tqdm import tqdm

from augment.sources import splits
from augment.sources.prepare import prepare

sys.path.append(str(Path(__file__).parents[1]))

from augment.base.errors import BadInput, UsageError
from augment.recipes.loading import load
from augment.recipes.schema import Source
from augment.runs.task import Job
from augment.sources import demo as demo_data
from augment.sources.ledger import Ledger
from malformed import conclude, damaged, generated
from malformed.generated import Case

SLOW = 20.0  # seconds of processor time that no small file may take, read twice
NIGHT = date(2026, 3, 1)  # on which the ledger reads; all rows are in its window
LONGEST = 1000  # characters of an error that is still one clear line
SAMPLED = 100  # of so many inputs, one that is refused goes through the real commands


class Failed(Exception):
    """What an input must not lead to."""


class Runner:
    """Reads inputs one by one and counts how they end."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.counts = folder, Counter[str]()
        self._bar = tqdm(total=total, unit="input", disable=not sys.stderr.isatty())
        self._due = 0  # inputs since the last one that went through the real commands

    def add(self, make: Callable[[Path], Case]) -> None:
        """Make one input in a folder of its own, read it and count."""
        place = self.folder / f"{self.counts['inputs']:05}"
        place.mkdir()
        case = make(place)
        self.counts["inputs"] += 1
        self._due += 1
        started, seen = time.process_time(), None
        try:
            outcome = self._read(case, place)
            if outcome != "ok" and self._due >= SAMPLED:
                self._due = 0
                for command in ("run", "nightly"):
                    self.counts["real commands"] += 1
                    check_command(command, case, int(outcome.removeprefix("exit ")))
            if (took := time.process_time() - started) > SLOW:
                raise Failed(f"took {took:.1f} s")
        except Exception as error:  # whatever it is, it is what this looks for
            outcome, seen = "failed", f"{type(error).__name__}: {error}"
        self.counts[outcome] += 1
        self.counts[f"{case.kind}: {outcome}"] += 1
        if seen is None:
            shutil.rmtree(place)
        else:
            with (self.folder / "failures.jsonl").open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps({"kind": case.kind, "how": case.how, "at": str(place), "why": seen[:2000]}) + "\n"
                )
        self._bar.update()

    def _read(self, case: Case, place: Path) -> str:
        """ "ok" or "exit N", as the command line would end; raises for whatever should not be."""
        run, night = (ending(case, place / name, through) for name, through in (("run", as_it_is), ("night", by_night)))
        if run != night:
            raise Failed(f"a run and a night differ: {run}, {night}")
        if case.refused and run[0] == "ok":
            raise Failed("was read without an error")
        return run[0]


def ending(case: Case, place: Path, through: Callable[[str, Source, Path], Source]) -> tuple[str, ...]:
    """ "ok" and what every task's rows became, or "exit N"."""
    found = []
    try:
        recipe = load(str(case.recipe))
        for name in recipe.tasks:
            job = Job(recipe, name, "cpu")
            place.mkdir(exist_ok=True)
            source = through(job.task.source, job.source, place / f"ledger-{name}")
            splits = prepare(job.task.source, source, job.consumer.modality, place / name, recipe.seed)
            needs = generated.KINDS[case.kind].needs if case.kind in generated.KINDS else ("row_id",)
            check_splits(splits, needs)
            found.append(f"{dict(sorted(splits.counts.items()))} {splits.quarantined}")
    except (UsageError, BadInput) as error:
        message = " ".join(str(error).split())
        if not message or len(message) > LONGEST or not message.isprintable():
            raise Failed(f"not one clear line: {message[:LONGEST]}") from None
        return (f"exit {error.exit_code}",)
    return ("ok", *found)


def as_it_is(name: str, source: Source, folder: Path) -> Source:
    return source


def by_night(name: str, source: Source, folder: Path) -> Source:
    """What a night reads in its place: the ledger's parts, which another night finds as they were."""
    Ledger(folder, name, source).take_in(NIGHT, 2, False)
    ledger = Ledger(folder, name, source)
    if source.path and ledger.take_in(NIGHT, 2, False).bytes:
        raise Failed("a second night read it again")
    if (parts := ledger.source(date.min, date.max)) is None:
        raise BadInput("no rows")
    return parts


def check_splits(splits: splits.Splits, needs: tuple[str, ...]) -> None:
    """Every row is in one place at most, has what its role needs, and in quarantine its reason."""
    with duckdb.connect(str(splits.quarantine.with_name("source.duckdb")), read_only=True) as db:
        rows = db.execute("SELECT count(*) FROM raw").fetchall()[0][0]
    # Lines that made no row are in quarantine alone.
    kept = pq.read_table(splits.quarantine).to_pylist()
    unread = splits.quarantined.get("malformed line", 0)
    if sum(splits.counts.values()) + sum(splits.quarantined.values()) > rows + unread:
        raise Failed(f"{splits.counts} and {splits.quarantined} are more than {rows} rows")
    if Counter(row["reason"] for row in kept) != Counter(splits.quarantined):
        raise Failed(f"quarantine holds {Counter(row['reason'] for row in kept)}, not {splits.quarantined}")
    ids: Counter[str] = Counter()
    for split in ("train", "valid", "test", "unlabelled"):
        if path := getattr(splits, split):
            table = pq.read_table(path)
            if len(table) != splits.counts[split] or not len(table):
                raise Failed(f"{split} holds {len(table)} rows of {splits.counts[split]}")
            ids.update(table["row_id"].to_pylist())
            for row in table.to_pylist():
                lost = [c for c in needs if row[c] is None and not (c == "label" and split == "unlabelled")]
                odd = [c for c, v in row.items() if isinstance(v, float) and not math.isfinite(v)]
                if lost or odd:
                    raise Failed(f"{split}: a row without {lost}, not finite {odd}: {row}")
    if ids and ids.most_common(1)[0][1] > 1:
        raise Failed("a row id is there twice")


def check_command(command: str, case: Case, code: int) -> None:
    """The real command ends with that exit code, one line of error and its JSON."""
    line = [sys.executable, "-m", "augment", command, str(case.recipe), "--device", "cpu", "--json"]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=120)
    errors = [line for line in done.stderr.splitlines() if line.startswith("sparring: ")]
    said = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if done.returncode != code or len(errors) != 1 or "Traceback" in done.stderr or said.get("code") != code:
        raise Failed(f"exit code {done.returncode}, not {code}: {done.stdout[-500:]} {done.stderr[-1500:]}")
    if f"sparring: {said['error']}" != errors[0]:
        raise Failed(f"{said} is not {errors}")


def run(count: int, seed: int, folder: Path, data: Path) -> Counter[str]:
    """Read `count` malformed inputs; how many ended how, in all and by kind.

    Keys: inputs, ok, exit 2, exit 5, failed, real commands, and "KIND: outcome". Failures are listed in
    `folder/failures.jsonl`, and their inputs kept beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    demo_data.fetch(data, list(generated.KINDS))
    tables = {kind: pq.read_table(data / demo_data.SETS[kind].file) for kind in generated.KINDS}
    runner = Runner(folder, count)
    examples = settings(
        max_examples=count // 2,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis.seed(seed)
    @examples
    @hypothesis.given(generated.faulty())
    def from_nothing(made: generated.Made) -> None:
        if runner.counts["inputs"] < count // 2:
            runner.add(lambda place: generated.written(made, place))

    from_nothing()
    chance = random.Random(seed)
    while runner.counts["inputs"] < count:
        make = damaged.mutated_recipe if chance.random() < 0.25 else damaged.mutated
        runner.add(lambda place, make=make: make(tables, place, chance))  # type: ignore[misc]
    return runner.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("sparring-data"), help="folder of the demo data")
    parser.add_argument("--folder", type=Path, help="where inputs that failed stay; a new temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fault-inputs-"))
    counts = run(options.count, options.seed, folder, options.data)
    conclude(folder, counts)


if __name__ == "__main__":
    main()
