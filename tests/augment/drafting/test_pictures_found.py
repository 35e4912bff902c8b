"""Which columns are taken for pictures, by what they hold; what is not read of them is said."""

import base64
import io

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from augment.base.errors import BadInput, UsageError
from augment.drafting.draft import write_recipe
from augment.drafting.guess import Choices
from augment.recipes import loading
from augment.recipes.source import Source
from augment.sources.media import ADDRESS
from augment.sources.prepare import prepare
from augment.testing.data import picture

ROWS = 30
KINDS = ["hat", "shoe", "bag"] * (ROWS // 3)


def drafted(path, **choices):
    (source,) = loading.parse(write_recipe([path], Choices(**choices)), "drafted").sources.values()
    return source


def table(path, image, label=KINDS, name="image"):
    made = pa.table({name: image, "label": label})
    (pq.write_table if path.suffix == ".parquet" else pc.write_csv)(made, path)
    return path


def other_format(format_):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, format_)
    return stream.getvalue()


def test_structs_of_bytes_and_data_urls(tmp_path):
    held = [{"bytes": picture(i % 3, i), "path": None} for i in range(ROWS)]
    assert drafted(table(tmp_path / "hub.parquet", held)).columns.image == "image"
    urls = [f"data:image/jpeg;base64,{base64.b64encode(picture(i % 3, i)).decode()}" for i in range(ROWS)]
    source = drafted(table(tmp_path / "urls.csv", urls))
    assert (source.columns.image, source.images) == ("image", None)


@pytest.mark.parametrize("below", ["", "of the shop/"])
def test_paths_through_folders_beside_the_table(tmp_path, below):
    paths = [f"{kind}/it's [{i}].jpg" for i, kind in enumerate(KINDS)]
    for i, path in enumerate(paths):
        file = tmp_path / "of the shop" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(i % 3, i))
    (tmp_path / "another").mkdir()
    place = tmp_path / ("table.csv" if not below else "of the shop/table.csv")
    source = drafted(table(place, paths, name="file"))
    assert (source.columns.image, source.images) == ("file", str(tmp_path / "of the shop"))


UNREAD = {
    "web addresses, which are not fetched": [f"https://img.shop/{i}.png?w=1" for i in range(ROWS)],
    "absolute paths": [f"/srv/shop/{i}.png" for i in range(ROWS)],
    r"paths with \\": [f"shop\\{i}.png" for i in range(ROWS)],
    "a mix of pictures, paths": [
        f"{i}.png" if i % 2 else base64.b64encode(picture(i % 3, i)).decode() for i in range(ROWS)
    ],
    "bytes that are no JPEG": [other_format("BMP")] * ROWS,
}


@pytest.mark.parametrize("said", UNREAD)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, said):
    path = table(tmp_path / "p.parquet", UNREAD[said])
    for choices in ({}, {"task": "image"}):
        with pytest.raises(UsageError, match=f"'image' holds {said}"):
            drafted(path, **choices)


def test_addresses_beside_something_to_learn_from_are_named_in_the_recipe(tmp_path):
    made = {"review": [f"a warm coat of number {i}" for i in range(ROWS)], "rating": [1, 5] * (ROWS // 2)}
    pq.write_table(pa.table(made | {"photo_url": [f"//cdn/{i}.jpg" for i in range(ROWS)]}), tmp_path / "r.parquet")
    assert "# 'photo_url' is not read: it holds web addresses, which are" in write_recipe([tmp_path / "r.parquet"])


def test_addresses_are_bad_rows_that_say_so(tmp_path):
    path = table(tmp_path / "p.csv", [f"http://shop/{i}.png" for i in range(ROWS)])
    for images in (None, str(tmp_path)):
        columns = {"image": "image", "label": "label"}
        source = Source(path=str(path), columns=columns, images=images, classes=["hat", "shoe", "bag"])
        with pytest.raises(BadInput, match=ADDRESS.format("image")):
            prepare("p", source, "images", tmp_path / "out", 0)


def test_some_damaged_pictures_leave_a_column_what_it_is(tmp_path):
    held = [b"nothing" if i % 10 == 3 else picture(i % 3, i) for i in range(ROWS)]
    assert drafted(table(tmp_path / "p.parquet", held)).columns.image == "image"


def test_classes_in_several_cases_are_one(tmp_path):
    labels = ["Hat ", "hat", "hat", "SHOE", 'a "b"', "[日本]"] * (ROWS // 6)
    source = drafted(table(tmp_path / "p.parquet", [picture(i % 3, i) for i in range(ROWS)], labels))
    assert source.classes[0] == "hat"
    assert set(source.classes) == {"hat", "SHOE", "[日本]", 'a "b"'}


@pytest.mark.parametrize(("classes", "fits"), [(200, True), (201, False)])
def test_two_hundred_classes(tmp_path, classes, fits):
    labels = [f"class {i // 2}" for i in range(2 * classes)]
    path = table(tmp_path / "p.parquet", [picture(i % 3, i) for i in range(2 * classes)], labels)
    if fits:
        assert len(drafted(path).classes) == classes
    else:
        with pytest.raises(BadInput, match="201 different ones, over 200"):
            drafted(path)
