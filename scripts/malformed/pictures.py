"""Pictures whose files are damaged: each row ends among the good ones, with a picture, or in quarantine, with a reason.

    python scripts/malformed/pictures.py 500

In Parquet, in JSON lines as base64, and as files in a folder. A crash of a decoder would end the process.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from augment.pictures.decoding import LEAST, SIDE, decoded
from augment.recipes.source import Source
from augment.sources.prepare import prepare
from augment.testing.data import picture

# Format, mode and options of the files that are damaged; those that move have three frames.
MOVES = {"save_all": True, "append_images": [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]}
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("JPEG", "RGB", {}), ("PNG", "RGB", {}), ("WEBP", "RGB", {}), ("GIF", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}), ("JPEG", "CMYK", {}), ("JPEG", "L", {}), ("PNG", "I;16", {}),
    ("PNG", "RGBA", {}), ("PNG", "P", {}), ("GIF", "RGB", MOVES), ("WEBP", "RGB", MOVES), ("PNG", "RGB", MOVES),
    ("JPEG", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}),
)  # fmt: skip


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
    """Damaged where its format is weakest (`WAYS`), or one to three times wherever: a byte changed, a piece cut out,
    doubled or overwritten, or the end lost."""
    if rng.random() < 0.4:
        return WAYS[int(rng.integers(len(WAYS)))](content, rng)
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


def _cut_at_a_part(content: bytes, rng: np.random.Generator) -> bytes:
    """It ends where a part of it begins: a JPEG's marker, another's chunk."""
    if content.startswith(b"\xff\xd8"):
        places = [n for n in range(2, len(content) - 1) if content[n] == 0xFF and content[n + 1] not in (0, 0xFF)]
    else:
        names = (b"IDAT", b"IEND", b"PLTE", b"fcTL", b"fdAT", b"VP8", b"ALPH", b"ANMF", b"\x21\xf9", b"\x2c\0\0")
        places = [n for name in names for n in range(8, len(content)) if content.startswith(name, n)]
    return content[: int(rng.choice(places or [len(content) // 2])) + int(rng.integers(5))]


def _huge(content: bytes, rng: np.random.Generator) -> bytes:
    """Its header claims a size that memory would not hold, or none at all."""
    data, side = bytearray(content), (0xFFFF, 30_000, 0)[int(rng.integers(3))]
    if content.startswith(b"\x89PNG"):
        data[16:24] = struct.pack(">II", 0x7FFFFFFF if side == 0xFFFF else side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif content.startswith(b"GIF"):
        data[6:10] = struct.pack("<HH", side, side)
    elif content.startswith(b"\xff\xd8"):
        frame = next(n for n in range(len(data)) if data[n] == 0xFF and data[n + 1] in (0xC0, 0xC1, 0xC2))
        data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    else:
        data[24:30] = struct.pack("<HI", side & 0x3FFF, side & 0x3FFF)
    return bytes(data)


def _with_a_remark(content: bytes, rng: np.random.Generator) -> bytes:
    """EXIF or a colour profile that is junk, or says that it is longer than the file."""
    junk = rng.bytes(int(rng.integers(1, 400)))
    name = (b"Exif\0\0MM\0*", b"ICC_PROFILE\0\1\1")[int(rng.integers(2))]
    if content.startswith(b"\x89PNG"):
        kind, data = b"eXIf", b"MM\0*" + junk
        if name.startswith(b"ICC"):
            kind, data = b"iCCP", b"icc\0\0" + zlib.compress(junk)
        chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        return content[:33] + chunk + content[33:]
    length = len(name + junk) + 2 if rng.random() < 0.7 else int(rng.integers(1 << 16))
    marker = b"\xff\xe1" if name.startswith(b"Exif") else b"\xff\xe2"
    return content[:2] + marker + struct.pack(">H", length) + name + junk + content[2:]


def _with_zeros(content: bytes, rng: np.random.Generator) -> bytes:
    """A hole, as of a disk that was full; all of it at times; or nothing."""
    start = (0, int(rng.integers(len(content))))[int(rng.integers(2))]
    return (content[:start] + bytes(len(content) - start), b"")[int(rng.integers(8) == 0)]


def _header(content: bytes, rng: np.random.Generator) -> bytes:
    """Bits of its first bytes are flipped."""
    data = bytearray(content)
    for at in rng.integers(min(64, len(data)), size=int(rng.integers(1, 4))).tolist():
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


WAYS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _cut_at_a_part,
    _huge,
    _with_a_remark,
    _with_zeros,
    _header,
)


def _file(number: int) -> bytes:
    file, (form, mode, options) = io.BytesIO(), KINDS[number // 2 % len(KINDS)]
    plain: Image.Image = Image.open(io.BytesIO(picture(bool(number % 2), number)))
    if mode == "I;16":
        plain = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    (plain if mode == "I;16" else plain.convert(mode)).save(file, form, **options)
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
