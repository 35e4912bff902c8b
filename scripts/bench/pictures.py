"""What it costs to read and encode many pictures: pictures per second of a processor, and the peak of memory.

python scripts/bench/pictures.py --data FOLDER --set fashion --rows 10000

One number of rows a process: a peak does not sink again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from images import SETS

from augment.recipes import loading
from augment.runs.rows import encode, read_rows
from augment.runs.task import Job

RECIPE = """
name = "pictures"
output = "{folder}/out"
[sources.rows]
path = "{folder}/rows.parquet"
columns = {{ {columns} }}
classes = {classes}
[tasks.pictures]
consumer = "image"
source = "rows"
encoder = "efficientnet-lite0"
samples = 1
strategies = {{ noise = 1.0 }}
verdict = {{ clean = ["accuracy"], improve = ["accuracy_unseen"] }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", dest="name", choices=SETS, default="fashion")
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(options, Path(folder)), indent=1))


def measured(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds are the processor's; memory is this process's largest, in MB, after each step."""
    job, found = opened(options, folder), {"imported, MB": peak()}
    start = time.process_time()
    rows = read_rows(job, folder / "work")
    found |= {"read, MB": peak(), "read, pictures a second": options.rows / (time.process_time() - start)}
    start = time.process_time()
    material = encode(job, rows)
    splits = (material.arena.train, material.arena.valid, material.arena.test)
    count = sum(map(len, splits))
    found |= {"encoded, MB": peak(), "encoded, pictures a second": count / (time.process_time() - start)}
    return {"pictures": count, "held, MB": sum(split.nbytes for split in splits) / 1e6} | found


def opened(options: argparse.Namespace, folder: Path) -> Job:
    file, columns = SETS[options.name]
    table = pq.read_table(options.data / file).slice(0, options.rows)
    classes = sorted(set(table[columns.split('"')[-2]].to_pylist()))
    pq.write_table(table, folder / "rows.parquet")
    text = RECIPE.format(folder=folder, columns=columns, classes=json.dumps(classes))
    return Job(loading.parse(text, "pictures"), "pictures", "cpu")


def peak() -> float:
    """The largest memory of this process so far, in MB (Linux)."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


if __name__ == "__main__":
    main()
