"""Files that are not what their names say: one line that says what they are."""

import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput
from augment.drafting.draft import write_recipe
from augment.recipes.source import Source
from augment.sources.prepare import prepare

LINES = ["user_id,item_id,click", *(f"u{i % 9},i{i % 7},{i % 2}" for i in range(60))]
CLICKS = ("\n".join(LINES) + "\n").encode()


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("clicks.csv", CLICKS)
    return stream.getvalue()


def parquet():
    stream = io.BytesIO()
    pq.write_table(pa.table({"user_id": ["a"], "click": [1]}), stream)
    return stream.getvalue()


KINDS = [
    ("c.csv", zipped(), "a ZIP archive, as Excel's workbooks are"),
    ("c.csv", gzip.compress(CLICKS), r"compressed by gzip: let its name end in \.gz"),
    ("c.jsonl", gzip.compress(CLICKS), r"compressed by gzip: let its name end in \.gz"),
    ("c.csv", parquet(), "Parquet: let its name"),
    ("c.csv", b"SQLite format 3\0" + bytes(200), "an SQLite database: give it as `connection`"),
    ("c.tsv", b"\n <!DOCTYPE html>\n<html><body>404</body></html>\n", "a web page"),
    ("c.csv", b"\n".join(json.dumps({"user_id": "u", "click": i % 2}).encode() for i in range(9)), "JSON lines"),
    ("c.csv.gz", CLICKS, "not compressed, though its name ends in .gz"),
    ("c.csv.zst", gzip.compress(CLICKS), "not compressed, though its name ends in .zst"),
]


@pytest.mark.parametrize(("name", "content", "said"), KINDS)
def test_what_is_no_such_file_is_named_by_its_content(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said):
        write_recipe([tmp_path / name])
    source = Source(path=str(tmp_path / name), columns={"user": "user_id", "label": "click"})
    with pytest.raises(BadInput, match=said):
        prepare("clicks", source, "fields", tmp_path / "out", 0)


def test_columns_may_begin_as_files_of_another_kind_do(tmp_path):
    (tmp_path / "c.csv").write_bytes(CLICKS.replace(b"user_id", b"PAR1", 1))
    source = Source(path=str(tmp_path / "c.csv"), columns={"user": "PAR1", "label": "click"})
    assert sum(prepare("clicks", source, "fields", tmp_path / "out", 0).counts.values()) == 60


@pytest.mark.parametrize("above", ["# exported in 2024\n# by the shop\n", "Report: clicks\nRange,2024\n\n", "Clicks\n"])
def test_lines_above_the_names_of_the_columns_are_to_go(tmp_path, above):
    (tmp_path / "c.csv").write_bytes(above.encode() + CLICKS)
    with pytest.raises(BadInput, match=r"lines stand above .* \(user_id,item_id,click\): remove them"):
        write_recipe([tmp_path / "c.csv"])
