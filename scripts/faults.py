"""Break the nightly service in every way there is, and count what was lost: nothing may be.

    python scripts/faults.py --data sparring-data --quick

Nights are run by the real command in forked children. A few hundred rows prove nothing, so the verdict, which is not
what is tried here, is told to accept. The last line holds the counts; the exit code is 0 when nothing was lost.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from malformed import inputs as malformed_inputs
from tqdm import tqdm

from augment import cli, demo_data, pipeline
from augment.dataset import Dataset, locked
from augment.files import sha256
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
checks = { bad_rows = { limit = 0.2, severity = "error" } }
"""


class Lost(Exception):
    """Something that must not happen did."""


class Shop:
    """A folder with days of real impressions, a recipe, and nights run in children."""

    def __init__(self, folder: Path, impressions: pa.Table) -> None:
        self.folder, self._impressions = folder, impressions
        (folder / "raw").mkdir(parents=True, exist_ok=True)
        (folder / "faults.toml").write_text(RECIPE)

    def rows(self, number: int, count: int = ROWS) -> pa.Table:
        part = self._impressions.slice(number * ROWS % (len(self._impressions) - count), count)
        start = datetime(*day(number).timetuple()[:3], tzinfo=timezone.utc).timestamp()
        times = pa.array((start + np.linspace(0, 86_000, count)).astype(np.int64))
        return part.set_column(part.column_names.index("timestamp"), "timestamp", times)

    def write(self, number: int, rows: pa.Table | None = None, name: str = "") -> None:
        pq.write_table(self.rows(number) if rows is None else rows,
                       self.folder / "raw" / f"{name or day(number)}.parquet")  # fmt: skip

    def night(self, number: int, limit: Callable[[], None] | None = None) -> Child:
        return Child(self.folder, ["nightly", "faults.toml", "--as-of", str(day(number)), "--device", "cpu"], limit)

    def look(self) -> dict:
        """What readers get, in an order of its own: equal for equal versions. With what is wrong with it, if anything.

        In a child: the runtime of deltalake's readers does not outlive a fork.
        """
        pid = os.fork()
        if not pid:
            code = 1
            try:
                (self.folder / "look.json").write_text(json.dumps(look(self.folder / "out" / "ctr")))
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(pid, 0)[1]:
            raise Lost("what is published cannot be read")
        return json.loads((self.folder / "look.json").read_text())

    def copy(self, folder: Path) -> Shop:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder, copy_function=shutil.copy2)
        return Shop(folder, self._impressions)


class Child:
    """The real command in a forked process: everything is imported already, so that a kill hits the work."""

    def __init__(self, folder: Path, arguments: list[str], limit: Callable[[], None] | None = None) -> None:
        self.errors = folder / "stderr"
        self.pid = os.fork()
        if self.pid:
            return
        os.setpgid(0, 0)
        os.chdir(folder)
        with self.errors.open("w") as said, open(os.devnull, "w") as nothing:
            os.dup2(said.fileno(), 2)
            os.dup2(nothing.fileno(), 1)
            judge = pipeline.judge
            pipeline.judge = lambda *given: replace(judge(*given), accepted=True)
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
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def said(self) -> str:
        return self.errors.read_text()


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


def kills(shop: Shop, folder: Path, count: int, rng: random.Random) -> dict[str, int]:
    """Kill nights at random instants, look at what is published each time, and let the last start finish."""
    whole = shop.copy(folder / "whole")
    started = time.monotonic()
    expect(whole.night(3), 0)
    longest = (time.monotonic() - started) * 1.1
    expected, before = whole.look()["content"], shop.look()["content"]
    done = {"kills": 0, "finished between kills": 0, "nights": 0}
    with tqdm(total=count, unit="kill", disable=not sys.stderr.isatty()) as shown:
        while done["kills"] < count:
            broken = shop.copy(folder / "broken")
            for _ in range(rng.randint(1, 6)):
                code = broken.night(3).kill_after(rng.uniform(0, longest))
                if code is not None:
                    done["finished between kills"] += 1
                    if code != 0:
                        raise Lost(f"a night that was not killed ended with {code}")
                    break
                done["kills"] += 1
                shown.update()
                seen = broken.look()
                if seen["problems"] or seen["content"] not in (before, expected):
                    raise Lost("the published version is not what it was, nor what it was to be")
            expect(broken.night(3), 0)
            done["nights"] += 1
            seen = broken.look()
            if seen["content"] != expected or seen["problems"]:
                raise Lost("a night that was killed ended in other samples than an unbroken one")
    return done


def no_room(shop: Shop, folder: Path, count: int, rng: random.Random) -> dict[str, int]:
    """Files that cannot grow, as on a full disk; and an output that cannot be written."""
    before = shop.look()["content"]
    codes = {"disk full": 0, "read only": 0}
    for _ in range(count):
        broken = shop.copy(folder / "full")
        most = int(10 ** rng.uniform(2, 6.5))
        expect(broken.night(3, lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))), 0, 7)
        if broken.look()["problems"]:
            raise Lost("a version was damaged when the disk was full")
        expect(broken.night(3), 0)
        codes["disk full"] += 1

    def unwritable() -> None:
        real = os.open

        def refuse(path, flags, *rest, **named):  # as root, permissions stop nobody
            if flags & (os.O_WRONLY | os.O_RDWR) and "out" in str(path):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, flags, *rest, **named)

        os.open = refuse

    broken = shop.copy(folder / "full")
    expect(broken.night(3, unwritable), 7)
    if broken.look()["content"] != before:
        raise Lost("a read-only output changed")
    codes["read only"] += 1
    return codes


def double_starts(shop: Shop, folder: Path, count: int) -> dict[str, int]:
    held = shop.copy(folder / "held")
    with locked(held.folder / "out"):
        for _ in range(count):
            started = time.monotonic()
            child = held.night(3)
            expect(child, 4)
            if " pid " not in child.said() or time.monotonic() - started > 5:
                raise Lost(f"a second start was slow, or did not say who holds the output: {child.said()}")
    return {"double starts": count}


def history(shop: Shop, folder: Path, days: int) -> dict[str, object]:
    """A month with late data, a bad day, a poisoned day, a schema change and a rollback; cost per night."""
    month = shop.copy(folder / "month")
    seconds, read, ends = [], [], {0: 0, 3: 0, 5: 0}
    for number in range(4, days):
        rows = month.rows(number)
        codes: tuple[int, ...] = (0,)
        if number == days // 5:  # half of the day comes a night late
            month.write(number, rows.slice(0, ROWS // 2))
            late = rows.slice(ROWS // 2)
        elif number == days // 5 + 1:
            month.write(number)
            month.write(number - 1, late, f"{day(number - 1)}-late")
        elif number == days // 3:  # a bad day: labels that are none
            month.write(number, rows.set_column(rows.column_names.index("label"), "label", pa.array(["?"] * ROWS)))
            codes = (3, 5)
        elif number == days // 3 + 1:  # mended: the file is replaced
            month.write(number - 1)
            month.write(number)
        elif number == days // 2:  # one user clicks everything within a minute
            month.write(number, pa.concat_tables([rows, flood(rows)]))
        elif number == 2 * days // 3:  # a column gets another name
            month.write(number, rows.rename_columns(["genres" if c == "genre" else c for c in rows.column_names]))
            codes = (5,)
        elif number == 2 * days // 3 + 1:
            month.write(number - 1)
            month.write(number, rows.append_column("campaign", pa.array(["spring"] * ROWS)))
        else:
            month.write(number)
        before = month.look()["version"]
        started = time.monotonic()
        child = month.night(number)
        code = child.wait()
        if code not in codes or "Traceback" in child.said():
            raise Lost(f"day {number} ended with {code}, expected {codes}: {child.said()[-600:]}")
        ends[code] += 1
        seen = month.look()
        if code and seen["version"] != before:
            raise Lost(f"day {number} was refused, and yet what is current changed")
        if seen["problems"]:
            raise Lost(f"day {number} left a damaged version")
        line = json.loads((month.folder / "out/_nightly/nights.jsonl").read_text().splitlines()[-1])
        if code == 0 and number != days // 2:
            seconds.append(time.monotonic() - started)
            read.append(sum(source["bytes"] for source in line["sources"].values()))
        if seen["flooded"]:
            raise Lost("samples were made from the flood")
    if seen["parent"] is not None:
        expect(Child(month.folder, ["rollback", "out/ctr", str(seen["parent"])]), 0)
    if month.look()["problems"]:
        raise Lost("the rollback left a damaged version")
    half = len(seconds) // 2
    ratio = {name: round(float(np.median(v[half:]) / np.median(v[:half])), 2) for name, v in
             (("seconds, later half over earlier", seconds), ("bytes, later half over earlier", read))}  # fmt: skip
    return {"days": days - 4, "published": ends[0], "refused": ends[3] + ends[5], **ratio}


def flood(rows: pa.Table) -> pa.Table:
    """One user, every row in the same minute."""
    many = rows.slice(0, 80)
    for name, value in (("user_id", FLOOD), ("timestamp", many["timestamp"][0].as_py())):
        place = many.column_names.index(name)
        many = many.set_column(place, name, pa.array([value] * len(many)).cast(rows.schema.field(name).type))
    return many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("sparring-data"), help="folder of the demo data")
    parser.add_argument("--quick", action="store_true", help="a sample that takes about two minutes")
    parser.add_argument("--only", nargs="*", choices=["kills", "room", "double", "inputs", "history"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng, quick = random.Random(options.seed), options.quick
    demo_data.fetch(options.data, ["impressions"])
    impressions = pq.read_table(options.data / "impressions.parquet")
    order = np.random.default_rng(options.seed).permutation(len(impressions))
    counts: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as work:
        shop = Shop(Path(work) / "shop", impressions.take(pa.array(order[:20_000])))
        for number in range(3):
            shop.write(number)
        expect(shop.night(2), 0)
        shop.write(3)
        parts: dict[str, Callable[[], dict]] = {
            "kills": lambda: kills(shop, Path(work), 12 if quick else 300, rng),
            "room": lambda: no_room(shop, Path(work), 3 if quick else 40, rng),
            "double": lambda: double_starts(shop, Path(work), 5 if quick else 100),
            "inputs": lambda: inputs(200 if quick else 2000, options.seed, Path(work) / "inputs", options.data),
            "history": lambda: history(shop, Path(work), 12 if quick else 34),
        }
        for name, part in parts.items():
            if not options.only or name in options.only:
                started = time.monotonic()
                try:
                    counts |= part()
                except Lost as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    print(json.dumps({**counts, "lost": name}))
                    sys.exit(1)
                print(f"{name}: {time.monotonic() - started:.0f} s, nothing lost", file=sys.stderr)
    print(json.dumps({**counts, "lost": 0}))


def inputs(count: int, seed: int, folder: Path, data: Path) -> dict[str, int]:
    found = malformed_inputs.run(count, seed, folder, data)
    if found.get("failed"):
        raise Lost(f"{found['failed']} malformed inputs")
    return {f"malformed inputs, {name}": n for name, n in sorted(found.items()) if ":" not in name}


if __name__ == "__main__":
    main()
