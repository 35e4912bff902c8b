import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from published import DIM, RUNS, TEXT, flip_a_byte, manifest, publish, reject, samples, shard

from augment.base.errors import BadInput, Locked, UsageError
from augment.cli.tables import show
from augment.contracts.sample import LATER, sample_schema
from augment.publishing import pins
from augment.publishing.dataset import Dataset
from augment.publishing.lock import locked
from augment.publishing.manifest import Manifest
from consumers import open_mix


def seen(dataset):
    """The runs that a plain Delta reader finds in the head."""
    return set(DeltaTable(str(dataset.root)).to_pyarrow_table()["run"].to_pylist())


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "out put" / "[sentiment]")  # names that need care in URLs and globs


def test_nothing_is_there_before_the_first_version(dataset):
    assert dataset.current() is None
    assert dataset.versions() == []
    assert dataset.find(RUNS[0]) is None
    with pytest.raises(UsageError, match="nothing is published"):
        dataset.read()


def test_each_publication_replaces_the_content_in_one_commit(dataset):
    assert publish(dataset, RUNS[0], samples(RUNS[0]), samples(RUNS[0], 3, first=5)) == 0
    assert dataset.read().count_rows() == 8
    assert publish(dataset, RUNS[1]) == 1
    assert dataset.current() == 1
    assert seen(dataset) == {RUNS[1]}
    assert len(list((dataset.root / "_delta_log").glob("*.json"))) == 2
    assert [(v.version, v.run, v.status) for v in dataset.versions()] == [
        (0, RUNS[0], "published"),
        (1, RUNS[1], "current"),
    ]
    assert dataset.version(1).manifest.parent == 0
    assert dataset.read(0).count_rows() == 8


def test_what_is_read_is_what_was_written(dataset):
    rows = samples(RUNS[0])
    publish(dataset, RUNS[0], rows)
    assert dataset.read().to_table().equals(rows)


def test_the_decoded_form_may_change_between_versions(dataset):
    fields = pa.struct([("item", pa.string()), ("user", pa.string())])
    publish(dataset, RUNS[0])
    publish(dataset, RUNS[1], samples(RUNS[1], decoded=fields))
    for version, form in ((0, {"text": "nice"}), (1, {"item": "i1", "user": None})):
        plain = DeltaTable(str(dataset.root), version=version).to_pyarrow_table()
        assert plain["decoded"].to_pylist() == [form] * 5
    dataset.rollback(0)
    assert DeltaTable(str(dataset.root)).to_pyarrow_table()["decoded"].to_pylist() == [{"text": "nice"}] * 5


def test_plain_readers_see_ordinary_columns(tmp_path):
    dataset = Dataset(tmp_path)
    publish(dataset, RUNS[0])
    table = DeltaTable(str(dataset.root))
    assert table.count() == 5
    assert table.to_pyarrow_table().column_names == sample_schema(TEXT).names
    row = (
        duckdb.connect()
        .execute(
            "SELECT count(*), max(decoded.text), max(len(embedding)) FROM read_parquet(?)",
            [table.file_uris()],
        )
        .fetchone()
    )
    assert row == (5, "nice", DIM)


def test_an_empty_version_is_refused(dataset):
    with dataset.stage(RUNS[0]) as stage, pytest.raises(BadInput, match="empty"):
        dataset.publish(stage, manifest(dataset, stage))
    assert dataset.current() is None


def test_rejected_runs_are_kept_but_never_read(dataset):
    publish(dataset, RUNS[0])
    reject(dataset, RUNS[1])
    assert dataset.current() == 0
    assert seen(dataset) == {RUNS[0]}
    found = dataset.find(RUNS[1])
    assert (found.version, found.status, found.rows) == (None, "rejected", 5)
    kept = dataset.root / "_sparring" / "rejected" / RUNS[1]
    assert pq.ParquetFile(next(kept.glob("*.parquet"))).metadata.num_rows == 5
    with pytest.raises(UsageError, match="no published version"):
        dataset.read(RUNS[1])


def test_a_run_is_found_by_its_digest(dataset):
    publish(dataset, RUNS[0])
    publish(dataset, RUNS[1])
    assert dataset.find(RUNS[0]).version == 0
    assert dataset.version(RUNS[1]).version == 1
    assert dataset.find(RUNS[2]) is None


def test_a_version_is_named_by_its_number_in_a_command_too(dataset):
    for run in RUNS[:2]:
        publish(dataset, run)
    reject(dataset, RUNS[2])
    for name, run in (("0", RUNS[0]), ("1", RUNS[1]), (RUNS[0], RUNS[0]), ("current", RUNS[1])):
        assert dataset.version(name).run == run
        assert dataset.verify(name) == []
        shown = CliRunner().invoke(show, [str(dataset.root), name, "--json"], catch_exceptions=False)
        assert json.loads(shown.output)["run"] == run
    for name in ("2", "-1", "²", RUNS[2]):
        with pytest.raises(UsageError, match=f"no published version {name}; see `sparring ls"):
            dataset.version(name)


def test_a_published_run_is_not_staged_again(dataset):
    publish(dataset, RUNS[0])
    with pytest.raises(UsageError, match="published already"), dataset.stage(RUNS[0]):
        pass
    assert seen(dataset) == {RUNS[0]}


def test_rollback_restores_content_and_manifest(dataset):
    publish(dataset, RUNS[0])
    publish(dataset, RUNS[1])
    assert dataset.rollback(0) == 2
    assert seen(dataset) == {RUNS[0]}
    assert dataset.version().run == RUNS[0]
    assert dataset.verify() == []
    assert publish(dataset, RUNS[2]) == 3
    assert dataset.version().manifest.parent == 2


def test_rollback_refuses_what_cannot_be_restored(dataset):
    publish(dataset, RUNS[0])
    publish(dataset, RUNS[1])
    with pytest.raises(UsageError, match="no version 7"):
        dataset.rollback(7)
    with pytest.raises(UsageError, match="current already"):
        dataset.rollback(1)
    flip_a_byte(shard(dataset, 0))
    with pytest.raises(BadInput, match="damaged"):
        dataset.rollback(0)
    assert seen(dataset) == {RUNS[1]}


def test_an_exception_removes_the_stage(dataset):
    def interrupted():
        with dataset.stage(RUNS[0]) as stage:
            stage.write(samples(RUNS[0]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(dataset.root.rglob("*.parquet"))


def test_an_exception_after_the_commit_leaves_the_version_whole(dataset):
    def interrupted():
        with dataset.stage(RUNS[0]) as stage:
            stage.write(samples(RUNS[0]))
            dataset.publish(stage, manifest(dataset, stage))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert dataset.verify() == []


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import augment.publishing.dataset
from test_dataset import RUNS, Dataset, manifest, publish, samples
def killed(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "while writing a shard":
    os.fsync = killed
else:  # all is in place, but the commit
    augment.publishing.dataset.create_table_with_add_actions = killed
    augment.publishing.dataset.DeltaTable.create_write_transaction = killed
publish(Dataset(sys.argv[2]), RUNS[1])
"""


@pytest.mark.parametrize("moment", ["while writing a shard", "before the commit"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_killed_run_leaves_the_last_version_intact(dataset, moment, earlier):
    if earlier:
        publish(dataset, RUNS[0])
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(dataset.root), moment]
    folders = (Path(__file__).parents[3], Path(__file__).parents[1])  # ours, and what tests share
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    orphans = list((dataset.root / RUNS[1]).iterdir())
    assert orphans
    assert dataset.current() == (0 if earlier else None)
    if earlier:
        assert dataset.verify() == []
        assert seen(dataset) == {RUNS[0]}
    assert sorted(dataset.gc(1)) == sorted(orphans)
    assert publish(dataset, RUNS[1]) == (1 if earlier else 0)  # running it again finishes the work
    assert dataset.verify() == []


def test_gc_keeps_what_the_last_versions_need(dataset):
    for run in RUNS[:4]:
        publish(dataset, run)
    dataset.rollback(1)
    reject(dataset, RUNS[4])
    reject(dataset, RUNS[5])
    listed = dataset.gc(2, dry_run=True)
    assert {path.parent.name for path in listed} == {RUNS[0], RUNS[2]}
    assert all(path.exists() for path in listed)
    assert dataset.gc(2) == listed
    assert not any(path.exists() for path in listed)
    assert dataset.verify() == []
    assert dataset.verify(3) == []
    with pytest.raises(BadInput, match="removed by gc"):
        dataset.read(2)
    assert dataset.version(2).manifest.run == RUNS[2]  # lineage stays
    dataset.gc(1)
    assert [v.run for v in dataset.versions() if v.status == "rejected"] == [RUNS[5]]
    assert dataset.verify() == []


def test_gc_keeps_the_quarantine_of_what_it_keeps(dataset, tmp_path):
    (tmp_path / "rows").write_bytes(b"PAR1")
    for run in RUNS[:3]:
        publish(dataset, run)
    for run in RUNS[3:5]:
        reject(dataset, run)
    for run in RUNS:
        dataset.keep_quarantine(run, tmp_path / "rows")
    folder = dataset.root / "_sparring" / "quarantine"
    for run in (RUNS[2], RUNS[5]):  # current, and refused before there was anything to keep
        os.utime(folder / f"{run}.parquet", (0, 0))
    dataset.gc(1, keep_days=1)
    assert {path.stem for path in folder.iterdir()} == {*RUNS[:5]}
    dataset.gc(1)
    assert {path.stem for path in folder.iterdir()} == {RUNS[2], RUNS[4]}  # the current run and the last rejected one


def test_gc_and_those_who_pin_take_turns(dataset, monkeypatch):
    for run in RUNS[:3]:
        publish(dataset, run)
    held, opened = pins.held, []
    late = threading.Thread(target=lambda: opened.append(open_mix(dataset.root, version=1, pin=1)))

    def looking(root):
        late.start()
        late.join(0.5)
        assert late.is_alive()  # waits until gc is done
        return held(root)

    with monkeypatch.context() as patch:
        patch.setattr(pins, "held", looking)
        dataset.gc(2)
    late.join()
    assert [mix.version for mix in opened] == [1]
    with pins.guarded(dataset.root):
        late = threading.Thread(target=lambda: dataset.gc(1))
        late.start()
        late.join(0.5)
        assert late.is_alive()
    late.join()


def test_gc_leaves_files_that_are_not_ours(dataset):
    publish(dataset, RUNS[0])
    DeltaTable(str(dataset.root)).create_checkpoint()
    theirs = dataset.root / "exports" / "mine.parquet"
    theirs.parent.mkdir()
    theirs.write_bytes(b"")
    assert dataset.gc(1) == []
    assert theirs.exists()


def test_commits_of_others_are_no_versions_of_ours(tmp_path):
    dataset = Dataset(tmp_path)
    publish(dataset, RUNS[0])
    publish(dataset, RUNS[1])
    plain = DeltaTable(str(dataset.root))
    plain.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert plain.version() > 1
    assert dataset.current() == 1
    assert [v.version for v in dataset.versions()] == [0, 1]
    assert dataset.verify() == []
    plain.delete()
    assert any("disagree" in problem for problem in dataset.verify())


def test_no_name_leads_out_of_the_table(dataset):
    publish(dataset, RUNS[0])
    for path in ("../outside.parquet", "/etc/passwd"):
        with pytest.raises(BadInput, match="outside"):
            dataset._inside(path)


def test_a_manifest_survives_a_round_trip(dataset):
    publish(dataset, RUNS[0])
    made = dataset.version().manifest
    assert Manifest.parse(made.dump(), "here") == made
    for content in (b"{", b"{}", b"[]", made.dump().replace(b'"seed"', b'"sead"')):
        with pytest.raises(BadInput, match="not a manifest"):
            Manifest.parse(content, "here")


def test_a_damaged_log_is_a_one_line_error(dataset):
    publish(dataset, RUNS[0])
    (dataset.root / "_delta_log" / f"{0:020d}.json").write_text("{")
    with pytest.raises(BadInput) as caught:
        dataset.current()
    assert "\n" not in str(caught.value)


def test_a_second_run_is_told_at_once_who_holds_the_output(tmp_path):
    holder = "import sys, time; from pathlib import Path; from augment.publishing.lock import locked\n"
    holder += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=f"pid {process.pid} since"), locked(tmp_path):
            pass
        process.kill()
        process.wait()
    with locked(tmp_path):  # a killed holder holds no more
        pass


def test_a_damaged_old_manifest_stops_no_new_run(dataset):
    for run in RUNS[:2]:
        publish(dataset, run)
    flip_a_byte(dataset.root / "_sparring" / "manifests" / f"{RUNS[0]}.json")
    assert dataset.find(RUNS[1]).status == "current"
    assert dataset.find(RUNS[2]) is None
    with pytest.raises(BadInput, match="changed since version 0"):
        dataset.find(RUNS[0])


def test_tables_of_before_there_were_teachers_are_read_and_grow(dataset):
    older = samples(RUNS[0]).drop_columns([*LATER])
    publish(dataset, RUNS[0], older)
    assert dataset.verify() == []
    assert dataset.read().to_table()["label_source"].null_count == len(older)
    with dataset.stage(RUNS[1], "2026-11-02") as stage:  # a night beside what is there
        stage.write(samples(RUNS[1], first=100, day=["2026-11-02"] * 5, teacher_spread=[0.1] * 5))
        files = [*dataset.version().manifest.files, *stage.files]
        dataset.publish(stage, replace(manifest(dataset, stage), files=files), gone=[])
    assert dataset.verify() == []
    both = dataset.read().to_table()
    assert len(both) == 10
    assert both["teacher_spread"].null_count == 5
    assert DeltaTable(str(dataset.root)).to_pyarrow_table()["label_source"].null_count == 5
