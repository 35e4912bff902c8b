import numpy as np
import pyarrow as pa
import pytest

from augment.contracts.values import Arena
from augment.judging.arms import check_metrics, judge, strongest_baseline, tolerance_of
from augment.numeric.measures import Mean
from augment.recipes.schema import VerdictSettings
from augment.recipes.source import Columns
from consumers import ClickModel, Recommender, Sentiment


def settings(**given):
    return VerdictSettings(**{"seeds": 2, "draws": 100, "clean": ["score"], "improve": ["hard"], **given})


class Fake:
    """A consumer whose scores per test row are its option `level`."""

    modality = "fields"
    metrics = {"clean": ("score",), "robust": ("hard", "unseen")}  # noqa: RUF012
    rehearsed = ("hard",)

    def __init__(self, *, level=0.0, name="own", fancy=False, seed=0, device="cpu"):
        self.level, self.name, self.fancy, self.seed, self.device = level, name, fancy, seed, device

    def fit(self, train, valid, mix=None):
        return self

    def evaluate(self, test, attacked):
        values = self.level + 0.01 * np.random.default_rng(5).random(len(test))
        return {metric: Mean(values) for group in self.metrics.values() for metric in group}

    @classmethod
    def baselines(cls, seed, device):
        return {"weak": cls(level=-1.0, seed=seed), "strong": cls(level=0.5, name="bold", fancy=True, seed=seed)}


def arena(rows=50):
    table = pa.table({"row_id": [str(i) for i in range(rows)]})
    return Arena(table, table, table, lambda rows, without: {})


def judged(own, mix, plain, **given):
    return judge([own] * 2, [mix] * 2, ("plain", [plain] * 2), arena(), settings(**given), 0)


def test_each_consumer_has_a_tolerance_that_the_recipe_may_change():
    assert tolerance_of(ClickModel, settings()) == 0.002
    assert tolerance_of(Sentiment, settings()) == tolerance_of(Recommender, settings()) == 0.01
    assert tolerance_of(ClickModel, settings(tolerance=0.0)) == 0.0
    slightly = (Fake(level=1.0), Fake(level=0.996), Fake())
    assert "worse on clean" not in judged(*slightly).reason
    assert "worse on clean" in judged(*slightly, tolerance=0.002).reason


def test_a_stronger_plain_model_is_said_with_the_options_that_choose_it():
    strong = Fake(level=0.5, name="bold", fancy=True)
    advice = judged(Fake(), Fake(), strong).advice
    assert "plain is stronger than this consumer on real rows (score +0.5000)" in advice
    assert 'options = { level = 0.5, name = "bold", fancy = true }' in advice
    assert not judged(Fake(), Fake(), Fake()).advice
    assert not judged(strong, strong, Fake()).advice


def test_passing_the_test_that_was_practised_publishes_nothing():
    better = (Fake(), Fake(level=0.1), Fake())
    assert not judged(*better).accepted
    assert "attacks that samples are made of" in judged(*better).reason
    assert judged(*better, improve=["hard", "unseen"]).accepted


def test_a_recipe_that_could_publish_nothing_is_told_so_at_once(capsys):
    check_metrics(Fake, settings(improve=["hard", "unseen"]), "tasks.t")
    assert not capsys.readouterr().err
    check_metrics(Fake, settings(), "tasks.t")
    assert "name another, such as unseen" in capsys.readouterr().err


def test_validation_rows_that_tell_nothing_still_give_a_baseline():
    class Silent(Fake):
        def evaluate(self, test, attacked):
            return {"score": Mean(np.empty(0))}

    name, models = strongest_baseline(Silent, [0, 1], arena(), "cpu")
    assert name in ("weak", "strong")
    assert len(models) == 2
    assert strongest_baseline(Fake, [0], arena(), "cpu")[0] == "strong"


def counted():
    """A consumer that counts how often it is trained."""

    class Counted(Fake):
        fitted = 0

        def fit(self, train, valid, mix=None):
            type(self).fitted += 1
            return self

    return Counted


def test_a_plain_model_that_is_the_consumer_itself_is_not_trained_again():
    Counted = counted()
    own = [Counted(level=0.5, name="bold", fancy=True, seed=seed).fit(None, None) for seed in (0, 1)]
    name, models = strongest_baseline(Counted, [0, 1], arena(), "cpu", real=own)
    assert (name, models) == ("strong", own)
    assert Counted.fitted == 3  # both of its own, and the weak one once
    other = [Counted(level=0.5, name="bold", seed=seed) for seed in (0, 1)]  # not fancy
    assert not set(map(id, strongest_baseline(Counted, [0, 1], arena(), "cpu", real=other)[1])) & set(map(id, other))
    assert Counted.fitted == 6


def test_a_plain_model_that_a_teacher_trained_is_not_trained_again():
    Counted = counted()
    taught = Counted(level=0.5, name="bold", fancy=True)
    name, models = strongest_baseline(Counted, [0, 1], arena(), "cpu", plain=[taught])
    assert (name, models[0]) == ("strong", taught)
    assert models[1] is not taught  # of the first seed alone
    assert Counted.fitted == 2  # the weak one, and the strong one by the second seed


def test_a_model_of_two_arms_is_evaluated_once():
    class Counted(Fake):
        looked = 0

        def evaluate(self, test, attacked):
            type(self).looked += 1
            return super().evaluate(test, attacked)

    own = [Counted(seed=0), Counted(seed=1)]
    judge(own, [Counted(level=0.1)] * 2, ("plain", own), arena(), settings(), 0)
    assert Counted.looked == 3


def test_mutable_fields_are_among_those_that_are_read():
    assert Columns(label="y", fields=["device"], numbers=["age"], mutable=["age"]).mutable == ["age"]
    with pytest.raises(ValueError, match=r"'devic' is not among fields and numbers.*did you mean 'device'"):
        Columns(label="y", fields=["device"], mutable=["devic"])
    with pytest.raises(ValueError, match="'user' is not among"):
        Columns(label="y", user="user", fields=["device"], mutable=["user"])


def test_the_job_tells_clicks_which_fields_are_mutable(tmp_path):
    from augment.recipes.loading import parse
    from augment.runs.task import Job

    (tmp_path / "clicks.csv").write_text("u,click,device\na,1,app\nb,0,web\n")
    text = f"""
name = "r"
output = "{tmp_path}/out"
[sources.s]
path = "{tmp_path}/clicks.csv"
columns = {{ user = "u", label = "click", fields = ["device"]MUTABLE }}
[tasks.t]
consumer = "ctr"
source = "s"
samples = 10
strategies = {{ noise = 1.0 }}
verdict = {{ clean = ["auc"], improve = ["auc_renamed"] }}
"""
    named, free = (parse(text.replace("MUTABLE", m), "r") for m in (', mutable = ["device"]', ""))
    assert Job(named, "t", "cpu").make(0).mutable == ("device",)
    assert Job(free, "t", "cpu").make(0).mutable is None


def test_shipped_recipes_ask_for_a_gain_on_what_samples_are_not_made_to_pass():
    from augment.contracts.registry import consumer_class
    from augment.recipes.loading import load, shipped

    for name in shipped():
        for task in load(name).tasks.values():
            consumer = consumer_class(task.consumer)
            attacks = [f"_{attack}" for attack in getattr(consumer, "held_out_attacks", ())]
            held_out = {m for m in consumer.metrics["robust"] if m.removesuffix("_mean").endswith(tuple(attacks))}
            assert not attacks or held_out & set(task.verdict.improve), name
            check_metrics(consumer, task.verdict, name)
