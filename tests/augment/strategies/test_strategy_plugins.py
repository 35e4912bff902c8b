"""A strategy of somebody else: a file dropped into the folder, or an entry point of another package."""

import json
import sys
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import augment.strategies as folder
from augment.base.errors import UsageError
from augment.cli import cli
from augment.contracts import registry
from augment.contracts.strategy import build, check, listing, strategies, strategy_class
from augment.recipes import loading
from augment.runs import single

CODE = """
import numpy as np
from pydantic import Field

from augment.contracts.modality import Classes
from augment.contracts.options import BaseOptions
from augment.contracts.strategy import Strategy


class Jitter(Strategy):
    name = "jitter"
    what = "a little noise on the embedding"
    needs = Classes

    class Options(BaseOptions):
        size: float = Field(0.1, gt=0, le=2, description="Standard deviation of the noise.")

    @classmethod
    def missing(cls, options, modality):
        return "apt install noise" if options.size == 2 else ""

    def propose(self, anchors, rng):
        x = self.workshop.anchors.embedding[anchors]
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(self.options.size)
        return self.workshop.candidates(anchors, x + noise, rng)
"""
RECIPE = """
name = "small"
output = "{folder}/out"
[sources.rows]
path = "{folder}/rows.parquet"
columns = {{ label = "label", fields = ["colour", "size"] }}
[tasks.ctr]
consumer = "ctr"
source = "rows"
options = {{ model = "logistic", epochs = 1, weight_decay = 0.1 }}
samples = 20
strategies = {{ jitter = 1 }}
strategy_options = {{ jitter = {{ {option} }} }}
gates = {{ band = [-9.0, 9.0], min_plausibility = 0.0, min_label_agreement = 0.0, min_novelty = 0.0 }}
generator = {{ bank = 20, variants = 2 }}
verdict = {{ clean = ["auc"], improve = ["auc_masked"] }}
"""


@pytest.fixture
def dropped_in(tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "jitter.py").write_text(CODE, "utf-8")
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path / "plugins")])
    registry._ours.cache_clear()
    yield
    registry._ours.cache_clear()
    sys.modules.pop("augment.strategies.jitter", None)


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """A function that registers `name = value`; the module `their_jitter` can be imported."""
    (tmp_path / "their_jitter.py").write_text(CODE, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    points, real = [], registry.entry_points

    def entry_points(**wanted):
        return EntryPoints([*real(**wanted), *EntryPoints(points).select(**wanted)])

    monkeypatch.setattr(registry, "entry_points", entry_points)
    yield lambda name, value: points.append(EntryPoint(name, value, "sparring.strategies"))
    sys.modules.pop("their_jitter", None)


@pytest.fixture(params=["file", "entry point"])
def jitter(request):
    if request.param == "file":
        request.getfixturevalue("dropped_in")
    else:
        request.getfixturevalue("registered")("jitter", "their_jitter:Jitter")


def recipe_of(tmp_path, option="size = 0.5"):
    rng = np.random.default_rng(0)
    rows = {name: rng.choice(list(values), 200) for name, values in {"colour": "abcdef", "size": "uvwxyz"}.items()}
    label = (rows["colour"] < "d").astype(int)
    pq.write_table(pa.table(rows | {"label": label}), tmp_path / "rows.parquet")
    return loading.parse(RECIPE.format(folder=tmp_path, option=option), "small.toml")


@pytest.mark.usefixtures("jitter")
def test_it_makes_samples_of_a_recipe_and_its_mistakes_are_said_before_any_work(tmp_path):
    made = single.generate_only(recipe_of(tmp_path), "ctr", tmp_path / "made", device="cpu")
    assert made["rows"] > 0
    assert set(pq.read_table(next((tmp_path / "made").glob("*.parquet")))["strategy"].to_pylist()) == {"jitter"}
    for option, said in [
        ("size = 3", "tasks.ctr.strategy_options.jitter: size = 3 must be above 0 and at most 2"),
        ("sise = 1", "tasks.ctr.strategy_options.jitter: unknown option 'sise'; did you mean 'size'?"),
        ("size = 2", "tasks.ctr: strategy 'jitter' is not available here: apt install noise"),
    ]:
        with pytest.raises(UsageError) as error:
            single.generate_only(recipe_of(tmp_path, option), "ctr", tmp_path / "more", device="cpu")
        assert str(error.value) == said


@pytest.mark.usefixtures("jitter")
def test_it_is_listed_explained_and_suggested():
    listed = {s["name"]: s for s in json.loads(CliRunner().invoke(cli, ["strategies", "--json"]).stdout)}
    assert listed["jitter"] == {"name": "jitter", "what": "a little noise on the embedding",
                                "serves": ["clips", "fields", "images", "text"], "options": {"size": 0.1},
                                "prose": {"size": "Standard deviation of the noise."},
                                "available": True, "missing": ""}  # fmt: skip
    assert "size=0.1: Standard deviation of the noise." in CliRunner().invoke(cli, ["strategies"]).stdout
    explained = CliRunner().invoke(cli, ["init", "--explain"]).stdout
    assert "[tasks.NAME.strategy_options.jitter]" in explained
    assert "size: Standard deviation of the noise. Default: 0.1." in explained
    with pytest.raises(UsageError, match="unknown strategy 'jiter'; did you mean 'jitter'"):
        check("jiter", "text", {}, "tasks.a")
    with pytest.raises(UsageError, match="'jitter' serves clips, fields, images and text, not behaviour"):
        check("jitter", "behaviour", {}, "tasks.a")


def test_another_packages_name_never_replaces_ours(registered):
    ours = strategy_class("gan")
    registered("gan", "their_jitter:Jitter")
    assert strategies()["gan"] is strategy_class("gan") is ours


def test_a_package_that_cannot_be_loaded_is_named_and_stops_nobody_else(registered):
    registered("broken", "no_such_module:Thing")
    check("pgd", "text", {}, "tasks.a")
    for use in (lambda: check("broken", "text", {}, "tasks.a"), listing):
        with pytest.raises(
            UsageError, match=r"sparring.strategies: 'broken' \(no_such_module:Thing\) cannot be loaded"
        ):
            use()


def test_what_is_registered_must_be_a_strategy(registered):
    registered("numbers", "numpy:array")
    with pytest.raises(UsageError, match=r"'numbers' is no class derived from augment.contracts.strategy.Strategy"):
        build("numbers", None, {})


def test_an_option_that_must_be_given_is_listed_without_a_default(registered, tmp_path):
    code = CODE.replace("Field(0.1, gt", "Field(gt")
    (tmp_path / "their_jitter.py").write_text(code, "utf-8")
    registered("jitter", "their_jitter:Jitter")
    assert next(s for s in listing() if s["name"] == "jitter")["options"] == {"size": None}
    with pytest.raises(UsageError, match=r"tasks.a.strategy_options.jitter: 'size' must be given"):
        check("jitter", "text", {}, "tasks.a")
    check("jitter", "text", {"size": 1}, "tasks.a")
