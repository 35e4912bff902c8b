"""Bad input never hurts: thousands of malformed files and recipes, each ending in splits or in one clear line.

    python scripts/fault_inputs.py --data sparring-data --count 2000 --seed 1

Half are made from nothing by hypothesis (`faulty.py`), half by damaging slices of the demo data and a shipped recipe
(`faulty_copies.py`).
Each is read in this process by what `sparring run` reads with; of those that are refused, one in a hundred goes through
the real command. The last line says how many ended how; the exit code is 0 when nothing failed. Inputs that failed stay
in the folder, and `failures.jsonl` there says what went wrong.
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
from pathlib import Path

import duckdb
import hypothesis
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from tqdm import tqdm

sys.path.append(str(Path(__file__).parent))

import faulty
import faulty_copies
from faulty import Case

from augment import demo_data, sources
from augment.errors import BadInput, UsageError
from augment.job import Job
from augment.recipe import load

SLOW = 10.0  # seconds of processor time that no small file may take
LONGEST = 1000  # characters of an error that is still one clear line
SAMPLED = 100  # of so many inputs, one that is refused goes through the real command


class Failed(Exception):
    """What an input must not lead to."""


class Runner:
    """Reads inputs one by one and counts how they end."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.counts = folder, Counter[str]()
        self._bar = tqdm(total=total, unit="input", disable=not sys.stderr.isatty())
        self._due = 0  # inputs since the last one that went through the real command

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
                self.counts["real commands"] += 1
                check_command(case, int(outcome.removeprefix("exit ")))
            if (took := time.process_time() - started) > SLOW:
                raise Failed(f"took {took:.1f} s")
        except Exception as error:  # whatever it is, it is what this looks for
            outcome, seen = "failed", f"{type(error).__name__}: {error}"
        self.counts[outcome] += 1
        self.counts[f"{case.kind}: {outcome}"] += 1
        if seen is None:
            shutil.rmtree(place)
        else:
            with (self.folder / "failures.jsonl").open("a") as file:
                file.write(
                    json.dumps({"kind": case.kind, "how": case.how, "at": str(place), "why": seen[:2000]}) + "\n"
                )
        self._bar.update()

    def _read(self, case: Case, place: Path) -> str:
        """ "ok" or "exit N", as the command line would end; raises for whatever should not be."""
        try:
            recipe = load(str(case.recipe))
            for name in recipe.tasks:
                job = Job(recipe, name, "cpu")
                splits = sources.prepare(
                    job.task.source, job.source, job.consumer.modality, place / f"work-{name}", recipe.seed
                )
                needs = faulty.KINDS[case.kind].needs if case.kind in faulty.KINDS else ("row_id",)
                check_splits(splits, needs)
        except (UsageError, BadInput) as error:
            message = " ".join(str(error).split())
            if not message or len(message) > LONGEST or not message.isprintable():
                raise Failed(f"not one clear line: {message[:LONGEST]}") from None
            return f"exit {error.exit_code}"
        if case.refused:
            raise Failed("was read without an error")
        return "ok"


def check_splits(splits: sources.Splits, needs: tuple[str, ...]) -> None:
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


def check_command(case: Case, code: int) -> None:
    """The real command ends with that exit code, one line of error and its JSON."""
    command = [sys.executable, "-m", "augment", "run", str(case.recipe), "--device", "cpu", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=120)
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
    demo_data.fetch(data, list(faulty.KINDS))
    tables = {kind: pq.read_table(data / demo_data.SETS[kind].file) for kind in faulty.KINDS}
    runner = Runner(folder, count)
    generated = settings(
        max_examples=count // 2,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis.seed(seed)
    @generated
    @hypothesis.given(faulty.faulty())
    def from_nothing(made: faulty.Made) -> None:
        if runner.counts["inputs"] < count // 2:
            runner.add(lambda place: faulty.written(made, place))

    from_nothing()
    chance = random.Random(seed)
    while runner.counts["inputs"] < count:
        make = faulty_copies.mutated_recipe if chance.random() < 0.25 else faulty_copies.mutated
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
    if counts["failed"]:
        print((folder / "failures.jsonl").read_text(), file=sys.stderr)
    print(json.dumps(dict(sorted(counts.items()))))
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main()
