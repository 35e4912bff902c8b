"""What `init` makes of files of pictures, and of texts of many categories."""

import base64

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput, UsageError
from augment.drafting.draft import write_recipe
from augment.drafting.guess import Choices
from augment.recipes import loading
from augment.testing.data import picture

KINDS = ["hat", "shoe", "dress"]


@pytest.fixture
def columns():
    kinds = [KINDS[n % 3] for n in range(60)]
    photos, names = ([make(n) for n in range(60)] for make in (lambda n: picture(n % 2 == 0, n), "article {}".format))
    return {"kind": kinds, "photo": photos, "name": names}


def drafted(path, **choices):
    (source,) = loading.parse(write_recipe([path], Choices(**choices)), "drafted").sources.values()
    return source


def test_bytes_of_pictures_and_their_kinds(columns, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "shop.parquet")
    source = drafted(tmp_path / "shop.parquet")
    assert (source.columns.image, source.columns.label) == ("photo", "kind")
    assert sorted(source.classes) == sorted(KINDS)
    assert source.images is None


def test_base64_in_text(columns, tmp_path):
    columns["photo"] = [base64.b64encode(content).decode() for content in columns["photo"]]
    pa.csv.write_csv(pa.table(columns), tmp_path / "shop.csv")
    assert drafted(tmp_path / "shop.csv").columns.image == "photo"


def test_paths_have_the_folder_that_they_are_in(columns, tmp_path):
    for n, content in enumerate(columns["photo"]):
        (tmp_path / f"{n}.JPG").write_bytes(content)
    columns["photo"] = [f"{n}.JPG" for n in range(60)]
    pa.csv.write_csv(pa.table(columns), tmp_path / "shop.csv")
    source = drafted(tmp_path / "shop.csv")
    assert source.columns.image == "photo"
    assert source.images == str(tmp_path)


def test_addresses_of_pictures_and_pictures_in_a_log_are_no_task_of_pictures(columns, tmp_path):
    label = [str(n % 2) for n in range(60)]
    addresses = {**columns, "photo": [f"https://shop.example/{n}.jpg" for n in range(60)], "click": label}
    pa.csv.write_csv(pa.table(addresses), tmp_path / "a.csv")
    log = {**columns, "user_id": [f"u{n % 7}" for n in range(60)], "item_id": columns["name"], "click": label}
    pq.write_table(pa.table(log), tmp_path / "b.parquet")
    for name in ("a.csv", "b.parquet"):
        assert drafted(tmp_path / name).columns.image is None


def test_texts_of_many_categories_where_the_user_says_so(columns, tmp_path):
    columns.pop("photo")
    columns["text"] = columns.pop("name")
    columns["rating"] = [n % 5 + 1 for n in range(60)]
    pa.csv.write_csv(pa.table(columns), tmp_path / "reviews.csv")
    source = drafted(tmp_path / "reviews.csv", task="category", label="rating")
    assert sorted(source.classes) == ["1", "2", "3", "4", "5"]
    assert (source.columns.text, source.columns.label) == ("text", "rating")
    assert drafted(tmp_path / "reviews.csv").classes == []  # without: whether they are good


def test_what_a_task_of_pictures_lacks_is_said(columns, tmp_path):
    pq.write_table(pa.table({**columns, "kind": columns["name"]}), tmp_path / "own.parquet")
    pq.write_table(pa.table({"photo": columns["photo"], "note": columns["name"]}), tmp_path / "bare.parquet")
    pq.write_table(pa.table({"kind": columns["kind"]}), tmp_path / "none.parquet")
    with pytest.raises(UsageError, match="say which columns are which: --image and --label"):
        drafted(tmp_path / "bare.parquet")
    with pytest.raises(UsageError, match="no column holds pictures"):
        drafted(tmp_path / "none.parquet", task="image")
    pq.write_table(pa.table({**columns, "kind": ["hat"] * 60}), tmp_path / "one.parquet")
    with pytest.raises(BadInput, match="one class alone"):
        drafted(tmp_path / "one.parquet")
