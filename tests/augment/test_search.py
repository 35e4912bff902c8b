"""The search on real clicks, kept small: what it may read, that it goes on, and what it writes."""

import json

import pyarrow as pa
import pytest

from augment import search as searching
from augment.errors import UsageError
from augment.recipe import load, parse
from augment.search import Choice, Trial, search, winning_recipe, write
from consumers import ClickModel

RECIPE = """
name = "small"
seed = 3
output = "{folder}/out"
[sources.clicks]
path = "{data}/impressions.parquet"
columns = {{ user = "user_id", item = "item_id", timestamp = "timestamp", label = "label", fields = ["genre"] }}
split = {{ by = "time", valid = 0.1, test = 0.2 }}
[tasks.ctr]
consumer = "ctr"
source = "clicks"
options = {{ epochs = 1, attacked_rows = 200 }}
samples = 400
strategies = {{ masking = 0.5, gaussian = 0.5 }}
generator = {{ anchors = 2000, bank = 50, draws = 2 }}
verdict = {{ clean = ["auc"], improve = ["auc_masked"] }}
"""


@pytest.fixture(scope="module")
def small(demo_folder, tmp_path_factory):
    return parse(RECIPE.format(folder=tmp_path_factory.mktemp("search"), data=demo_folder), "small")


@pytest.mark.slow
def test_a_search_reads_no_test_row_resumes_and_writes_a_recipe_that_loads(small, tmp_path, monkeypatch):
    seen = []
    original = ClickModel.evaluate

    def evaluate(self, test, attacked):
        seen.append(len(test))
        return original(self, test, attacked)

    monkeypatch.setattr(ClickModel, "evaluate", evaluate)
    first = search(small, trials=2, seeds=1, device="cpu", threads=1)[0]
    assert len(first.plain) == 2
    assert set(seen) == {seen[0]}  # validation rows alone
    count = len(seen)
    again = search(small, trials=3, seeds=1, device="cpu", threads=1)[0]
    assert [t.values for t in again.plain[:2]] == [t.values for t in first.plain]
    assert len(seen) - count == 2  # one more trial of each
    out = tmp_path / "found.toml"
    evidence = json.loads(write(small, [again], out).read_text())
    assert evidence[0]["best_plain"]["values"].keys() == {"clean", "robust", "slices"}
    found = load(str(out)).tasks["ctr"]
    assert found.verdict == small.tasks["ctr"].verdict


def trial(number, clean, robust, **choice):
    return Trial(number, Choice(**choice), {"clean": clean, "robust": robust, "slices": 0.5})


def test_the_winner_is_the_most_robust_of_those_that_are_clean_enough(small):
    task = small.tasks["ctr"]
    trials = [trial(0, 0.8, 0.1), trial(1, 0.797, 0.5), trial(2, 0.6, 0.9)]
    assert searching._most_robust(trials, task, 0.8).number == 1
    assert searching._most_robust(trials[2:], task, 0.8) is None


def test_the_winning_recipe_gives_each_arm_its_own_settings(small):
    plain = trial(0, 0.8, 0.1, options={"lr": 0.001, "dim": 4})
    best = trial(1, 0.8, 0.3, shares={"masking": 1.0, "gaussian": 0.0}, size=0.5, weight=0.25, band=(-2.0, 2.5),
                 agreement=0.7, options={"lr": 0.002, "dim": 4})  # fmt: skip
    found = searching.Found("ctr", [plain], [best], plain, best)
    task = winning_recipe(small, [found]).tasks["ctr"]
    assert task.strategies == {"masking": 1.0}
    assert (task.samples, task.weight, task.gates.band) == (200, 0.25, (-2.0, 2.5))
    assert task.options["lr"] == 0.001
    assert task.mix_options == {"lr": 0.002}
    nothing = searching.Found("ctr", [plain], [best], plain, None)
    assert winning_recipe(small, [nothing]) == small


def test_a_choice_filters_weighs_and_counts():
    class Studio:
        def refiltered(self, samples, share):
            return samples

    class Job:
        class task:
            samples = 8

    pools = searching.Pools.__new__(searching.Pools)
    pools._job, pools._studio = Job, Studio()
    pool = pa.table({"hardness": [0.1, 0.7, 0.7, 9.0], "label_agreement": [1.0, 1.0, 0.6, 1.0],
                     "weight": [1.0] * 4, "row": [0, 1, 2, 3]})  # fmt: skip
    pools._tables = {("a", 1.0): pool, ("b", 1.5): pool}
    mix = pools.mix(Choice({"a": 1.0, "b": 0.0}, band=(-0.5, 1.5), agreement=0.5, weight=0.5))
    assert mix["row"].to_pylist() == [1, 2]
    assert mix["weight"].to_pylist() == [0.5, 0.5]
    assert pools.mix(Choice({"a": 1.0}, band=(-0.5, 1.5), agreement=0.7))["row"].to_pylist() == [1]
    assert len(pools.mix(Choice({"a": 1.0, "b": 1.0}, {"b": 1.5}, size=0.5))) == 4
    assert pools.mix(Choice({"a": 0.0})) is None


def test_a_task_that_is_not_there_and_a_missing_package_are_said(small, monkeypatch):
    with pytest.raises(UsageError, match="no task 'crt'"):
        search(small, trials=1, tasks=("crt",))
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match="pip install 'sparring"):
        search(small, trials=1)


def test_a_study_whose_every_trial_is_pruned_has_found_nothing(tmp_path):
    found = searching._study(tmp_path / "log", "portfolio", 2, None, 0, lambda trial: Choice(), lambda choice: None, {})
    assert found == []
