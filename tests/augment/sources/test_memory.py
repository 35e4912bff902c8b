"""A picture that was decoded once is not decoded again, in whatever run, as long as nothing changed."""

import json
import sqlite3
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import KINDS, drawn_bytes

from augment.modalities.images import Images
from augment.pictures import decoding
from augment.pictures.content import BadContent, Content
from augment.recipes.schema import Source
from augment.sources import media, memory
from augment.sources.memory import Memory
from augment.sources.prepare import prepare

ROWS, SPLIT = 30, {"valid": 0.3, "test": 0.3}


def counted(monkeypatch, **changes):
    """What is decoded from now on."""
    seen, made = [], decoding.PICTURES.made
    content = replace(decoding.PICTURES, **changes, made=lambda file: (seen.append(file), made(file))[1])
    monkeypatch.setattr(Images, "files", classmethod(lambda cls, encoder: content))
    return seen


def contents():
    """Of all kinds: small JPEGs, which stay as they are, large ones, other formats, and what is none."""
    forms = ({}, {"size": (300, 400)}, {"form": "PNG"})
    good = [drawn_bytes(KINDS[n % 3], n, **forms[n // 3 % 3]) for n in range(ROWS)]
    return [*good, b"a text", good[2][:300], b"RIFF" + bytes(60)]


def folder_of(folder, files):
    (folder / "photos").mkdir(exist_ok=True)
    for number, content in enumerate(files):
        (folder / "photos" / f"{number}.jpg").write_bytes(content)
    lines = "".join(f"{number}.jpg,{number % 2}\n" for number in range(len(files)))
    (folder / "a.csv").write_text("photo,y\n" + lines, "utf-8")
    return {"path": str(folder / "a.csv"), "images": str(folder / "photos")}


def table_of(folder, files):
    labels = [float(n % 2) for n in range(len(files))]
    pq.write_table(pa.table({"photo": files, "y": labels}), folder / "a.parquet")
    return {"path": str(folder / "a.parquet")}


def read(folder, where, name, cache="cache.sqlite"):
    """All good rows, and the quarantine."""
    source = Source.model_validate(
        {**where, "columns": {"image": "photo", "label": "y"}, "max_bad_share": 0.5, "split": SPLIT}
    )
    splits = prepare("shop", source, "images", folder / name, 1, "", cache and folder / cache)
    good = pa.concat_tables([pq.read_table(path) for path in (splits.train, splits.valid, splits.test)])
    return good, pq.read_table(splits.quarantine)


@pytest.mark.parametrize("kept", [folder_of, table_of])
def test_a_second_reading_decodes_no_picture_and_finds_the_same(kept, tmp_path, monkeypatch):
    seen, files = counted(monkeypatch), contents()
    where = kept(tmp_path, files)
    first = read(tmp_path, where, "first")
    assert len(seen) == len(set(files))
    seen.clear()
    again = read(tmp_path, where, "again")
    assert seen == files[ROWS:]  # what is bad is judged anew
    assert len(again[0]) == ROWS
    assert again[0].equals(first[0])
    assert again[1].equals(first[1])
    assert {json.loads(row["row"])["y"] for row in again[1].to_pylist()}
    assert read(tmp_path, where, "without", None)[0].equals(first[0])


def test_only_what_is_new_is_decoded(tmp_path, monkeypatch):
    """A file of another name is no new one; another picture under an old name is."""
    seen, files = counted(monkeypatch), contents()
    read(tmp_path, folder_of(tmp_path, files[:20]), "first")
    seen.clear()
    changed = drawn_bytes("bag", 99)
    good, _ = read(tmp_path, folder_of(tmp_path, [*files[5:], changed]), "again")
    assert set(seen) == {*files[20:], changed}
    assert changed in good["image"].to_pylist()
    seen.clear()
    (tmp_path / "photos" / "0.jpg").write_bytes(another := drawn_bytes("shoe", 98))
    read(tmp_path, {"path": str(tmp_path / "a.csv"), "images": str(tmp_path / "photos")}, "third")
    assert seen == [another, *files[ROWS:]]


def test_other_limits_or_another_library_decode_anew(tmp_path, monkeypatch):
    where = table_of(tmp_path, contents())
    read(tmp_path, where, "first")
    for number, changes in enumerate(({"limits": (0,)}, {"packages": ("numpy",)})):
        seen = counted(monkeypatch, **changes)
        read(tmp_path, where, f"{number}")
        assert len(seen) == len(set(contents()))


def test_what_is_damaged_on_the_shelf_is_made_again(tmp_path, monkeypatch):
    seen, where = counted(monkeypatch), table_of(tmp_path, contents())
    first = read(tmp_path, where, "first")
    with sqlite3.connect(tmp_path / "cache.sqlite") as db:
        assert db.execute("SELECT count(*) FROM made WHERE content IS NOT NULL").fetchone()[0] > 10
        db.execute("UPDATE made SET content = substr(content, 2) WHERE content IS NOT NULL AND rowid % 2")
    seen.clear()
    again = read(tmp_path, where, "again")
    assert 5 < len(seen) < ROWS
    assert again[0].equals(first[0])
    (tmp_path / "cache.sqlite").write_bytes(b"no database " * 999)
    assert read(tmp_path, where, "anew")[0].equals(first[0])
    seen.clear()
    read(tmp_path, where, "last")
    assert seen == contents()[ROWS:]


def test_what_nobody_asks_for_is_forgotten(tmp_path, monkeypatch):
    made = Content("image", 9, (), (), lambda file: file.upper())
    day = [1000 * 86_400]
    monkeypatch.setattr(memory.time, "time", lambda: day[0])

    def kept():
        with sqlite3.connect(tmp_path / "m.sqlite") as db:
            return db.execute("SELECT count(*) FROM made").fetchone()[0]

    Memory(tmp_path / "m.sqlite", made).made([b"a", b"b", b"A"])
    for _ in range(5):
        day[0] += (memory.KEPT - 3) * 86_400
        asked = Memory(tmp_path / "m.sqlite", made)
        assert [one.content for one in asked.made([b"a", b"A"])] == [b"A", b"A"]
        asked.forget()
    assert kept() == 2


def test_files_are_made_a_batch_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "BATCH_BYTES", 20_000)
    at_once, ask = [], Memory.made
    monkeypatch.setattr(Memory, "made", lambda self, files: (at_once.append(sum(map(len, files))), ask(self, files))[1])
    files = contents()
    for name, kept in (("files", folder_of), ("bytes", table_of)):
        at_once.clear()
        good, _ = read(tmp_path, kept(tmp_path, files), name, None)
        assert len(good) == ROWS
        assert len(at_once) > 3
        assert max(at_once) < 20_000 + max(map(len, files))


def test_equal_files_are_made_once_and_what_is_bad_may_be_good_the_next_time(tmp_path):
    asked, short = [], [True]

    def make(file):
        asked.append(file)
        if short[0]:
            raise BadContent(f"no memory for {len(file)} bytes")
        return file

    content = Content("image", 9, (), (), make)
    found = Memory(tmp_path / "m.sqlite", content).made([b"a", b"bc", b"a"])
    assert [one.bad for one in found] == [f"no memory for {n} bytes" for n in (1, 2, 1)]
    assert asked == [b"a", b"bc"]
    short[0] = False
    for _ in range(2):
        found = Memory(tmp_path / "m.sqlite", content).made([b"a", b"bc", b"a"])
        assert [(one.content, one.bad) for one in found] == [(b"a", None), (b"bc", None), (b"a", None)]
    assert asked == [b"a", b"bc"] * 2
