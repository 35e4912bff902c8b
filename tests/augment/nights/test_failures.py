"""One source or task that fails stops no other; what was decided before is not decided again."""

import json
import signal
import sys

import pytest
from click.testing import CliRunner
from nights import day, nightly_recipe, write
from published import flip_a_byte
from ran import night, run

from augment.base.errors import BadInput, Diverged, Ended, Unavailable, UsageError
from augment.cli import main
from augment.cli.nightly import nightly as command
from augment.nights import night as nightly
from augment.publishing.dataset import Dataset
from augment.publishing.lock import locked
from augment.publishing.manifest import ALL_DAYS
from augment.sources.ledger import Ledger
from augment.strategies import gan
from consumers.ctr import ClickModel
from gan.trainer import TrainingDiverged

SECOND = """
[sources.more]
path = "{folder}/more/*.parquet"
columns = {{ user = "user_id", item = "item_id", timestamp = "timestamp", label = "label", fields = ["gender"] }}
split = {{ by = "random", valid = 0.2, test = 0.3 }}
[tasks.second]
consumer = "ctr"
source = "more"
options = {{ epochs = 2, attacked_rows = 100 }}
samples = 100
strategies = {{ masking = 1.0 }}
gates = {{ band = [-9, 9], min_label_agreement = 0.0 }}
generator = {{ anchors = 300, bank = 60 }}
verdict = {{ seeds = 1, draws = 100, clean = ["auc"], improve = ["auc_masked"], tolerance = 1.0 }}
[nightly]
"""


@pytest.fixture
def two(impressions, tmp_path):
    """Two tasks, each with a source of its own."""
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
        write(tmp_path / "more", impressions, number)
    second = SECOND.format(folder=tmp_path)

    def made(settings=""):
        return nightly_recipe(tmp_path / "raw", tmp_path / "out", **{"[nightly]": f"{second}{settings}"})

    return made


def status(found):
    return {name: task["status"] for name, task in found["tasks"].items()}


@pytest.fixture
def told(monkeypatch):
    """Every night as it is told, failed ones too."""
    nights = []
    monkeypatch.setattr(nightly.monitoring, "log", lambda path, found: nights.append(found.as_json()))
    return nights


@pytest.mark.usefixtures("accepted")
def test_a_source_that_cannot_be_read_stops_only_its_tasks(two, told, tmp_path, monkeypatch):
    copied = []
    monkeypatch.setattr(nightly, "replicate", lambda root, url: copied.append(root.name) or 0)
    (tmp_path / "raw" / f"{day(1)}.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="cannot read"):
        night(two('replica = "s3://shop/mix"\n'), as_of=day(2), device="cpu")
    assert status(told[0]) == {"ctr": "failed", "second": "published"}
    assert copied == ["second"]
    page = (tmp_path / "out" / f"report-{day(2)}.html").read_text()
    assert "ctr: <span class=failed>failed" in page
    assert "second: <span class=published>" in page


@pytest.mark.usefixtures("accepted")
def test_a_generator_that_diverges_stops_only_its_task(two, told, tmp_path, monkeypatch):
    def diverged(*_):
        raise TrainingDiverged(7, "a loss is not a number", None)

    with monkeypatch.context() as patch:
        patch.setattr(gan, "train", diverged)
        with pytest.raises(Diverged, match="step 7"):
            night(two(), as_of=day(2), device="cpu")
    assert status(told[0]) == {"ctr": "failed", "second": "published"}
    assert list(tmp_path.glob("out/.run-*/round0"))  # where the last good checkpoint is
    assert status(night(two(), as_of=day(2), device="cpu")) == {"ctr": "published", "second": "unchanged"}


def test_a_night_that_is_asked_to_end_tells_of_it(two, told, tmp_path, monkeypatch):
    def asked(*_, **__):
        raise Ended(signal.SIGTERM)

    monkeypatch.setattr("augment.nights.task.make_version", asked)
    with pytest.raises(Ended):
        night(two(), as_of=day(2), device="cpu", notify=f"tee {tmp_path}/notified.json")
    assert status(told[0]) == {"ctr": "failed", "second": "failed"}
    assert told[0]["error"] == "stopped before it was done"
    assert "traceback" not in told[0]
    assert json.loads((tmp_path / "notified.json").read_text()) == told[0]


def broken_victim(monkeypatch, rows):
    """A model that breaks on a source of `rows` training rows or more."""
    fit = ClickModel.fit

    def broken(self, train, *rest):
        return fit(self, train, *rest) if len(train) < rows else 1 / 0

    monkeypatch.setattr(ClickModel, "fit", broken)


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("first", [True, False])
def test_what_nobody_foresaw_stops_only_its_task_and_is_in_the_nights_log(
    two, impressions, tmp_path, monkeypatch, first
):
    """Whichever of the tasks it is, and a later failure does not hide the first."""
    write(tmp_path / ("raw" if first else "more"), impressions, 0, 900)
    broken_victim(monkeypatch, 800)
    monkeypatch.setattr(nightly.report, "write", lambda *_: [][0])
    broken, sound = ("ctr", "second") if first else ("second", "ctr")
    with pytest.raises(ZeroDivisionError):
        night(two(), as_of=day(2), device="cpu")
    (line,) = (tmp_path / "out" / "_nightly" / "nights.jsonl").read_text("utf-8").splitlines()
    tasks = json.loads(line)["tasks"]
    assert tasks[sound]["status"] == "published"
    assert Dataset(tmp_path / "out" / sound).verify() == []
    assert (tasks[broken]["status"], tasks[broken]["reason"]) == ("failed", "ZeroDivisionError: division by zero")
    assert "in broken" in tasks[broken]["traceback"]
    assert "in broken" in json.loads(line)["traceback"]
    monkeypatch.undo()


def test_an_unreadable_ledger_row_of_one_source_is_that_sources_failure(two, told, tmp_path, monkeypatch, capfd):
    """An exception of any kind, also before there is a task to run."""
    take_in = Ledger.take_in

    def broken(self, *given):
        if self._name == "more":
            raise RuntimeError("no such\nluck")
        return take_in(self, *given)

    monkeypatch.setattr(Ledger, "take_in", broken)
    with pytest.raises(RuntimeError):
        night(two(), as_of=day(2), device="cpu")
    assert status(told[0])["second"] == "failed"
    assert status(told[0])["ctr"] in ("published", "rejected")
    said = capfd.readouterr().err
    assert "second: failed: RuntimeError: no such luck\n" in said
    assert "Traceback" not in said


def test_a_run_goes_on_after_what_nobody_foresaw(two, impressions, tmp_path, monkeypatch, capsys):
    write(tmp_path / "raw", impressions, 0, 900)
    broken_victim(monkeypatch, 800)
    wanted = two()
    monkeypatch.setattr("augment.cli.run.recipe_of", lambda *_: wanted)
    monkeypatch.setattr(sys, "argv", ["sparring", "run", "two.toml", "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "ctr: failed: ZeroDivisionError: division by zero\n" in said
    assert said.splitlines()[-1].startswith("sparring: ZeroDivisionError: division by zero (a bug")
    assert "Traceback" not in said
    assert Dataset(tmp_path / "out" / "second").versions()
    (page,) = (tmp_path / "out").glob("report-*.html")
    assert "ctr: <span class=failed>failed" in page.read_text("utf-8")
    monkeypatch.undo()


@pytest.mark.usefixtures("accepted")
def test_storage_that_is_away_is_a_warning_and_what_it_refuses_an_error(two, told, tmp_path, monkeypatch):
    recipe = two(f'replica = "s3://shop/mix"\nmetrics = "{tmp_path}/prom"\n')
    asked = []

    def fails(error):
        def replicate(root, url):
            asked.append(root.name)
            raise error("storage says no")

        return replicate

    monkeypatch.setattr(nightly, "replicate", fails(Unavailable))
    found = night(recipe, as_of=day(2), device="cpu")
    assert found["status"] == "published"
    assert found["tasks"]["ctr"]["replica_behind"] == "storage says no"
    text = (tmp_path / "prom" / "sparring_nights.prom").read_text()
    assert 'sparring_replica_behind{recipe="nights",task="ctr"} 1.0' in text
    assert "sparring_last_success" in text
    monkeypatch.setattr(nightly, "replicate", fails(BadInput))
    with pytest.raises(BadInput, match="storage says no"):
        night(recipe, as_of=day(2), device="cpu")
    assert asked == ["ctr", "second"] * 2
    assert status(told[1]) == {"ctr": "unchanged", "second": "unchanged"}
    monkeypatch.setattr(nightly, "replicate", lambda root, url: 4)
    assert night(recipe, as_of=day(2), device="cpu")["tasks"]["ctr"]["replica"] == 4
    assert 'replica_behind{recipe="nights",task="ctr"} 0.0' in (tmp_path / "prom/sparring_nights.prom").read_text()


def test_a_rejected_night_is_still_rejected_when_it_is_started_again(shop, tmp_path, monkeypatch):
    strict = nightly_recipe(tmp_path / "raw", tmp_path / "out", tolerance=0.0)
    first = night(strict, as_of=day(2), device="cpu")
    assert first["status"] == "rejected"

    def work(*_):
        raise AssertionError("nothing is to do")

    monkeypatch.setattr("augment.nights.task.make_version", work)
    monkeypatch.setattr("augment.recipes.loading.load", lambda name: strict)
    again = night(strict, as_of=day(2), device="cpu")
    assert again["status"] == "rejected"
    assert again["tasks"]["ctr"]["reason"] == first["tasks"]["ctr"]["reason"]
    assert CliRunner().invoke(command, ["strict", "--as-of", str(day(2)), "--device", "cpu"]).exit_code == 3


@pytest.mark.usefixtures("accepted")
def test_a_night_says_when_its_samples_were_rolled_back_and_mends_its_page(shop, impressions, tmp_path):
    for number in (2, 3):
        write(tmp_path / "raw", impressions, number)
        night(shop, as_of=day(number), device="cpu")
    page = tmp_path / "out" / f"report-{day(3)}.html"
    page.unlink()  # killed between the commit and the page
    found = night(shop, as_of=day(3), device="cpu")
    assert "rollback" not in found["tasks"]["ctr"]["reason"]
    assert "unchanged as version 1" in page.read_text()
    dataset = Dataset(tmp_path / "out" / "ctr")
    with locked(tmp_path / "out"):
        dataset.rollback(0)
    found = night(shop, as_of=day(3), device="cpu")
    assert found["status"] == "unchanged"
    assert f"sparring rollback {dataset.root} 1" in found["tasks"]["ctr"]["reason"]
    assert "rollback" not in night(shop, as_of=day(2), device="cpu")["tasks"]["ctr"]["reason"]


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("damage", [flip_a_byte, lambda path: path.write_bytes(path.read_bytes()[:500])])
def test_a_damaged_day_is_left_out(shop, impressions, tmp_path, capfd, damage):
    for number in (2, 3):
        write(tmp_path / "raw", impressions, number)
        night(shop, as_of=day(number), device="cpu")
    dataset = Dataset(tmp_path / "out" / "ctr")
    damage(dataset.root / dataset.shards_by_day()[str(day(2))][0].path)
    write(tmp_path / "raw", impressions, 4)
    found = night(shop, as_of=day(4), device="cpu")
    assert found["tasks"]["ctr"]["night"]["days"] == [str(day(3)), str(day(4))]
    assert f"the samples of {day(2)} are left out" in capfd.readouterr().err
    assert dataset.verify() == []


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("keep", [1, 3])
def test_the_first_night_replaces_a_run(shop, tmp_path, keep):
    recipe = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{"keep_days = 3": f"keep_days = {keep}"})
    run(recipe, device="cpu")
    dataset = Dataset(tmp_path / "out" / "ctr")
    assert list(dataset.shards_by_day()) == [ALL_DAYS]
    assert night(recipe, as_of=day(2), device="cpu")["status"] == "published"
    assert list(dataset.shards_by_day()) == [str(day(2))]


def test_a_day_to_come_is_refused(shop, tmp_path):
    with pytest.raises(UsageError, match="not yet, it is"):
        night(shop, as_of=day(4000), device="cpu")
    assert not (tmp_path / "out").exists()
