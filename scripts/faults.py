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
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fault_shop import FLOOD, ROWS, Child, Lost, Shop, day, expect
from malformed import inputs as malformed_inputs
from malformed import pictures as malformed_pictures
from tqdm import tqdm

from augment.sources import demo as demo_data

TENDED = 0.3  # share of kills after which the other commands are tried too


def kills(shop: Shop, folder: Path, count: int, rng: random.Random) -> dict[str, int]:
    """Kill nights at random instants, look at what is published each time, and let the last start finish."""
    whole = shop.copy(folder / "whole")
    started = time.monotonic()
    expect(whole.night(3), 0)
    longest = (time.monotonic() - started) * 1.1
    expected, before = whole.look()["content"], shop.look()["content"]
    done = {"kills": 0, "tended after a kill": 0, "finished between kills": 0, "nights": 0}
    with tqdm(total=count, unit="kill", disable=not sys.stderr.isatty()) as shown:
        while done["kills"] < count:
            broken = shop.copy(folder / "broken")
            for attempt in range(rng.randint(1, 6)):
                started = time.monotonic()
                code = broken.night(3).kill_after(rng.uniform(0, longest))
                if code is not None:
                    done["finished between kills"] += 1
                    if not attempt:  # a whole night: as long as they are now, on a machine that others use too
                        longest = (time.monotonic() - started) * 1.1
                    if code != 0:
                        raise Lost(f"a night that was not killed ended with {code}")
                    break
                done["kills"] += 1
                shown.update()
                seen = broken.look()
                if seen["problems"] or seen["content"] not in (before, expected):
                    raise Lost("the published version is not what it was, nor what it was to be")
                if rng.random() < TENDED:
                    tend(broken.copy(folder / "tended"))
                    done["tended after a kill"] += 1
            expect(broken.night(3), 0)
            done["nights"] += 1
            seen = broken.look()
            if seen["content"] != expected or seen["problems"]:
                raise Lost("a night that was killed ended in other samples than an unbroken one")
    return done


def tend(shop: Shop) -> None:
    """What an operator does in the morning after."""
    for arguments in (["ls", "out"], ["show", "out/ctr"], ["rollback", "out/ctr", "0"], ["gc", "out"]):
        expect(Child(shop.folder, arguments), 0)
    if shop.look()["problems"]:
        raise Lost("the rollback after a kill left a damaged version")


def no_room(shop: Shop, folder: Path, count: int, rng: random.Random) -> dict[str, int]:
    """Files that cannot grow, as on a full disk; and an output that cannot be written."""
    before = shop.look()["content"]
    codes = {"disk full": 0, "read only": 0}
    for _ in range(count):
        broken = shop.copy(folder / "full")
        most = int(10 ** rng.uniform(2, 6.5))
        expect(broken.night(3, partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))), 0, 7)
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
    """Start nights while another runs: each is turned away, and the first ends as if it had been alone."""
    alone = shop.copy(folder / "alone")
    expect(alone.night(3), 0)
    expected, started = alone.look()["content"], 0
    while started < count:
        held = shop.copy(folder / "held")
        first = held.night(3)
        while not (held.folder / "out/.lock.holder").exists() and first.running():
            time.sleep(0.01)
        while first.running() and started < count:
            since = time.monotonic()
            second = Child(held.folder, held.arguments(3), log="second")
            code, said = second.wait(), second.said()
            if code != 4 and not first.running():
                break  # the first ended before the second began
            if code != 4 or f"pid {first.pid} since" not in said or time.monotonic() - since > 5:
                raise Lost(f"a second start ended with {code}, was slow, or did not say who holds the output: {said}")
            started += 1
        expect(first, 0)
        seen = held.look()
        if seen["problems"] or seen["content"] != expected:
            raise Lost("a night ended in other samples, as others were started meanwhile")
    return {"double starts": started}


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
        line = json.loads((month.folder / "out/_nightly/nights.jsonl").read_text("utf-8").splitlines()[-1])
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
    parser.add_argument("--only", nargs="*", choices=["kills", "room", "double", "inputs", "pictures", "history"])
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
        for number in (1, 2):  # two versions, so that there is one to roll back to
            expect(shop.night(number), 0)
        shop.write(3)
        parts: dict[str, Callable[[], dict]] = {
            "kills": lambda: kills(shop, Path(work), 12 if quick else 300, rng),
            "room": lambda: no_room(shop, Path(work), 3 if quick else 40, rng),
            "double": lambda: double_starts(shop, Path(work), 5 if quick else 100),
            "inputs": lambda: inputs(200 if quick else 2000, options.seed, Path(work) / "inputs", options.data),
            "pictures": lambda: pictures(500 if quick else 5000, options.seed, Path(work) / "pictures"),
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


def pictures(count: int, seed: int, folder: Path) -> dict[str, int]:
    found = malformed_pictures.run(count, seed, folder)
    if found["failed"]:
        raise Lost(f"{found['failed']} damaged pictures")
    return {f"damaged pictures, {name}": n for name, n in found.items() if name != "failed"}


if __name__ == "__main__":
    main()
