"""What killed, failed and refused nights leave: nothing that stands in anybody's way, and nothing for good."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from nights import day, write
from published import RUNS, flip_a_byte, publish
from ran import night

from augment.base.errors import BadInput, Locked
from augment.cli.tables import gc, ls, rollback, show
from augment.judging import report
from augment.publishing.canary import canary
from augment.publishing.dataset import Dataset
from augment.publishing.lock import locked
from augment.runs.steps import clear_left, work_folder
from augment.runs.task import Job

pytestmark = pytest.mark.usefixtures("accepted")


def killed(*_, **__):
    raise KeyboardInterrupt


def test_a_version_that_cannot_be_read_back_is_not_published(shop, impressions, tmp_path, monkeypatch):
    night(shop, as_of=day(2), device="cpu")
    write(tmp_path / "raw", impressions, 3)

    def damaged(dataset, stage, *rest):
        flip_a_byte(dataset.root / stage.files[0].path)
        return canary(dataset, stage, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("augment.nights.task.canary", damaged)
        with pytest.raises(BadInput, match=r"cannot be read back: .*sha256 differs"):
            night(shop, as_of=day(3), device="cpu")
    dataset = Dataset(tmp_path / "out" / "ctr")
    assert dataset.current() == 0
    assert dataset.verify() == []
    assert {path.parent.name for path in dataset.gc(1)} == {"quarantine"}
    assert night(shop, as_of=day(3), device="cpu")["tasks"]["ctr"]["version"] == 1


def test_a_night_killed_in_the_canary_leaves_no_table_behind(shop, impressions, tmp_path, monkeypatch):
    for number in (2, 3):
        write(tmp_path / "raw", impressions, number)
        night(shop, as_of=day(number), device="cpu")
    write(tmp_path / "raw", impressions, 4)
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "verify", killed)
        with pytest.raises(KeyboardInterrupt):
            night(shop, as_of=day(4), device="cpu")
    table = str(tmp_path / "out" / "ctr")
    assert {path.name for path in Path(table).iterdir() if path.name.startswith(".")} == set()
    assert list((tmp_path / "out").glob(".run-*/canary/_delta_log"))
    for command, *arguments in ((ls, str(tmp_path / "out")), (show, table), (rollback, table, "0")):
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 0, done.output
    assert len(CliRunner().invoke(ls, [str(tmp_path / "out")]).output.splitlines()) == 3
    assert night(shop, as_of=day(4), device="cpu")["status"] == "published"
    assert list((tmp_path / "out").glob(".run-*")) == []


def test_file_systems_without_hard_links_serve_too(shop, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    assert night(shop, as_of=day(2), device="cpu")["status"] == "published"
    assert Dataset(tmp_path / "out" / "ctr").verify() == []


HOLDING = """
import sys, types
from augment.runs.steps import work_folder
job = types.SimpleNamespace(recipe=types.SimpleNamespace(output=sys.argv[1]))
with work_folder(job) as folder:
    print(folder, flush=True)
    input()
"""


def test_scratch_space_goes_when_its_process_was_killed_and_not_before(shop, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", HOLDING, shop.output]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        folder = Path(process.stdout.readline().strip())
        clear_left(Path(shop.output), [])
        assert folder.is_dir()
        process.kill()
        process.wait()
    clear_left(Path(shop.output), [])
    assert not folder.exists()
    with work_folder(Job(shop, "ctr", "cpu")) as mine:
        assert mine.is_dir()
    assert list(tmp_path.glob("out/.work-*")) == []


@pytest.mark.parametrize("place", [".", "../ctr", "absolute"])
@pytest.mark.parametrize("command", [[gc], [rollback, "0"]])
def test_commands_inside_a_task_folder_hold_the_output(tmp_path, monkeypatch, place, command):
    dataset = Dataset(tmp_path / "out" / "ctr")
    for run in RUNS[:2]:
        publish(dataset, run)
    monkeypatch.chdir(dataset.root)
    arguments = [str(dataset.root) if place == "absolute" else place, *command[1:]]
    with locked(tmp_path / "out"):
        assert isinstance(CliRunner().invoke(command[0], arguments).exception, Locked)
    assert CliRunner().invoke(command[0], arguments).exit_code == 0


def test_pages_go_when_they_are_old(tmp_path):
    for age in range(5):
        page = tmp_path / f"report-{day(age)}.html"
        page.touch()
        os.utime(page, (time.time() - 86_400 * (5 - age),) * 2)
    assert len(report.forget(tmp_path, 1, 3, dry_run=True)) == 3
    report.forget(tmp_path, 4, 3)
    assert len(list(tmp_path.iterdir())) == 4
    report.forget(tmp_path, 1, 3)
    assert {page.name for page in tmp_path.iterdir()} == {f"report-{day(n)}.html" for n in (3, 4)}
