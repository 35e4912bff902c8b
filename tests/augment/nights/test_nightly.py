"""Nights on real impressions: what each reads, publishes, keeps and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nights import day, nightly_recipe, rows_of, write
from ran import night

from augment.base.errors import BadInput, Locked, NoSpace, UsageError
from augment.nights import night as nightly
from augment.publishing import pins
from augment.publishing.dataset import Dataset
from augment.publishing.lock import locked
from consumers import open_mix

pytestmark = pytest.mark.usefixtures("accepted")


def days_of(recipe):
    return pc.value_counts(open_mix(recipe.output, "ctr").to_table()["day"]).to_pylist()


def test_nights_replace_their_own_day_and_keep_the_last_few(shop, impressions, tmp_path):
    for number in range(2, 6):
        write(tmp_path / "raw", impressions, number)
        found = night(shop, as_of=day(number), device="cpu")
        assert found["status"] == "published"
    assert {d["values"] for d in days_of(shop)} == {str(day(n)) for n in (3, 4, 5)}
    dataset = Dataset(tmp_path / "out" / "ctr")
    assert dataset.verify() == []
    assert [v.status for v in dataset.versions()] == ["published"] * 3 + ["current"]
    before = {d: [s.path for s in shards] for d, shards in dataset.shards_by_day().items()}

    again = night(shop, as_of=day(4), device="cpu")
    assert again["status"] == "unchanged"
    late = rows_of(impressions, 4).slice(0, 40)
    pq.write_table(late.append_column("extra", pa.array(range(40))), tmp_path / "raw" / "late.parquet")
    backfilled = night(shop, as_of=day(4), device="cpu")
    assert backfilled["status"] == "published"
    assert backfilled["sources"]["impressions"]["rows"] == 40
    after = {d: [s.path for s in shards] for d, shards in dataset.shards_by_day().items()}
    assert after.keys() == before.keys()
    assert after[str(day(4))] != before[str(day(4))]
    assert {d: p for d, p in after.items() if d != str(day(4))} == {d: p for d, p in before.items() if d != str(day(4))}
    assert dataset.verify() == []
    pq.write_table(rows_of(impressions, 2).slice(0, 40), tmp_path / "raw" / "later.parquet")
    with pytest.raises(UsageError, match="older than the 3 nights"):
        night(shop, as_of=day(2), device="cpu")


def test_a_night_reads_only_what_is_new(shop, impressions, tmp_path):
    first = night(shop, as_of=day(2), device="cpu")["sources"]["impressions"]
    assert (first["files"], first["rows"]) == (3, 1500)
    path = write(tmp_path / "raw", impressions, 3)
    second = night(shop, as_of=day(3), device="cpu")["sources"]["impressions"]
    assert (second["files"], second["rows"], second["bytes"]) == (1, 500, path.stat().st_size)
    third = night(shop, as_of=day(3), device="cpu")["sources"]["impressions"]
    assert (third["files"], third["rows"], third["bytes"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "change", [{'"gender", "genre"]': '"gender", "genre", "occupation"]'}, {"epochs = 2": "epochs = 2, dim = 4"}]
)
def test_samples_of_other_columns_or_another_space_do_not_stay(shop, impressions, tmp_path, change):
    night(shop, as_of=day(2), device="cpu")
    write(tmp_path / "raw", impressions, 3)
    other = nightly_recipe(tmp_path / "raw", tmp_path / "out", **change)
    found = night(other, as_of=day(3), device="cpu")
    assert found["status"] == "published"
    assert [d["values"] for d in days_of(shop)] == [str(day(3))]
    read = found["sources"]["impressions"]
    assert read["rows"] == (2000 if "occupation" in str(change) else 500)
    assert Dataset(tmp_path / "out" / "ctr").verify() == []


def test_the_generator_is_used_again_until_it_is_old(shop, impressions, tmp_path):
    about = []
    for number in range(2, 6):
        write(tmp_path / "raw", impressions, number)
        about.append(night(shop, as_of=day(number), device="cpu")["tasks"]["ctr"]["night"])
    assert [a["refit"] for a in about] == [True, False, False, True]
    assert [a["why"] for a in about[:2]] == ["the first", f"that of {day(2)}"]
    assert about[1]["fit"] == about[0]["fit"] != about[3]["fit"]
    assert about[1]["drift"]["genre"] >= 0
    assert about[1]["hardness_of_yesterdays_samples"] > 0


def test_drift_asks_for_another_fit_and_a_check_on_it_rejects(shop, impressions, tmp_path):
    night(shop, as_of=day(2), device="cpu")
    other = rows_of(impressions, 3, 900)
    place = other.column_names.index("genre")
    drifted = other.set_column(place, "genre", pa.array(["Opera"] * len(other)))
    pq.write_table(drifted, tmp_path / "raw" / "drifted.parquet")
    strict = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{
        "refit_drift = 1.0": 'refit_drift = 1.0\nchecks = { drift = { limit = 0.25, severity = "error" } }'
    })  # fmt: skip
    found = night(strict, as_of=day(3), device="cpu")
    about = found["tasks"]["ctr"]["night"]
    assert "genre drifted by" in about["why"]
    assert found["status"] == "rejected"
    assert "checks failed: drift" in found["tasks"]["ctr"]["reason"]
    assert Dataset(tmp_path / "out" / "ctr").current() == 0
    assert Dataset(tmp_path / "out" / "ctr").versions()[-1].status == "rejected"


def test_a_day_of_few_rows_is_told_of(shop, impressions, tmp_path):
    write(tmp_path / "raw", impressions, 3, count=100)
    about = night(shop, as_of=day(3), device="cpu")["tasks"]["ctr"]["night"]
    assert about["figures"]["few_rows"] == 0.2
    (check,) = [check for check in about["checks"] if check["name"] == "few_rows"]
    assert "few_rows: rows of the day, over the window's median day: 0.2 (100 rows), below" in check["reason"]


@pytest.mark.parametrize(
    "step",
    [
        "nights.task.make_version",
        "nights.task.manifest_of",
        "nights.fits.keep",
        "nights.night._retain",
        "judging.report.write",
    ],
)
def test_a_killed_night_ends_like_an_unbroken_one(impressions, tmp_path, monkeypatch, step):
    tables = []
    for name in ("whole", "killed"):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / name
        for number in range(3):
            write(folder / "raw", impressions, number)
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        recipe = nightly_recipe("raw", "out")
        if name == "killed":

            def kill(*_, **__):
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(f"augment.{step}", kill)
                with pytest.raises(KeyboardInterrupt):
                    night(recipe, as_of=day(2), device="cpu")
        night(recipe, as_of=day(2), device="cpu")
        write(folder / "raw", impressions, 3)
        night(recipe, as_of=day(3), device="cpu")
        tables.append(open_mix("out", "ctr").to_table())
    assert tables[0].equals(tables[1])
    assert len(tables[0]) > 100


def test_bad_nights_lose_nothing_and_say_why(shop, impressions, tmp_path, monkeypatch):
    night(shop, as_of=day(2), device="cpu")
    with pytest.raises(BadInput, match="no rows from"):
        night(shop, as_of=day(40), device="cpu")
    with locked(tmp_path / "out"), pytest.raises(Locked, match=r"in use by .* pid"):
        night(shop, as_of=day(3), device="cpu")
    renamed = rows_of(impressions, 3).rename_columns(
        ["genres" if c == "genre" else c for c in impressions.column_names]
    )
    pq.write_table(renamed, tmp_path / "raw" / "renamed.parquet")
    with pytest.raises(BadInput, match="no column 'genre'; did you mean 'genres'"):
        night(shop, as_of=day(3), device="cpu")
    (tmp_path / "raw" / "renamed.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match=r"cannot read .*renamed\.parquet"):
        night(shop, as_of=day(3), device="cpu")
    lenient = nightly_recipe(tmp_path / "raw", tmp_path / "out", keep_days="skip_bad_files = true\nkeep_days")
    found = night(lenient, as_of=day(3), device="cpu")
    assert list(found["sources"]["impressions"]["bad_files"]) == [str(tmp_path / "raw" / "renamed.parquet")]
    hungry = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{"min_free_gb = 0.0": "min_free_gb = 1e9"})
    with pytest.raises(NoSpace, match="GB free"):
        night(hungry, as_of=day(3), device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "out" / "_nightly" / "nights.jsonl").read_text().splitlines()]
    assert lines[0]["status"] == "published"
    assert sum("error" in line for line in lines) == 4  # a second start is no failure of the night
    assert Dataset(tmp_path / "out" / "ctr").verify() == []


def test_metrics_and_notifications_tell_of_a_night(shop, impressions, tmp_path):
    metrics = f'metrics = "{tmp_path}/prom"\nkeep_days'
    recipe = nightly_recipe(tmp_path / "raw", tmp_path / "out", keep_days=metrics)
    night(recipe, as_of=day(2), device="cpu")
    text = (tmp_path / "prom" / "sparring_nights.prom").read_text()
    assert 'sparring_night_status{recipe="nights",task="ctr",status="published"} 1.0' in text
    assert 'sparring_rows_read{recipe="nights",source="impressions"} 1500.0' in text
    assert 'sparring_metric{recipe="nights",task="ctr",metric="auc_masked",arm="mix"}' in text
    told = tmp_path / "told.json"
    with pytest.raises(BadInput):
        night(recipe, as_of=day(40), device="cpu", notify=f"cp /dev/stdin {told}")
    assert "no rows from" in json.loads(told.read_text())["error"]


def test_old_versions_go_but_not_those_that_a_reader_holds(shop, impressions, tmp_path):
    short = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{
        "keep_days = 3": "keep_days = 1\nkeep_versions = 1\nkeep_version_days = 0"
    })  # fmt: skip
    night(short, as_of=day(2), device="cpu")
    root = tmp_path / "out" / "ctr"
    held = pins.pin(root, 0, hours=1)
    write(tmp_path / "raw", impressions, 3)
    night(short, as_of=day(3), device="cpu")
    assert len(open_mix(root, version=0)) == len(open_mix(root, version=0).to_table())
    held.unlink()
    write(tmp_path / "raw", impressions, 4)
    night(short, as_of=day(4), device="cpu")
    with pytest.raises(BadInput, match="removed by gc"):
        open_mix(root, version=0)
    assert len(list(root.glob("*/*.parquet"))) == len(Dataset(root).version().manifest.files)
    pins.pin(root, 2, hours=-1)
    assert pins.held(root) == []


def test_a_training_job_waits_for_a_night_and_holds_its_version(shop, impressions, tmp_path):
    with pytest.raises(UsageError, match="no published data set"):
        open_mix(shop.output, "ctr", wait=0.01)
    night(shop, as_of=day(2), device="cpu")
    with pytest.raises(UsageError, match=f"no samples of {day(3)}"):
        open_mix(shop.output, "ctr", day=str(day(3)), wait=0.01)
    mix = open_mix(shop.output, "ctr", day=str(day(2)), pin=1)
    assert pins.held(tmp_path / "out" / "ctr") == [mix.version]
    mix.release()
    assert pins.held(tmp_path / "out" / "ctr") == []


def test_a_job_elsewhere_trains_from_the_table_with_plain_readers(shop, tmp_path):
    night(shop, as_of=day(2), device="cpu")
    script = Path(__file__).parents[3] / "scripts" / "train_downstream.py"
    command = [sys.executable, str(script), str(tmp_path / "out" / "ctr"), "--out", str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made_of = json.loads((tmp_path / "model" / "model.json").read_text())
    assert made_of["mix_version"] == 0
    assert made_of["rows"] == len(open_mix(tmp_path / "out", "ctr"))
    assert made_of["loss"] < 0.7
    assert pins.held(tmp_path / "out" / "ctr") == []
    source = script.read_text()
    assert not any(f"import {ours}" in source or f"from {ours}" in source for ours in ("augment", "consumers", "gan"))


def test_replicas_follow_each_night_and_their_storage_costs_no_version(shop, tmp_path, monkeypatch):
    copied = []
    recipe = nightly_recipe(tmp_path / "raw", tmp_path / "out", keep_days='replica = "s3://shop/mix"\nkeep_days')
    monkeypatch.setattr(nightly, "replicate", lambda root, url: copied.append((root.name, url)) or 7)
    assert night(recipe, as_of=day(2), device="cpu")["tasks"]["ctr"]["replica"] == 7
    night(recipe, as_of=day(2), device="cpu")  # what storage missed while it was away
    assert copied == [("ctr", "s3://shop/mix/ctr")] * 2

    def away(root, url):
        raise BadInput("storage is away")

    monkeypatch.setattr(nightly, "replicate", away)
    with pytest.raises(BadInput, match="storage is away"):
        night(recipe, as_of=day(2), device="cpu")
    assert Dataset(tmp_path / "out" / "ctr").current() == 0
