"""The whole path, from a raw file to a verdict, on small real data."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from ran import run

from augment.base.errors import Locked, UsageError
from augment.generation.studio import Studio
from augment.judging.arms import robustness
from augment.numeric.measures import Mean
from augment.publishing.dataset import Dataset
from augment.publishing.lock import locked
from augment.recipes import loading
from augment.runs import rounds, single, version
from augment.runs import run as pipeline
from augment.sources.prepare import prepare
from consumers import open_mix

RECIPE = """
name = "small"
seed = 3
output = "{output}"
[sources.impressions]
path = "{data}"
[sources.impressions.columns]
user = "user_id"
item = "item_id"
timestamp = "timestamp"
label = "label"
fields = ["gender", "genre"]
[sources.impressions.split]
by = "time"
valid = 0.2
test = 0.3
[tasks.ctr]
consumer = "ctr"
source = "impressions"
options = {{ epochs = 2, weight_decay = 0.03, attacked_rows = 200 }}
samples = 300
strategies = {{ gan = 0.5, noise = 0.5 }}
gates = {{ band = [-4, 4] }}
generator = {{ anchors = 1000, bank = 80, steps = 20, batch = 32, draws = 4 }}
verdict = {{ seeds = 2, draws = 100, clean = ["auc"], improve = ["auc_masked"], tolerance = {tolerance} }}
"""


@pytest.fixture(scope="module")
def small(demo_folder, tmp_path_factory):
    """3,000 real impressions."""
    path = tmp_path_factory.mktemp("raw") / "impressions.parquet"
    pq.write_table(pq.read_table(demo_folder / "impressions.parquet").slice(0, 3000), path)
    return path


def small_recipe(small, output, tolerance=1.0, **replaced):
    text = RECIPE.format(output=output, data=small, tolerance=tolerance)
    for old, new in replaced.items():
        text = text.replace(old, new)
    return loading.parse(text, "small.toml")


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    return output, run(small_recipe(small, output), device="cpu")


def samples(output, result):
    task = result["tasks"]["ctr"]
    if task["status"] == "published":
        return Dataset(output / "ctr").read().to_table()
    run = Dataset(output / "ctr").versions()[-1].run
    shards = sorted((output / "ctr" / "_sparring" / "rejected" / run).glob("*.parquet"))
    return pa.concat_tables(map(pq.read_table, shards))


def test_the_result_keeps_the_contract_for_machines(finished):
    _, result = finished
    assert json.loads(json.dumps(result)) == result
    assert {"run", "status", "tasks", "report", "seconds"} <= set(result)
    task = result["tasks"]["ctr"]
    assert {"status", "path", "version", "rows", "kept_share", "quarantined", "verdict"} <= set(task)
    for comparison in task["verdict"].values():
        keys = {"real", "mix", "baseline", "baseline_name", "diff", "low", "high", "better_is"}
        assert keys <= set(comparison)
        assert comparison["better_is"] in ("higher", "lower")
    assert Path(result["report"]).read_text().startswith("<!doctype html>")
    assert task["rows"] == 300


@pytest.mark.parametrize("option", ['model = "trees"', "target_statistics = true"])
def test_every_kind_of_click_model_is_a_victim_and_trains_on_its_mix(small, tmp_path, option):
    result = run(small_recipe(small, tmp_path, **{"epochs = 2": f"{option}, epochs = 2"}), device="cpu")
    assert result["tasks"]["ctr"]["rows"] == 300
    made = samples(tmp_path, result)
    assert set(made["strategy"].to_pylist()) == {"gan", "noise"}
    hardness = made["hardness"].to_numpy()
    assert np.isfinite(hardness).all()
    assert hardness.std() > 0.1


def test_a_second_run_finds_nothing_to_do(finished, small):
    output, result = finished
    again = run(small_recipe(small, output), device="cpu")
    assert again["status"] == again["tasks"]["ctr"]["status"] == "unchanged"
    assert again["run"] == result["run"]
    assert again["tasks"]["ctr"]["verdict"] == result["tasks"]["ctr"]["verdict"]
    assert again["seconds"] < 5


def test_the_same_run_elsewhere_makes_the_very_same_samples(finished, small, tmp_path):
    output, result = finished
    again = run(small_recipe(small, tmp_path), device="cpu")
    first, second = samples(output, result), samples(tmp_path, again)
    assert first["sample_id"].equals(second["sample_id"])
    assert first["embedding"].equals(second["embedding"])


def test_no_validation_or_test_row_is_ever_an_anchor_or_a_neighbour(finished, small, tmp_path):

    output, result = finished
    source = small_recipe(small, output).sources["impressions"]
    splits = prepare("impressions", source, "fields", tmp_path, 3)
    train, held_out = (
        {i for path in paths for i in pq.read_table(path)["row_id"].to_pylist()}
        for paths in ([splits.train], [splits.valid, splits.test])
    )
    made = samples(output, result)
    reached = set(made["anchor_id"].to_pylist()) | {n for row in made["neighbour_ids"].to_pylist() for n in row}
    assert reached <= train
    assert not reached & held_out


def test_held_out_rows_do_not_change_what_is_made(finished, small, tmp_path):
    """Replace every test row: the same samples come out."""
    output, result = finished
    rows = pq.read_table(small)
    order = np.argsort(rows["timestamp"].to_numpy(), kind="stable")
    label = rows["label"].to_numpy().copy()
    label[order[-600:]] = 1 - label[order[-600:]]
    changed = tmp_path / "changed.parquet"
    pq.write_table(rows.set_column(0, "label", [label]), changed)
    again = run(small_recipe(changed, tmp_path / "out"), device="cpu")
    first, second = samples(output, result), samples(tmp_path / "out", again)
    assert first["sample_id"].equals(second["sample_id"])
    assert first["embedding"].equals(second["embedding"])


@pytest.fixture(scope="module")
def published(small, tmp_path_factory):
    """The same run with a verdict that cannot refuse: two epochs on 1,500 rows prove nothing either way."""
    output = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version, "judge", lambda *args: _accept(original(*args)))
        return output, run(small_recipe(small, output), device="cpu")


original = version.judge


def _accept(verdict):
    return type(verdict)(True, "accepted by the test", verdict.comparisons)


def test_a_published_version_is_whole_and_plain_readers_read_it(published):
    output, result = published
    assert result["status"] == "published"
    root = output / "ctr"
    assert Dataset(root).verify() == []
    table = DeltaTable(str(root)).to_pyarrow_table()
    assert len(table) == 300
    files = DeltaTable(str(root)).file_uris()
    query = "SELECT decoded.genre, count(*) FROM read_parquet($files) GROUP BY 1"
    rows = duckdb.connect().execute(query, {"files": files})
    assert sum(count for _, count in rows.fetchall()) == 300
    assert len(open_mix(output, "ctr")) == 300


def test_train_and_evaluate_use_the_published_mix(published, small, tmp_path):
    output, _ = published
    made = single.train(small_recipe(small, output), "ctr", tmp_path / "model", device="cpu")
    assert made["samples"] == 300
    assert json.loads((tmp_path / "model" / "mix.json").read_text())["version"] == 0
    measured = single.evaluate(small_recipe(small, output), "ctr", tmp_path / "model", device="cpu")
    assert 0.4 < measured["metrics"]["auc"]["value"] < 0.8


def test_generate_alone_publishes_nothing(small, tmp_path):
    made = single.generate_only(small_recipe(small, tmp_path / "out"), "ctr", tmp_path / "shards", device="cpu")
    assert made["rows"] == 300
    assert len(pq.read_table(tmp_path / "shards")) == 300
    assert not (tmp_path / "out" / "ctr").exists()


def test_a_refusing_verdict_keeps_the_run_and_publishes_nothing(small, tmp_path):
    result = run(small_recipe(small, tmp_path, tolerance=0), device="cpu")
    assert result["status"] == "rejected"
    dataset = Dataset(tmp_path / "ctr")
    assert dataset.current() is None
    assert dataset.versions()[0].status == "rejected"
    assert run(small_recipe(small, tmp_path, tolerance=0), device="cpu")["status"] == "unchanged"


def test_gates_that_let_nothing_through_refuse_the_task_and_leave_nothing(small, tmp_path):
    chosen = small_recipe(small, tmp_path, **{"band = [-4, 4]": "band = [40, 50]"})
    result = run(chosen, device="cpu")
    assert result["status"] == "rejected"
    assert "the gates kept 0 of" in result["tasks"]["ctr"]["reason"]
    assert Path(result["report"]).exists()
    assert not list((tmp_path / "ctr").glob("**/*.parquet"))
    assert not list(tmp_path.glob(".run-*"))


def test_what_a_killed_run_left_is_cleared_by_the_next(small, tmp_path):
    left = tmp_path / ".run-killed"
    left.mkdir()
    (left / "source.duckdb").write_bytes(b"half")
    run(small_recipe(small, tmp_path), device="cpu")
    assert not left.exists()


@pytest.mark.parametrize(
    ("module", "step"), [(version, "generate"), (version, "strongest_baseline"), (pipeline, "summary")]
)
def test_a_killed_run_goes_on_from_its_finished_steps_to_the_same_samples(small, tmp_path, monkeypatch, module, step):
    whole = run(small_recipe(small, tmp_path / "whole"), device="cpu")
    chosen = small_recipe(small, tmp_path / "killed")

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, step, kill)
        with pytest.raises(KeyboardInterrupt):
            run(chosen, device="cpu")
    (kept,) = (tmp_path / "killed").glob(".run-*")
    assert (kept / "real-0").is_dir() or list(kept.glob("real-*"))
    finished = step != "generate"
    assert (kept / "samples-0-0").is_dir() == finished
    if finished:  # not made a second time
        monkeypatch.setattr(rounds.Studio, "samples", kill)
    again = run(chosen, device="cpu")
    assert not list((tmp_path / "killed").glob(".run-*"))
    assert again["tasks"]["ctr"]["verdict"] == whole["tasks"]["ctr"]["verdict"]
    folders = [tmp_path / name / "ctr" for name in ("whole", "killed")]
    shards = [sorted(p.name for p in folder.glob("**/*.parquet") if "quarantine" not in str(p)) for folder in folders]
    assert shards[0] == shards[1] != []


def test_a_second_start_is_refused_at_once(small, tmp_path):
    with locked(tmp_path), pytest.raises(Locked, match="in use by"):
        run(small_recipe(small, tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"auc_masked"]', '"auc_maskd"]', "did you mean 'auc_masked'"),
        ("epochs = 2", "epoch = 2", "did you mean 'epochs'"),
        ("epochs = 2", "epochs = 'two'", "options: epochs = 'two' must be a whole number"),
        ('consumer = "ctr"', 'consumer = "ctrr"', "did you mean 'ctr'"),
        ("gan = 0.5, noise", "gans = 0.5, noise", "did you mean 'gan'"),
    ],
)
def test_each_wrong_name_or_type_is_said(small, tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message):
        run(small_recipe(small, tmp_path, **{old: new}), device="cpu")


def test_a_gpu_that_is_not_there_is_a_usage_error(small, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no GPU"):
        run(small_recipe(small, tmp_path), device="cuda")


def rounds_recipe(small, output):
    return small_recipe(small, output, **{"steps = 20,": "steps = 20, rounds = 3,"})


@pytest.mark.parametrize(
    ("found", "rounds"),
    [([0.1, 0.2, 0.3, 0.4], 3), ([0.1, 0.2, 0.2], 1), ([0.1, 0.2, 0.3, 0.3], 2), ([0.2, 0.1], 1)],
)
def test_rounds_spar_with_a_new_victim_each_until_one_brings_nothing_and_goes(
    small, tmp_path, monkeypatch, found, rounds
):
    values, taken = iter(found), []
    monkeypatch.setattr("augment.runs.rounds.robustness", lambda *_: next(values))
    monkeypatch.setattr("augment.runs.rounds.Studio", lambda *given: taken.append(len(given[4])) or Studio(*given))
    result = run(rounds_recipe(small, tmp_path), device="cpu")["tasks"]["ctr"]
    assert next(values, None) is None
    assert taken == [100 * i for i in range(len(taken))]  # no round makes a sample again
    assert result["rounds"] == rounds
    assert result["rows"] == 100 * rounds  # of a round that brought nothing no sample stays, but for the first
    made = samples(tmp_path, {"tasks": {"ctr": result}})
    assert len(made) == result["rows"]
    assert len(set(made["encoder"].to_pylist())) == result["rounds"]
    assert len(set(made["sample_id"].to_pylist())) == len(made)
    if result["status"] == "published":
        assert Dataset(tmp_path / "ctr").verify() == []


def test_rounds_killed_at_the_end_go_on_to_the_same_samples(small, tmp_path, monkeypatch):
    values = [0.1, 0.2, 0.3, 0.3]

    def made(name):
        found = iter(values)
        monkeypatch.setattr(rounds, "robustness", lambda *_: next(found))
        return samples(tmp_path / name, run(rounds_recipe(small, tmp_path / name), device="cpu"))

    whole = made("whole")
    with monkeypatch.context() as patch:
        patch.setattr(version, "strongest_baseline", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            made("killed")
    again = made("killed")
    assert len(whole) == 200
    assert whole["sample_id"].equals(again["sample_id"])
    assert whole["embedding"].equals(again["embedding"])


def test_a_rounds_gain_is_over_the_same_training_without_samples(small, tmp_path, monkeypatch):
    seen = []

    def robustness(model, arena, settings):
        seen.append(model.adversarial)
        return float(len(seen))

    monkeypatch.setattr(rounds, "robustness", robustness)
    adversarial = 'samples = 300\nmix_options = { adversarial = "fgm" }'
    chosen = small_recipe(small, tmp_path, **{"steps = 20,": "steps = 20, rounds = 2,", "samples = 300": adversarial})
    single.generate_only(chosen, "ctr", tmp_path / "shards", device="cpu")
    assert seen == ["fgm"] * 3


def test_where_no_metric_to_improve_may_be_looked_at_all_robust_ones_count():
    measured = {"auc": 0.9, "auc_tail": np.nan, "auc_pool": 0.4, "auc_pgd": 0.2}
    measures = {name: Mean(np.array([value])) for name, value in measured.items()}
    groups = {"clean": ("auc",), "slices": ("auc_tail",), "robust": ("auc_pool", "auc_unseen", "auc_pgd")}
    model = SimpleNamespace(metrics=groups, evaluate=lambda rows, attacked: measures)
    arena = SimpleNamespace(valid=None, attacked_valid={})

    def found(*improve):
        return robustness(model, arena, SimpleNamespace(improve=improve))

    assert found("auc_pool", "auc_unseen") == pytest.approx(0.4)
    assert found("auc_unseen") == found("auc_tail") == pytest.approx(0.3)


def test_clicks_without_label_become_samples_when_the_recipe_asks(small, tmp_path):
    rows = pq.read_table(small)
    label = [None if i % 3 == 0 else y for i, y in enumerate(rows["label"].to_pylist())]
    path = tmp_path / "impressions.parquet"
    pq.write_table(rows.set_column(rows.column_names.index("label"), "label", pa.array(label)), path)
    text = {"[sources.impressions]": "[sources.impressions]\nunlabelled = 200", "gan = 0.5, noise = 0.5":
            "self-training = 1", "samples = 300": "samples = 50", "band = [-4, 4]": "band = [-9, 9]"}  # fmt: skip
    made = single.generate_only(small_recipe(path, tmp_path / "out", **text), "ctr", tmp_path / "shards", device="cpu")
    assert made["rows"] == 50
    found = pa.concat_tables(map(pq.read_table, (tmp_path / "shards").glob("*.parquet")))
    assert all(0 < y < 1 for y in found["label"].to_pylist())


def test_options_for_the_mix_reach_that_arm_alone(small, tmp_path, monkeypatch):
    from consumers import ClickModel

    seen = []
    original = ClickModel.fit

    def fit(self, train, valid, mix=None):
        seen.append((self.adversarial, mix is not None))
        return original(self, train, valid, mix)

    monkeypatch.setattr(ClickModel, "fit", fit)
    changed = small_recipe(small, tmp_path, **{"samples = 300": 'samples = 300\nmix_options = { adversarial = "fgm" }'})
    run(changed, device="cpu")
    assert {mixed for adversarial, mixed in seen if adversarial == "fgm"} == {True}
    assert {adversarial for adversarial, mixed in seen if mixed} == {"fgm"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("samples = 300", "samples = 300\nmix_options = { adversarail = 'fgm' }", "did you mean 'adversarial'"),
        ("noise = 0.5", "typos = 0.5", "'typos' serves text"),
        ("samples = 300", "samples = 300\nstrategy_options = { gan = { strenth = 1.0 } }", "did you mean 'strength'"),
        ("samples = 300", "samples = 300\nstrategy_options = { gam = { strength = 1.0 } }", "did you mean 'gan'"),
    ],
)
def test_a_mistake_in_the_portfolio_is_said_before_any_work(small, tmp_path, old, new, said):
    with pytest.raises(UsageError, match=said):
        run(small_recipe(small, tmp_path, **{old: new}), device="cpu")
    assert not (tmp_path / "ctr").exists()
