"""The search on real clicks, kept small: what it may read, that it goes on, and what it writes."""

import json
from collections import Counter
from functools import wraps
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput, UsageError
from augment.generation.studio import Studio
from augment.numeric.measures import Mean
from augment.numeric.vectors import margins_to_losses
from augment.recipes.loading import load, parse
from augment.runs import single
from augment.runs.rows import read
from augment.runs.task import Job
from augment.search import space, trials, winner
from augment.search.pools import Pools
from augment.search.search import search
from augment.search.space import Choice, Trial, given_settings
from augment.search.winner import winning_recipe, write
from augment.strategies.gan import Gan
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
    # One more trial of each; against another best plain consumer, samples are others and all trials count anew.
    assert len(seen) - count == (2 if again.best_plain == first.best_plain else 4)
    out = tmp_path / "found.toml"
    evidence = json.loads(write(small, [again], out).read_text())
    assert evidence[0]["best_plain"]["values"].keys() == {"clean", "robust", "slices"}
    found = load(str(out)).tasks["ctr"]
    assert found.verdict == small.tasks["ctr"].verdict


def trial(number, clean, robust, slices=0.5, made=None, **choice):
    values = {"clean": clean, "robust": robust, "slices": slices}
    return Trial(number, Choice(**choice), values, made or {})


def test_the_winner_is_the_most_robust_of_those_that_are_clean_enough(small):
    trials = [trial(0, 0.8, 0.1), trial(1, 0.797, 0.5), trial(2, 0.6, 0.9)]
    assert winner.best_of(trials, trials[:1], 0.01, 0.8).number == 1
    assert winner.best_of(trials[2:], trials[:1], 0.01, 0.8) is None


def test_gains_on_unlike_scales_count_in_spreads_of_the_plain_trials(small):
    plain = [trial(i, 0.8, robust, slices) for i, (robust, slices) in enumerate([(0.50, 10), (0.52, 30), (0.51, 20)])]
    found = [trial(0, 0.8, 0.51, 22), trial(1, 0.8, 0.54, 20)]  # a gain of a quarter of a spread, and of four
    assert winner.best_of(found, plain, 0.01, 0.8).number == 1


def test_a_group_that_cannot_be_measured_makes_no_difference(small):
    found = {name: Mean(np.array([value])) for name, value in [("auc", 1.0), ("auc_pool", 0.3), ("auc_tail", np.nan)]}
    groups = {"clean": ("auc",), "robust": ("auc_pool",), "slices": ("auc_tail",)}
    model = SimpleNamespace(metrics=groups, evaluate=lambda rows, attacked: found)
    arena = SimpleNamespace(valid=None, attacked_valid={})
    fit = trials.Fit(SimpleNamespace(recipe=small), arena, 1)
    assert fit._measure(model) == {"clean": 1.0, "robust": 0.3, "slices": 0.0}


def test_the_winning_recipe_gives_each_arm_its_own_settings(small):
    plain = trial(0, 0.8, 0.1, options={"lr": 0.001, "dim": 4})
    best = trial(1, 0.8, 0.3, shares={"masking": 1.0, "gaussian": 0.5}, size=0.5, weight=0.25, band=(-2.0, 2.5),
                 agreement=0.7, options={"lr": 0.002, "dim": 4, "epochs": 1, "adversarial": "fgm"},
                 made={"masking": 130})  # fmt: skip
    found = winner.Found("ctr", [plain], [best], plain, best)
    task = winning_recipe(small, [found]).tasks["ctr"]
    assert task.strategies == {"masking": 1.0}
    assert (task.samples, task.weight, task.gates.band) == (130, 0.25, (-2.0, 2.5))
    assert task.options["lr"] == 0.001
    assert task.mix_options == {"lr": 0.002, "adversarial": "fgm"}
    nothing = winner.Found("ctr", [plain], [best], plain, None)
    assert winning_recipe(small, [nothing]) == small


def test_trials_keep_the_recipes_options_for_the_mix(small):
    task = small.tasks["ctr"].model_copy(update={"mix_options": {"adversarial": "fgm", "adv_share": 0.7}})
    chosen = SimpleNamespace(suggest_categorical=lambda name, values: values[-1])
    options = space.drawn_portfolio(chosen, task, set(), {"adv_share": (0.5, 1.0)}, "fields").options
    assert options == {"adversarial": "fgm", "adv_share": 1.0}


def test_the_first_trial_is_the_nearest_to_the_recipe_itself(small):
    text = """
gates = {{ band = [-3.5, 3.0], min_label_agreement = 0.8, false_negative_share = 0.03 }}
strategy_options = {{ gaussian = {{ strength = 1.4 }} }}
weight = 0.3
generator"""
    own = parse(RECIPE.replace("\ngenerator", text).format(folder="x", data="x"), "own").tasks["ctr"]
    tried = {**ClickModel.space, **ClickModel.mix_space}
    first = given_settings(own, {"gaussian"}, tried, ClickModel(lr=1e-3, weight_decay=0.01))
    assert first["band"] == space.BANDS.index((-4.0, 4.0))
    assert (first["agreement"], first["filter"], first["weight"], first["size"]) == (0.85, 0.02, 0.25, 1.0)
    assert (first["strength.gaussian"], first["share.masking"]) == (1.5, 1.0)
    assert first["option.lr"] == 1e-3
    assert first["option.adversarial"] == ""
    assert "option.weight_decay" not in first  # none of the values to try


def test_trees_are_searched_over_their_own_settings(demo_folder, tmp_path):
    pq.write_table(pq.read_table(demo_folder / "impressions.parquet").slice(0, 1500), tmp_path / "impressions.parquet")
    text = RECIPE.replace("epochs = 1", 'model = "trees"').format(folder=tmp_path / "out", data=tmp_path)
    found = search(parse(text, "small"), trials=1, seeds=1, device="cpu", threads=1)[0]
    assert set(found.plain[0].choice.options) == {"leaves", "min_count"}
    assert set(found.portfolio[0].choice.options) == {"leaves", "min_count"}


def test_a_run_of_the_winning_recipe_makes_what_its_trial_trained_on(demo_folder, tmp_path, monkeypatch):
    pq.write_table(pq.read_table(demo_folder / "impressions.parquet").slice(0, 4000), tmp_path / "impressions.parquet")
    text = RECIPE.replace("masking = 0.5, gaussian = 0.5", "masking = 0.5, gan = 0.5, swaps = 0.5")
    text = text.replace("bank = 50", "bank = 50, steps = 5, rounds = 2")
    text = text.replace("\ngenerator", "\ngates = {{ band = [-2.0, 2.0] }}\ngenerator")
    recipe = parse(text.format(folder=tmp_path / "out", data=tmp_path), "small")
    aims = []
    original = Gan.__init__

    @wraps(original)
    def init(self, workshop, options):
        aims.append((workshop.band, options.strength))
        original(self, workshop, options)

    monkeypatch.setattr(Gan, "__init__", init)
    (tmp_path / "work").mkdir()
    job = Job(space.widened(recipe, "ctr"), "ctr", "cpu")
    material = read(job, tmp_path / "work")
    victim = job.make(job.seeds[0]).fit(material.arena.train, material.arena.valid)
    pools = Pools(job, Studio(job.order, material.real, victim, tmp_path / "work"), strengths=(0.5,))
    assert {len(pool) for pool in pools._tables.values()} == {400}

    alone = Choice({"masking": 1.0, "gan": 0.0, "swaps": 0.0})
    assert pools.made(alone) == {"masking": 400}
    assert pools.made(Choice({"masking": 1.0}, size=0.5)) == {"masking": 200}
    choice = Choice({"masking": 1.0, "gan": 0.5, "swaps": 0.0}, {"gan": 0.5}, 0.5, 0.25, (-0.5, 1.5), 0.7)
    best = trial(0, 0.8, 0.5, made=pools.made(choice), **vars(choice))
    assert Counter(pools.mix(choice)["strategy"].to_pylist()) == best.made
    plain = trial(0, 0.8, 0.1)
    out = tmp_path / "found.toml"
    write(recipe, [winner.Found("ctr", [plain], [best], plain, best)], out)
    won = load(str(out))
    made = single.generate_only(won, "ctr", tmp_path / "shards", device="cpu")
    assert {name: s["kept"] for name, s in made["strategies"].items()} == best.made
    assert aims == [((-2.0, 2.0), 0.5)] * 2
    samples = pa.concat_tables(map(pq.read_table, (tmp_path / "shards").glob("*.parquet")))
    assert set(samples["weight"].to_pylist()) == {0.25}
    assert min(samples["label_agreement"].to_pylist()) >= 0.7
    easiest, hardest = margins_to_losses(choice.band)
    hardness = samples["hardness"].to_numpy()
    assert (hardness >= easiest - 1e-6).all()
    assert (hardness <= hardest + 1e-6).all()


def test_a_choice_filters_weighs_and_counts():
    class Studio:
        def refiltered(self, samples, share):
            return samples

    class Job:
        class task:
            samples = 8

    pools = Pools.__new__(Pools)
    pools._job, pools._studio = Job, Studio()
    pool = pa.table({"hardness": [0.1, 0.7, 0.7, 9.0], "label_agreement": [1.0, 1.0, 0.6, 1.0],
                     "weight": [1.0] * 4, "row": [0, 1, 2, 3], "teacher_spread": [None] * 4})  # fmt: skip
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
    found = trials.study(tmp_path / "log", "portfolio", 2, None, 0, lambda trial: Choice(), lambda choice: None, {})
    assert found == []


def test_a_study_of_which_nothing_could_be_measured_is_one_line(tmp_path):
    nothing = dict.fromkeys(space.OBJECTIVES, float("nan"))
    with pytest.raises(BadInput, match="search, plain: no trial could be measured"):
        trials.study(tmp_path / "log", "plain", 2, None, 0, lambda trial: Choice(), lambda choice: nothing, {})


def test_a_study_that_was_stopped_amid_the_recipes_own_settings_tries_them_again(tmp_path):
    tried = []

    def fit(choice):
        tried.append(choice.weight)
        if len(tried) == 1:
            raise KeyboardInterrupt
        return dict.fromkeys(space.OBJECTIVES, 0.5)

    def go():
        def suggest(trial):
            return Choice(weight=trial.suggest_float("weight", 0.1, 1.0))

        return trials.study(tmp_path / "log", "portfolio", 2, None, 0, suggest, fit, {"weight": 0.75})

    with pytest.raises(KeyboardInterrupt):
        go()
    assert len(go()) == len(go()) == 2
    assert tried[:2] == [0.75, 0.75]
    assert len(tried) == 3
