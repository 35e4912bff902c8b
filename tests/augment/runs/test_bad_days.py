"""What a run finds on a bad day: an output that is none, files of a version gone, another start beside it."""

import contextlib
import os

import pytest
from nights import day
from published import RUNS, flip_a_byte, publish
from ran import night, run

from augment.base.errors import BadInput, Locked, NotOurs, UsageError
from augment.base.files import write_whole
from augment.publishing.dataset import Dataset
from augment.publishing.lock import OWNER, locked
from augment.runs import single
from augment.search import search, trials
from augment.search.space import OBJECTIVES, Choice


def cut(path):
    os.truncate(path, path.stat().st_size - 7)


def gone(path):
    path.unlink()


# -- the output ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling", "circle"])
def test_an_output_where_no_folder_can_be_is_a_wrong_name_for_every_command(shop, tmp_path, kind):
    place = tmp_path / "place"
    if kind == "dangling":
        place.symlink_to(tmp_path / "moved" / "away")
    elif kind == "circle":
        place.symlink_to(place)
    else:
        place.write_text("mine", "utf-8")
    wanted = shop.model_copy(update={"output": str(place / "out" if kind == "below a file" else place)})
    for work in (
        lambda: run(wanted, device="cpu"),
        lambda: night(wanted, as_of=day(2), device="cpu"),
        lambda: single.generate_only(wanted, "ctr", tmp_path / "made", device="cpu"),
        lambda: search.search(wanted, trials=1, device="cpu"),
    ):
        with pytest.raises(UsageError, match=r"no folder can be there.*choose another") as refused:
            work()
        assert "\n" not in str(refused.value)
    assert place.is_symlink() or place.read_text("utf-8") == "mine"


def test_a_link_to_a_folder_is_as_good_as_the_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    with locked(tmp_path / "out"), pytest.raises(Locked), locked(tmp_path / "disk"):
        pass
    dataset = Dataset(tmp_path / "out" / "ctr")
    publish(dataset, RUNS[0])
    assert Dataset(tmp_path / "disk" / "ctr").verify() == []
    assert dataset.lost(RUNS[0]) == ""


def test_what_cannot_be_written_says_where(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("augment.base.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        write_whole(tmp_path / "page.html", b"...")
    assert failed.value.filename == str(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


# -- files that are gone -------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [gone, cut])
def test_a_version_that_lost_files_is_told_and_one_that_others_lost_is_not(tmp_path, harm):
    dataset = Dataset(tmp_path / "ctr")
    for name in RUNS[:2]:
        publish(dataset, name)
    assert [dataset.lost(name) for name in RUNS[:3]] == ["", "", ""]
    (shard,) = dataset.version(0).manifest.files
    harm(dataset.root / shard.path)
    assert f"1 of 1 files of version 0 are gone or cut: {shard.path}" in dataset.lost(RUNS[0])
    assert dataset.lost(RUNS[1]) == ""


def test_a_damaged_manifest_hides_no_other_version(tmp_path, capsys):
    dataset = Dataset(tmp_path / "ctr")
    for name in RUNS[:3]:
        publish(dataset, name)
    gone(tmp_path / "ctr" / "_sparring" / "manifests" / f"{RUNS[1]}.json")
    assert [v.version for v in dataset.versions()] == [0, 2]
    assert "left out: " in capsys.readouterr().err
    assert "manifest" in dataset.lost(RUNS[1])
    with pytest.raises(BadInput, match="missing; put it back, or `sparring rollback` to another version"):
        dataset.version(1)


@pytest.mark.usefixtures("accepted")
def test_a_run_makes_anew_what_is_gone_and_then_lets_it_be(shop, tmp_path, capsys):
    first = run(shop, device="cpu")["tasks"]["ctr"]
    dataset = Dataset(tmp_path / "out" / "ctr")
    content = dataset.read().to_table().drop_columns(["run", "sample_id"])
    cut(dataset.root / dataset.version().manifest.files[0].path)
    with contextlib.suppress(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(shop, device="cpu")  # killed at its end
    assert len(list((tmp_path / "out").glob(".run-*"))) == 1
    capsys.readouterr()
    again = run(shop, device="cpu")["tasks"]["ctr"]
    said = capsys.readouterr().err
    assert (first["version"], again["version"], again["status"]) == (0, 1, "published")
    assert "are gone or cut" in said
    assert dataset.verify() == []
    assert dataset.read().to_table().drop_columns(["run", "sample_id"]).num_rows == content.num_rows
    third = run(shop, device="cpu")["tasks"]["ctr"]
    assert (third["status"], third["version"]) == ("unchanged", 1)
    assert "gone" not in capsys.readouterr().err
    assert list((tmp_path / "out").glob(".run-*")) == []


@pytest.mark.usefixtures("accepted")
def test_a_night_makes_anew_what_is_gone(shop, tmp_path):
    night(shop, as_of=day(2), device="cpu")
    dataset = Dataset(tmp_path / "out" / "ctr")
    gone(dataset.root / dataset.version().manifest.files[0].path)
    found = night(shop, as_of=day(2), device="cpu")["tasks"]["ctr"]
    assert (found["status"], found["version"]) == ("published", 1)
    assert dataset.verify() == []
    assert night(shop, as_of=day(2), device="cpu")["status"] == "unchanged"


def test_a_version_of_which_a_byte_alone_changed_is_for_verify_to_find(tmp_path):
    dataset = Dataset(tmp_path / "ctr")
    publish(dataset, RUNS[0])
    flip_a_byte(dataset.root / dataset.version().manifest.files[0].path)
    assert dataset.lost(RUNS[0]) == ""
    assert len(dataset.verify()) == 1


# -- searches ------------------------------------------------------------------------------------------


class Reading(Exception):
    """The search has passed its locks."""


@pytest.fixture
def reads(monkeypatch):
    def stop(*_):
        raise Reading

    monkeypatch.setattr(search, "read", stop)


@pytest.mark.usefixtures("reads")
def test_one_search_of_a_kind_at_a_time_and_runs_beside_it(shop, tmp_path):
    def start(**options):
        search.search(shop, trials=1, device="cpu", **options)

    with locked(tmp_path / "out"), pytest.raises(Reading):  # a run or a night, all the while
        start()
    (lock,) = (tmp_path / "out" / "_search").glob("*.lock")
    with locked(lock.parent, lock.stem):
        with pytest.raises(Locked, match=rf"{lock.stem} is in use by .* pid {os.getpid()} since") as refused:
            start()
        assert refused.value.exit_code == 4
        with pytest.raises(Reading):  # of other trainings: trials of its own
            start(seeds=3)
        with locked(tmp_path / "out"):
            pass
    with pytest.raises(Reading):
        start()
    assert [path.suffix for path in lock.parent.iterdir()] == [".lock"] * 2


def test_a_search_leaves_the_output_of_another_recipe_alone(shop, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / OWNER).write_text('{"name": "theirs", "file": "a.toml", "sources": {}}', "utf-8")
    with pytest.raises(NotOurs, match="another recipe, 'theirs'"):
        search.search(shop, trials=1, device="cpu")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [OWNER]


def study(store, count):
    def suggest(trial):
        return Choice(weight=trial.suggest_float("weight", 0.1, 1.0))

    def fit(_):
        tried.append(store)
        return dict.fromkeys(OBJECTIVES, 0.5)

    tried = []
    found = trials.study(store, "plain", count, None, 0, suggest, fit, {})
    return len(tried), len(found)


@pytest.mark.parametrize("left", [1, 9, 40])
def test_a_journal_that_a_full_disk_cut_goes_on_and_on(tmp_path, left):
    store = tmp_path / "trials.log"
    assert study(store, 2) == (2, 2)
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(b"".join(lines[:-1]) + lines[-1][:left])  # how the last trial ended was not written whole
    tried, found = study(store, 3)
    assert tried >= 1
    assert found >= 2
    assert study(store, 4)[0] == 1
    assert study(store, 4)[0] == 0


def test_a_journal_that_is_damaged_within_says_what_to_do(tmp_path):
    store = tmp_path / "trials.log"
    study(store, 1)
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(b"".join([lines[0], b"\0" * 30 + b"\n", *lines[2:]]))
    with pytest.raises(BadInput, match=r"trials\.log: line 2 is damaged; delete the file"):
        study(store, 2)
