"""Pictures whose files are damaged: each row ends among the good ones, with a picture, or in quarantine, with a reason.

    python scripts/malformed/pictures.py 500

In Parquet, in JSON lines as base64, and as files in a folder. A crash of a decoder would end the process.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from augment.pictures.decoding import LEAST, SIDE, decoded
from augment.recipes.source import Source
from augment.sources.prepare import prepare
from augment.testing.data import picture

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


def run(count: int, seed: int, folder: Path) -> Counter[str]:
    """What became of `count` damaged pictures in each of three kinds of source; `failed` are those that vanished."""
    rng, found = np.random.default_rng(seed), Counter[str]()
    folder.mkdir(parents=True)
    contents = [mutated(_file(n), rng) for n in range(count)]
    whole = [_file(n) for n in range(20)]  # so that no split is empty
    for name, source in _sources([*contents, *whole], folder).items():
        splits = prepare(name, source, "images", folder / f"{name}-work", seed)
        tables = [splits.train, splits.valid, splits.test, *([splits.unlabelled] if splits.unlabelled else [])]
        good = [row for path in tables for row in pq.read_table(path)["image"].to_pylist()]
        bad = pq.read_table(splits.quarantine)["reason"].to_pylist()
        for content in good:
            sides = decoded(content).shape[1:]
            found["failed"] += not LEAST <= min(sides) <= max(sides) <= SIDE
        found["failed"] += abs(len(good) + len(bad) - count - len(whole))
        found["failed"] += sum(not reason.startswith(("image", "duplicate")) for reason in bad)
        found["read"] += len(good)
        found["quarantined"] += len(bad)
    return found


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three times a byte changed, a piece cut out, doubled or overwritten, or the end lost."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        start, length = int(rng.integers(max(1, len(data)))), int(rng.integers(1, 40))
        kind = rng.integers(5)
        if kind == 0:
            data[start : start + 1] = rng.bytes(1)
        elif kind == 1:
            del data[start : start + length]
        elif kind == 2:
            data[start:start] = data[start : start + length]
        elif kind == 3:
            data[start : start + length] = rng.bytes(length)
        else:
            del data[max(16, start) :]
    return bytes(data)


def _file(number: int) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(bool(number % 2), number))).save(file, FORMATS[number // 2 % 4])
    return file.getvalue()


def _sources(contents: list[bytes], folder: Path) -> dict[str, Source]:
    label = [float(n % 2) for n in range(len(contents))]
    pq.write_table(pa.table({"photo": contents, "y": label}), folder / "a.parquet")
    texts = [base64.b64encode(content).decode() for content in contents]
    lines = [json.dumps({"photo": text, "y": y}) for text, y in zip(texts, label, strict=True)]
    (folder / "a.jsonl").write_text("\n".join(lines), "utf-8")
    (folder / "photos").mkdir()
    for number, content in enumerate(contents):
        (folder / "photos" / f"{number}.jpg").write_bytes(content)
    names = [f"{n}.jpg,{y}" for n, y in enumerate(label)]
    (folder / "a.csv").write_text("\n".join(["photo,y", *names]), "utf-8")
    shared = {"columns": {"image": "photo", "label": "y"}, "max_bad_share": 1.0}
    return {
        "bytes": Source.model_validate({**shared, "path": str(folder / "a.parquet")}),
        "base64": Source.model_validate({**shared, "path": str(folder / "a.jsonl")}),
        "files": Source.model_validate({**shared, "path": str(folder / "a.csv"), "images": str(folder / "photos")}),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        counts = run(int(sys.argv[1]) if len(sys.argv) > 1 else 500, 0, Path(work) / "pictures")
    print(json.dumps(dict(counts)))
    sys.exit(counts["failed"] > 0)
