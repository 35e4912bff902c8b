"""Each ranker has its own options, and a new ranker is one new thing, here or elsewhere."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pyarrow as pa
import pytest

import consumers.rankers
from augment.base.errors import BadInput, UsageError
from augment.contracts import registry
from augment.contracts.consumer import check_options, explained, options_of
from augment.contracts.options import described
from augment.judging import arms
from consumers import Recommender
from consumers.data import storage
from consumers.rankers import RANKERS, Rankers
from consumers.rankers.base import Recency

BACKWARDS = """
from pydantic import Field

from augment.contracts.options import BaseOptions
from consumers.rankers.base import Ranker


class Backwards(Ranker):
    name = "backwards"
    grid = (0.0,)

    class Options(BaseOptions):
        steps: int = Field(1, ge=1, description="How far back.")

    def fit(self, rows, l2s):
        for _ in l2s:
            yield {"place": -self.options.steps * rows.targets.sum(axis=0).A1}

    def scores(self, arrays, shown, users):
        return arrays["place"][None].repeat(len(users), axis=0)
"""


def log(seed=0):
    rng = np.random.default_rng(seed)
    rows = [(f"u{user}", f"i{item}") for user in range(12) for item in rng.permutation(9)[: 2 + user % 5]]
    users, items = (pa.array(column) for column in zip(*rows, strict=True))
    table = pa.table({"user_id": users, "item_id": items})
    return table.slice(0, len(table) - 8), table.slice(len(table) - 8)


def test_every_model_is_found_by_the_name_of_its_file():
    assert set(RANKERS) == {"ease", "mf", "lightgcn", "als", "blend", "neighbours", "transitions", "popular"}
    for name, ranker in RANKERS.items():
        assert (ranker.name, ranker.__module__) == (name, f"consumers.rankers.{name}")


@pytest.mark.parametrize("name", RANKERS)
def test_an_unknown_option_names_the_model_and_the_nearest(name):
    known = sorted([*RANKERS[name].Options.model_fields, *Recommender.Options.model_fields])
    nearest = known[-1]
    with pytest.raises(UsageError) as error:
        Recommender(model=name, **{f"{nearest}x": 1})
    assert str(error.value) == (
        f"recommender: unknown option '{nearest}x' of model '{name}'; did you mean '{nearest}'?"
    )


@pytest.mark.parametrize(
    ("settings", "option", "owners"),
    [
        ({"loss": "hinge"}, "loss", "lightgcn and mf"),
        ({"neighbours": 10}, "neighbours", "neighbours"),
        ({"model": "mf", "dropout": 0.2}, "dropout", "ease"),
        (
            {"model": "popular", "recency_floor": 0.1},
            "recency_floor",
            "als and blend and ease and lightgcn and mf and neighbours and transitions",
        ),
        ({"model": "transitions", "unobserved": 0.3}, "unobserved", "als"),
    ],
    ids=str,
)
def test_an_option_of_another_model_says_whose_it_is(settings, option, owners):
    model = settings.get("model", "ease")
    with pytest.raises(UsageError, match=rf"unknown option '{option}' of model '{model}' \(an option of {owners}\); "):
        Recommender(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "mf", "sampler": "dsn"}, "unknown sampler 'dsn'; did you mean 'dns'?"),
        ({"recency": -3.0}, "recency = -3.0 must be 0 up, or -1 to be tuned"),
        ({"recency_floor": 1.5}, "recency_floor = 1.5 must be 0 to 1, or -1 to be tuned"),
        ({"l2": -2}, "l2 = -2 must be 0 up, or -1 to be tuned"),
        ({"dropout": 1.0}, "dropout = 1.0 must be at least 0 and below 1"),
        ({"suspects": -0.1}, "suspects = -0.1 must be at least 0 and below 1"),
        ({"model": "mf", "temperature": 0.0}, "temperature = 0.0 must be above 0"),
        ({"model": "als", "dim": 8.5}, "dim = 8.5 must be a whole number"),
        ({"model": "neighbours", "neighbours": 0}, "neighbours = 0 must be at least 1"),
        ({"model": 3}, "model = 3 must be text"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_said_in_one_line(settings, said):
    with pytest.raises(UsageError) as error:
        Recommender(**settings)
    assert str(error.value) == f"recommender: {said}"


def test_the_values_of_options_are_those_of_the_recipe_or_the_defaults():
    model = Recommender(model="als", dim=8, seed=3)
    assert (model.model, model.dim, model.unobserved, model.recency, model.seed) == ("als", 8, 0.1, -1.0, 3)
    assert Recommender(**model.parameters()).parameters() == model.parameters()


def test_a_recipe_is_told_of_options_in_its_own_place():
    check_options(Recommender, {"model": "mf", "epochs": 2}, "tasks.shop.options")
    with pytest.raises(UsageError, match=r"tasks\.shop\.options: unknown option 'epochs' of model 'ease'"):
        check_options(Recommender, {"epochs": 2}, "tasks.shop.options")


def test_every_option_is_explained_where_it_is_declared():
    found = explained(Recommender)
    assert {when for when in found if when} == {f'model = "{name}"' for name in RANKERS}
    assert [option.name for option in found[""]] == ["model", "l2", "propensity", "suspects"]
    assert all(option.text.endswith(".") for options in found.values() for option in options)
    names = {option.name: option.default for option in options_of(Recommender, {"model": "als"})}
    assert names["unobserved"] == 0.1
    assert "dropout" not in names


def test_a_file_in_the_folder_is_a_ranker_without_an_edit(tmp_path, monkeypatch):
    (tmp_path / "backwards.py").write_text(BACKWARDS, "utf-8")
    monkeypatch.setattr(consumers.rankers, "__path__", [*consumers.rankers.__path__, str(tmp_path)])
    before = set(RANKERS)
    monkeypatch.delitem(vars(RANKERS), "_found")  # as in a new process
    try:
        assert set(RANKERS) == {*before, "backwards"}
        train, valid = log()
        model = Recommender(model="backwards", steps=2).fit(train, valid)
        rarest = model.items_[int(model.history_.getnnz(axis=0).argmin())].as_py()
        assert model.items_[int(model.predict(train.slice(0, 1))[0].argmax())].as_py() == rarest
        with pytest.raises(UsageError, match="steps = 0 must be at least 1"):
            Recommender(model="backwards", steps=0)
    finally:
        sys.modules.pop("consumers.rankers.backwards", None)


def installed(monkeypatch, value):
    points = EntryPoints([EntryPoint("backwards", value, "sparring.rankers")])
    monkeypatch.setattr(registry, "entry_points", points.select)
    return Rankers()


def test_a_ranker_of_another_package_comes_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "shop_rankers.py").write_text(BACKWARDS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = installed(monkeypatch, "shop_rankers:Backwards")
    assert described(found["backwards"].Options) == [("steps", 1, "How far back.")]


def test_an_entry_point_that_is_no_ranker_is_said(monkeypatch):
    with pytest.raises(UsageError, match=r"sparring\.rankers: 'backwards' \(no_such_module:X\) cannot be loaded"):
        len(installed(monkeypatch, "no_such_module:X"))
    with pytest.raises(UsageError, match="'backwards' is no class derived from"):
        len(installed(monkeypatch, "json:dumps"))


def test_a_model_saved_with_the_options_of_all_models_is_still_read(tmp_path):
    """Once every model was saved with them: those of others were idle."""
    train, valid = log()
    model = Recommender(l2=5.0, recency=0.0).fit(train, valid)
    model.save(tmp_path)
    arrays, settings = storage.load(tmp_path)
    idle = {"loss": "softmax", "epochs": 25, "unobserved": 0.1, "neighbours": 100}
    storage.save(tmp_path, arrays, {**settings, "parameters": {**settings["parameters"], **idle}})
    loaded = Recommender.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(train), model.predict(train))
    storage.save(tmp_path, arrays, {**settings, "parameters": {**settings["parameters"], "gone": 1}})
    with pytest.raises(BadInput, match=r"another version .*unknown option 'gone'"):
        Recommender.load(tmp_path)


def test_whose_scores_come_from_what_is_shown_have_a_recency():
    ages = {name for name, ranker in RANKERS.items() if ranker(ranker.Options()).ages}
    assert ages == {"ease", "als", "blend", "neighbours", "transitions"}
    assert all(issubclass(RANKERS[name].Options, Recency) for name in ages)
    assert {name for name in ("mf", "lightgcn") if RANKERS[name](RANKERS[name].Options(fold_in=1.0)).ages}


def test_a_recency_that_nothing_reads_is_refused():
    with pytest.raises(UsageError, match="'recency' and 'recency_floor' are read with a 'fold_in' above 0 only"):
        Recommender(model="mf", recency=3.0)
    assert Recommender(model="mf", fold_in=1.0, recency=3.0).options.recency == 3.0


def test_a_stronger_model_is_advised_by_the_options_that_make_it():
    plain = Recommender(model="mf", loss="bpr", seed=2)
    said = arms._advice(Recommender(dropout=0.1), "MF, BPR", plain, "ndcg@20 +0.1")
    assert said.endswith('(ndcg@20 +0.1): options = { loss = "bpr", model = "mf" }')
