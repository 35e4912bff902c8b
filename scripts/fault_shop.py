"""A shop whose nights the fault harness breaks: days of real impressions, and the real command in children."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment import cli
from augment.base.files import sha256
from augment.publishing.dataset import Dataset
from augment.runs import version
from consumers import open_mix

FIRST = date(2026, 3, 1)
ROWS = 500  # a day
FLOOD = "999999"  # a user who is a bot
RECIPE = """
name = "faults"
seed = 3
output = "out"
[sources.impressions]
path = "raw/*.parquet"
columns = { user = "user_id", item = "item_id", timestamp = "timestamp", label = "label", fields = ["gender", "genre"] }
split = { by = "random", valid = 0.2, test = 0.3 }
max_per_minute = 30
[tasks.ctr]
consumer = "ctr"
source = "impressions"
options = { epochs = 2, attacked_rows = 100 }
samples = 300
strategies = { gan = 0.5, masking = 0.5 }
gates = { band = [-4, 4] }
generator = { anchors = 500, bank = 60, steps = 60, batch = 32, draws = 2 }
verdict = { seeds = 2, draws = 100, clean = ["auc"], improve = ["auc_masked"] }
[nightly]
window_days = 5
keep_days = 3
refit_days = 4
min_free_gb = 0.0
metrics = "prom"
checks = { bad_rows = { limit = 0.2, severity = "error" } }
"""


class Lost(Exception):
    """Something that must not happen did."""


class Shop:
    """A folder with days of real impressions, a recipe, and nights run in children."""

    def __init__(self, folder: Path, impressions: pa.Table) -> None:
        self.folder, self._impressions = folder, impressions
        (folder / "raw").mkdir(parents=True, exist_ok=True)
        (folder / "faults.toml").write_text(RECIPE, "utf-8")

    def rows(self, number: int, count: int = ROWS) -> pa.Table:
        part = self._impressions.slice(number * ROWS % (len(self._impressions) - count), count)
        start = datetime(*day(number).timetuple()[:3], tzinfo=timezone.utc).timestamp()
        times = pa.array((start + np.linspace(0, 86_000, count)).astype(np.int64))
        return part.set_column(part.column_names.index("timestamp"), "timestamp", times)

    def write(self, number: int, rows: pa.Table | None = None, name: str = "") -> None:
        pq.write_table(self.rows(number) if rows is None else rows,
                       self.folder / "raw" / f"{name or day(number)}.parquet")  # fmt: skip

    def night(self, number: int, limit: Callable[[], None] | None = None) -> Child:
        return Child(self.folder, self.arguments(number), limit)

    def arguments(self, number: int) -> list[str]:
        return ["nightly", "faults.toml", "--as-of", str(day(number)), "--device", "cpu"]

    def look(self) -> dict:
        """What readers get, in an order of its own: equal for equal versions. With what is wrong with it, if anything.

        In a child: the runtime of deltalake's readers does not outlive a fork.
        """
        pid = os.fork()
        if not pid:
            code = 1
            try:
                (self.folder / "look.json").write_text(json.dumps(look(self.folder / "out" / "ctr")), "utf-8")
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(pid, 0)[1]:
            raise Lost("what is published cannot be read")
        return json.loads((self.folder / "look.json").read_text("utf-8"))

    def copy(self, folder: Path) -> Shop:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder, copy_function=shutil.copy2)
        return Shop(folder, self._impressions)


class Child:
    """The real command in a forked process: everything is imported already, so that a kill hits the work."""

    def __init__(
        self, folder: Path, arguments: list[str], limit: Callable[[], None] | None = None, log: str = "stderr"
    ) -> None:
        self.errors = folder / log
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        os.setpgid(0, 0)
        os.chdir(folder)
        with self.errors.open("wb") as said, open(os.devnull, "wb") as nothing:
            os.dup2(said.fileno(), 2)
            os.dup2(nothing.fileno(), 1)
            judge = version.judge
            version.judge = lambda *given: replace(judge(*given), accepted=True)
            sys.argv = ["sparring", *arguments]
            code = 0
            try:
                if limit:
                    limit()
                cli.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
                code = 1
            finally:
                sys.stderr.flush()
                os._exit(code)

    def kill_after(self, seconds: float) -> int | None:
        """None when the kill came first, else the exit code."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.running():
                return self.wait()
            time.sleep(0.005)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def running(self) -> bool:
        if self._status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if done else None
        return self._status is None

    def wait(self) -> int:
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(self._status)

    def said(self) -> str:
        return self.errors.read_text("utf-8", "replace")


def look(root: Path) -> dict:
    dataset = Dataset(root)
    version = dataset.version()
    table = open_mix(root).to_table().sort_by("sample_id").drop_columns(["run"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    users = set(pa.Table.from_struct_array(table["decoded"].combine_chunks())["user_id"].to_pylist())
    return {"content": sha256(sink.getvalue().to_pybytes()), "problems": dataset.verify(), "version": version.version,
            "parent": version.manifest.parent, "days": sorted(set(table["day"].to_pylist())),
            "flooded": FLOOD in users}  # fmt: skip


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def expect(child: Child, *codes: int) -> None:
    code, said = child.wait(), child.said()
    if code not in codes or "Traceback" in said:
        raise Lost(f"exit code {code}, expected {codes}: {said[-600:]}")
