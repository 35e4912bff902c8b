"""Pictures of rows, from bytes, base64 or paths, in a run as at night."""

import base64
import csv
import json
import os
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import KINDS, drawn_bytes
from pydantic import ValidationError

from augment.base.errors import BadInput
from augment.contracts.modality import RowRules
from augment.pictures.decoding import DAMAGED, NO_PICTURE, PICTURES, decoded
from augment.recipes.schema import Source
from augment.sources import media
from augment.sources.cleaning import Cleaning
from augment.sources.ledger import Ledger
from augment.sources.prepare import fingerprint
from augment.sources.tables import workspace

RULES = RowRules(needs=("image", "label"), filled=("image",), unlabelled="kept", copies=True)
ROWS = 40


def source(path, **changes):
    columns = {"image": "photo", "label": "y"}
    return Source.model_validate({"path": str(path), "columns": columns, "max_bad_share": 0.5, **changes})


def cleaned(source, folder, name="work", content=PICTURES):
    """All good rows, and reason → the quarantined rows."""
    work = folder / name
    work.mkdir()
    with workspace(work / "source.duckdb", "shop") as db:
        splits = Cleaning(db, "shop", source, RULES, work, 1, content).read()
    good = pa.concat_tables([pq.read_table(p) for p in (splits.train, splits.valid, splits.test)])
    bad = pq.read_table(splits.quarantine).to_pylist()
    reasons = {reason: [json.loads(row["row"]) for row in bad if row["reason"] == reason] for reason in
               dict.fromkeys(row["reason"] for row in bad)}  # fmt: skip
    return good, reasons


def contents(form="JPEG"):
    return [drawn_bytes(KINDS[n % 3], n, (48, 60), form) for n in range(ROWS)]


def parquet(path, values):
    pq.write_table(pa.table({"photo": values, "y": [float(n % 2) for n in range(len(values))]}), path)
    return path


def test_bytes_in_parquet(tmp_path):
    good, reasons = cleaned(source(parquet(tmp_path / "a.parquet", contents())), tmp_path)
    assert good.schema.field("image").type == pa.binary()
    assert set(good["image"].to_pylist()) == set(contents())
    assert not reasons


def test_bytes_beside_a_path_as_some_data_sets_have_them(tmp_path):
    values = [{"bytes": content, "path": f"{n}.jpg"} for n, content in enumerate(contents())]
    good, _ = cleaned(source(parquet(tmp_path / "a.parquet", values)), tmp_path)
    assert set(good["image"].to_pylist()) == set(contents())


def test_base64_in_json_lines_and_delimited_text(tmp_path):
    texts = [base64.b64encode(content).decode() for content in contents()]
    texts[0] = "data:image/jpeg;base64," + texts[0]
    rows = [{"photo": text, "y": n % 2} for n, text in enumerate(texts)]
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    table = tmp_path / "a.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["photo", "y"])
        writer.writeheader()
        writer.writerows(rows)
    for path in (lines, table):
        good, reasons = cleaned(source(path), tmp_path, path.suffix)
        assert set(good["image"].to_pylist()) == set(contents())
        assert not reasons


def test_what_is_no_picture_has_its_reason_and_a_readable_row(tmp_path):
    heavy = media.TOO_HEAVY.format("image", 0)
    png = contents("PNG")
    bad = [b"a text", png[0][:300], None, b"", png[0] + bytes(90_000)]
    good, reasons = cleaned(
        source(parquet(tmp_path / "a.parquet", bad + png)), tmp_path, content=replace(PICTURES, most=66_000)
    )
    assert len(good) == ROWS
    assert {decoded(picture).shape for picture in good["image"].to_pylist()} == {(3, 60, 48)}
    assert {reason: len(rows) for reason, rows in reasons.items()} == {
        NO_PICTURE: 1, DAMAGED: 1, "image missing": 2, heavy: 1,
    }  # fmt: skip
    assert len(reasons[heavy][0]["photo"]) < 100
    lines = tmp_path / "b.jsonl"
    texts = ["!!", *(base64.b64encode(content).decode() for content in png)]
    lines.write_text("\n".join(json.dumps({"photo": t, "y": n % 2}) for n, t in enumerate(texts)), "utf-8")
    assert list(cleaned(source(lines), tmp_path, "lines")[1]) == [media.NOT_BASE64.format("image")]


def test_too_many_bad_pictures_stop_the_run(tmp_path):
    path = parquet(tmp_path / "a.parquet", [*contents()[:9], b"a text"])
    with pytest.raises(BadInput, match=NO_PICTURE):
        cleaned(source(path, max_bad_share=0.05), tmp_path)


def test_copies_go_by_what_a_picture_is(tmp_path):
    same = drawn_bytes("bag", 1, (48, 60), "PNG")
    again = drawn_bytes("bag", 1, (48, 60), "PNG", compress_level=1)
    assert same != again
    table = pa.table({"photo": [*contents(), same, again], "y": [n % 2 for n in range(ROWS)] + [1, 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    good, reasons = cleaned(source(tmp_path / "a.parquet"), tmp_path)
    assert len(good) == ROWS + 1
    assert list(reasons) == ["duplicate"]
    assert len(set(good["row_id"].to_pylist())) == ROWS + 1


@pytest.fixture
def folder(tmp_path):
    """Pictures in a folder, beside what is outside of it."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for n, content in enumerate(contents()):
        (tmp_path / "photos" / "deep" / f"{n}.jpg").write_bytes(content)
    (tmp_path / "secret.jpg").write_bytes(drawn_bytes("bag", 99))
    return tmp_path


def paths(folder, *more):
    names = [*(f"deep/{n}.jpg" for n in range(ROWS)), *more]
    path = folder / "a.csv"
    path.write_text("photo,y\n" + "".join(f'"{name}",{n % 2}\n' for n, name in enumerate(names)), "utf-8")
    return source(path, images=str(folder / "photos"))


def test_paths_under_a_folder(folder):
    good, reasons = cleaned(paths(folder), folder)
    assert set(good["image"].to_pylist()) == set(contents())
    assert not reasons


def test_paths_that_leave_the_folder_are_bad_rows(folder):
    photos = folder / "photos"
    (photos / "link.jpg").symlink_to(folder / "secret.jpg")
    (photos / "inner.jpg").symlink_to(photos / "deep" / "0.jpg")
    (photos / "up").symlink_to(folder)
    (photos / "text.jpg").write_text("not a picture", "utf-8")
    (photos / "none.jpg").touch()
    os.mkfifo(photos / "pipe.jpg")
    outside = ["../secret.jpg", str(folder / "secret.jpg"), str(photos / "deep" / "1.jpg"), "link.jpg", "up/secret.jpg"]
    odd = ["nothing.jpg", "deep", "deep/1.jpg/x", "pipe.jpg", "text.jpg", "none.jpg", "x" * 300 + ".jpg"]
    _, reasons = cleaned(paths(folder, *outside, *odd, "inner.jpg"), folder)
    rows = {reason: [row["photo"] for row in rows] for reason, rows in reasons.items()}
    assert rows == {
        media.LEAVES.format("image"): outside,
        media.ABSENT.format("image"): ["nothing.jpg", "deep/1.jpg/x"],
        media.NO_FILE.format("image"): ["deep", "pipe.jpg"],
        NO_PICTURE: ["text.jpg"],
        "image empty": ["none.jpg"],
        media.UNREADABLE.format("image"): ["x" * 300 + ".jpg"],
        "duplicate": ["inner.jpg"],
    }


def test_the_fingerprint_changes_with_a_picture(folder):
    made = paths(folder)
    before = fingerprint(made)
    assert fingerprint(made) == before
    (folder / "photos" / "deep" / "3.jpg").write_bytes(drawn_bytes("bag", 77))
    changed = fingerprint(made)
    assert {key for key in before if before[key] != changed[key]} == {str(folder / "photos")}
    (folder / "photos" / "new.jpg").write_bytes(b"")
    assert fingerprint(made) != changed


def test_a_folder_that_is_not_there(folder):
    made = paths(folder).model_copy(update={"images": str(folder / "gone")})
    for ask in (fingerprint, lambda source: cleaned(source, folder)):
        with pytest.raises(BadInput, match=r"^images: no folder at .*gone; paths of column 'photo' begin there$"):
            ask(made)


def test_a_night_reads_the_same_rows(folder):
    for name, made in (("bytes", source(parquet(folder / "a.parquet", contents("WEBP")))), ("paths", paths(folder))):
        Ledger(folder / name, "x", made).take_in(date(2024, 1, 6), 2, False)
        night = Ledger(folder / name, "x", made).source(date.min, date.max)
        here, there = cleaned(made, folder, f"{name} run"), cleaned(night, folder, f"{name} night")
        assert here[0].sort_by("row_id").equals(there[0].sort_by("row_id"))


def test_a_batch_bounds_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "BATCH_BYTES", 8_000)
    sizes = []
    taken = media._taken

    def counted(value, *given):
        sizes.append(len(value))
        return taken(value, *given)

    monkeypatch.setattr(media, "_taken", counted)
    good, _ = cleaned(source(parquet(tmp_path / "a.parquet", contents())), tmp_path)
    assert len(good) == len(sizes) == ROWS
    found = list(media._batches(sizes, max(sizes)))
    assert [first for first, _ in found][1:] == [last for _, last in found][:-1]
    assert len(found) > 3
    assert max(sum(sizes[first:last]) for first, last in found) <= 8_000 + max(sizes)


def test_a_picture_too_large_is_made_small(tmp_path):
    values = [drawn_bytes(KINDS[n % 3], n, (300, 450), "PNG") for n in range(20)]
    good, _ = cleaned(source(parquet(tmp_path / "a.parquet", values)), tmp_path)
    assert {decoded(picture).shape for picture in good["image"].to_pylist()} == {(3, 256, 171)}


def test_recipes_without_pictures_keep_their_digest_and_a_folder_needs_a_column():
    plain = Source.model_validate({"path": "a.csv", "columns": {"label": "y"}})
    assert not {"images", "image"} & {*plain.model_dump(), *plain.model_dump()["columns"]}
    with pytest.raises(ValidationError, match="`images` is the folder of the paths in a column"):
        Source.model_validate({"path": "a.csv", "columns": {"label": "y"}, "images": "photos"})
