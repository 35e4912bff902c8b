"""Which strategy did it: what samples of each bring, found by leaving them out."""

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from published import samples
from ran import run

from augment.base.errors import BadInput
from augment.cli.tables import show
from augment.contracts.values import Arena
from augment.judging.arms import fit_seeds, on_test
from augment.judging.verdict import Comparison
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.runs import attribution, version
from augment.runs.attribution import attribute
from augment.runs.steps import Steps
from augment.runs.task import Job
from consumers import ClickModel

RECIPE = """
name = "shop"
seed = 3
output = "{folder}/out"
[sources.clicks]
path = "{folder}/clicks.parquet"
columns = {{ user = "u", item = "i", label = "click", fields = ["device", "shelf"] }}
split = {{ by = "random", valid = 0.2, test = 0.4 }}
[tasks.ctr]
consumer = "ctr"
source = "clicks"
options = {{ epochs = 2, weight_decay = 0.03, attacked_rows = 100 }}
samples = 200
strategies = {{ noise = 0.5, masking = 0.5 }}
gates = {{ band = [-9, 9] }}
generator = {{ anchors = 200, bank = 40, draws = 4 }}
verdict = {{ seeds = 2, draws = 100, clean = ["auc"], improve = ["auc_masked"], tolerance = 1.0 }}
"""
NAMES = ["user_id", "item_id", "device", "shelf", "label"]  # of columns, once they are read
CLICKED = np.array([[0.9, 0.2, 0.6], [0.1, 0.8, 0.3]])  # by device and shelf


def clicks(rng, rows):
    """Clicks that a device and a shelf decide together."""
    device, shelf = rng.integers(0, 2, rows), rng.integers(0, 3, rows)
    chance = CLICKED[device, shelf]
    columns = {
        "u": [f"u{n}" for n in rng.integers(0, 40, rows)],
        "i": [f"i{n}" for n in rng.integers(0, 30, rows)],
        "device": [f"d{n}" for n in device],
        "shelf": [f"s{n}" for n in shelf],
    }
    return pa.table({**columns, "click": (rng.random(rows) < chance).astype(np.int64)}), chance


@pytest.fixture(autouse=True)
def one_baseline(monkeypatch):
    """What plain models there are beside the verdict is no matter here."""
    own = classmethod(lambda cls, seed, device: {"own": cls(epochs=1, weight_decay=0.03, seed=seed, device=device)})
    monkeypatch.setattr(ClickModel, "baselines", own)


@pytest.fixture
def recipe(tmp_path):
    pq.write_table(clicks(np.random.default_rng(5), 900)[0], tmp_path / "clicks.parquet")
    return recipe_in(tmp_path)


def elsewhere(tmp_path):
    """The same recipe on the same clicks, with an output of its own."""
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "clicks.parquet", tmp_path / "again")
    return recipe_in(tmp_path / "again")


def recipe_in(folder, **replaced):
    text = RECIPE.format(folder=folder)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return loading.parse(text, "shop.toml")


@pytest.fixture
def fits(monkeypatch):
    """How many models were trained on how many samples, 0 for none."""
    counts, fit = Counter(), ClickModel.fit

    def counted(self, train, valid, mix=None):
        counts[0 if mix is None else len(mix)] += 1
        return fit(self, train, valid, mix)

    monkeypatch.setattr(ClickModel, "fit", counted)
    return counts


# -- what it finds -----------------------------------------------------------------------------------


def made(rng, strategy, rows, first, label, weight):
    """Samples of a strategy: clicks with the label that `label` makes of their true chance."""
    table, chance = clicks(rng, rows)
    names = [*NAMES[:-1]]
    form = pa.StructArray.from_arrays([table[place].combine_chunks() for place in range(len(names))], names)
    columns = {"strategy": [strategy] * rows, "label": pa.array(label(chance), pa.float32()), "weight": [weight] * rows}
    found = samples("a" * 16, rows, form.type, first, **columns)
    return found.set_column(found.column_names.index("decoded"), "decoded", form)


def test_label_noise_is_attributed_a_loss_and_truth_a_gain_of_each_its_share(recipe, tmp_path, capsys):
    learns = {
        "epochs = 2, weight_decay = 0.03": "epochs = 10, lr = 0.02, weight_decay = 0.001",
        "seeds = 2": "seeds = 3",
    }
    job, rng = Job(recipe_in(tmp_path, **learns), "ctr", "cpu"), np.random.default_rng(9)

    def real(rows):
        table = clicks(rng, rows)[0].rename_columns(NAMES)
        return table.append_column("row_id", pa.array([f"r{n}" for n in range(rows)]))

    arena = Arena(real(250), real(200), real(4000), lambda rows, without: {})
    mix = pa.concat_tables(
        [
            made(rng, "truth", 1500, 0, lambda chance: chance, 2.0),
            made(rng, "noise", 500, 1500, lambda chance: 1 - chance, 4.0),
            made(rng, "idle", 20, 2000, lambda chance: np.full(len(chance), 0.5), 0.05),
        ]
    )
    asked = []
    job.engine = SimpleNamespace(map=lambda work, items: asked.append(items) or map(work, items))
    models = fit_seeds(job.make_on_mix, job.seeds, arena, mix)
    found = attribute(job, Steps(tmp_path / "steps"), arena, mix, on_test(models, arena))
    assert (
        "training without the samples of idle, noise, truth in turn, 3 × 3 seeds = 9 models" in capsys.readouterr().err
    )
    assert asked == [[(name, seed) for name in ("idle", "noise", "truth") for seed in job.seeds]]  # at once
    assert {name: one["samples"] for name, one in found.items()} == {"idle": 20, "noise": 500, "truth": 1500}
    assert found["truth"]["share"] == round(1500 / 2020, 4)
    assert found["noise"]["weight_share"] == round(2000 / 5001, 4)
    auc = {name: one["metrics"]["auc"] for name, one in found.items()}
    assert {name: c["effect"] for name, c in auc.items()} == {
        "truth": "helps",
        "noise": "hurts",
        "idle": "no difference beyond chance",
    }
    assert auc["truth"]["low"] > 0 > auc["noise"]["high"]
    for c in auc.values():
        assert c["diff"] == pytest.approx(c["mix"] - c["without"])
        assert c["low"] < c["diff"] < c["high"]
    assert len({c["mix"] for c in auc.values()}) == 1


def test_only_what_many_comparisons_would_not_show_by_chance_is_called_a_gain(recipe, monkeypatch):
    job = Job(recipe, "ctr", "cpu")

    def effects(*p):
        found = iter([Comparison(0.5, 0.6, 0.6, "", 0.1, (0.05 - one) / 9, 0.19, one, "higher") for one in p])
        monkeypatch.setattr(attribution, "compare", lambda *_, **__: {"auc": next(found)})
        without = {str(n): [{}] for n in range(len(p))}
        return [m["auc"]["effect"] for m in attribution._compared(job, [{}], without).values()]

    none = "no difference beyond chance"
    assert effects(0.04) == ["helps"]
    assert effects(0.04, 0.5, 0.5) == ["may help", none, none]
    assert effects(0.5, 0.001, 0.5) == [none, "helps", none]


# -- a run ---------------------------------------------------------------------------------------------


def test_a_run_tells_of_each_strategy_and_its_verdict_is_the_same(recipe, tmp_path, fits):
    plain = run(recipe, device="cpu")["tasks"]["ctr"]
    assert "attribution" not in plain
    assert dict(fits) == {0: fits[0], 200: 2}
    result = run(elsewhere(tmp_path), device="cpu", attribute=True)
    assert json.loads(json.dumps(result)) == result
    task = result["tasks"]["ctr"]
    same = ("verdict", "status", "reason", "rows")
    assert {name: task[name] for name in same} == {name: plain[name] for name in same}
    found = task["attribution"]
    assert list(found) == ["masking", "noise"]
    assert [one["samples"] for one in found.values()] == [100, 100]
    assert [one["share"] for one in found.values()] == [one["weight_share"] for one in found.values()] == [0.5, 0.5]
    for one in found.values():
        assert list(one["metrics"]) == ["auc", "auc_masked"]
        assert one["metrics"]["auc"]["mix"] == pytest.approx(task["verdict"]["auc"]["mix"])
    page = Path(result["report"]).read_text()
    assert "Which strategy did it" in page
    assert "masking: auc_masked" in page
    root = tmp_path / "again" / "out" / "ctr"
    shown = CliRunner().invoke(show, [str(root), Dataset(root).versions()[-1].run]).output
    assert "noise                    50%     50%  auc " in shown


@pytest.mark.parametrize("accepts", [True, False])
def test_what_is_there_already_is_attributed_too_and_made_no_second_time(recipe, tmp_path, monkeypatch, fits, accepts):
    judge = version.judge
    monkeypatch.setattr(version, "judge", lambda *given: type(judge(*given))(accepts, "said by the test", {}))
    before = run(recipe, device="cpu")
    assert before["status"] == ("published" if accepts else "rejected")
    fits.clear()
    result = run(recipe, device="cpu", attribute=True)
    assert result["status"] == "unchanged"
    assert dict(fits) == {200: 2, 100: 4}
    assert result["tasks"]["ctr"]["attribution"].keys() == {"noise", "masking"}
    assert "Which strategy did it" in Path(result["report"]).read_text()
    assert len(Dataset(tmp_path / "out" / "ctr").versions()) == 1
    assert not list((tmp_path / "out").glob(".run-*"))


def test_one_strategy_is_attributed_by_the_verdict_and_trains_nothing_more(recipe, tmp_path, fits, capsys):
    alone = recipe_in(tmp_path, **{"noise = 0.5, masking": "masking"})
    result = run(alone, device="cpu", attribute=True)
    whole = {"samples": 200, "share": 1.0, "weight_share": 1.0, "metrics": {}}
    assert result["tasks"]["ctr"]["attribution"] == {"masking": whole}
    assert dict(fits) == {0: fits[0], 200: 2}
    assert "every sample is of masking: the verdict says what it brings" in capsys.readouterr().err
    assert "Every sample is of masking: the verdict says what it brings." in Path(result["report"]).read_text()


def test_a_killed_run_trains_no_finished_arm_again(recipe, tmp_path, monkeypatch, fits):
    model, arms = Steps.model, []

    def third(self, name, *given):
        arms.append(name) if name.startswith("mix-") else None
        if len(arms) == 5:  # two on the mix, two without the first strategy
            raise KeyboardInterrupt
        return model(self, name, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "model", third)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, device="cpu", attribute=True)
    assert (fits[200], fits[100]) == (2, 2)
    resumed = run(recipe, device="cpu", attribute=True)["tasks"]["ctr"]
    assert (fits[200], fits[100]) == (2, 4)
    assert not list((tmp_path / "out").glob(".run-*"))
    whole = run(elsewhere(tmp_path), device="cpu", attribute=True)["tasks"]["ctr"]
    assert resumed["attribution"] == whole["attribution"]


def test_a_training_that_fails_costs_no_verdict(recipe, monkeypatch):
    fit = ClickModel.fit

    def failing(self, train, valid, mix=None):
        if mix is not None and len(mix) == 100:
            raise BadInput("too few <rows>")
        return fit(self, train, valid, mix)

    monkeypatch.setattr(ClickModel, "fit", failing)
    task = run(recipe, device="cpu", attribute=True)["tasks"]["ctr"]
    assert task["verdict"]
    assert "attribution" not in task
    assert task["warnings"][-1] == "which strategy did it is not known: too few <rows>"
