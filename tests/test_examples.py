"""Every example of a plug-in runs, keeps what its kind promises, and works in a recipe: nothing of ours knows it."""

import os
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augment.contracts.check import checks_of
from augment.contracts.registry import modality_class
from augment.contracts.strategy import listing
from augment.recipes import loading
from augment.runs import run as pipeline
from augment.testing import checks, consumers, data, engines, maps, modalities, sources, strategies, teachers
from augment.testing.promises import registered
from augment.testing.shop import usual

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "scripts" / "examples").glob("*.py"))


def loaded(name):
    spec = spec_from_file_location(f"example_{name}", ROOT / "scripts" / "examples" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


strategy, consumer, modality, source, check, engine, teacher, content_map = map(
    loaded, ("strategy", "consumer", "modality", "source", "check", "engine", "teacher", "map")
)


def orders():
    rng = np.random.default_rng(0)
    price, items, hour = rng.gamma(2, 20, 300).round(2), rng.integers(1, 9, 300), rng.integers(0, 24, 300)
    fraud = (price / 20 + items + rng.standard_normal(300) > 6).astype(np.float32)
    numbers = {"price": price.astype(str), "items": items.astype(str), "hour": hour.astype(str)}
    return pa.table({"row_id": [f"r{n}" for n in range(300)], **numbers, "label": fraud})


engine.Polite.busy = np.inf  # or tests would wait for each other

TestStrategy = strategies.suite(strategy.Shouting)
TestConsumer = consumers.suite(consumer.Centroid)
TestModality = modalities.suite(modality.Numbers, orders())
TestSource = sources.suite(source.Archive, source.export)
TestCheck = checks.suite(check.many_rows, bad={"day_rows": 1000})
TestTeacher = teachers.suite(teacher.Alike, shop=usual(modality_class("fields")))
TestMap = maps.suite(content_map.Nearest)
TestEngine = engines.suite(engine.Polite)


def test_strategies_of_ours_serve_the_modality_of_another():
    """Those that need a class label, and no texts."""
    served = strategies_for(modality.Numbers)
    assert {"gan", "gaussian", "pgd", "mixup", "noise", "self-training", "misread", "mix-up"} <= served
    assert not served & {"synonym", "dns", "typos"}


def strategies_for(kind):
    with registered("modalities", kind):
        return {one["name"] for one in listing() if kind.name in one["serves"]}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_and_is_short(path):
    assert len(path.read_text("utf-8").splitlines()) < 60
    assert "Entry point" in path.read_text("utf-8")
    where = {**os.environ, "PYTHONPATH": str(ROOT), "POLITE_LOAD": "1e9"}
    ran = subprocess.run([sys.executable, path], env=where, check=False, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout) > 20


def test_a_kind_that_has_plug_ins_has_an_example():
    assert [path.stem for path in PATHS] == [
        "check",
        "consumer",
        "engine",
        "map",
        "modality",
        "source",
        "strategy",
        "teacher",
    ]


RECIPE = """
name = "strangers"
engine = "polite"
output = "{folder}/out"
[sources.reviews]
path = "archive://{folder}/orders.zip"
columns = {{ id = "row_id", text = "text", label = "label" }}
[tasks.reviews]
consumer = "centroid"
source = "reviews"
options = {{ scale = 5.0 }}
encoder = "trigrams"
samples = 20
strategies = {{ shouting = 1 }}
gates = {{ band = [-9.0, 9.0], min_plausibility = 0.0, min_label_agreement = 0.0 }}
generator = {{ bank = 20, variants = 2 }}
verdict = {{ seeds = 1, draws = 100, clean = ["auc"], improve = ["logloss"] }}
[nightly]
checks = {{ many_rows = {{ limit = 3.0 }} }}
"""


def test_a_recipe_names_them_all(tmp_path, monkeypatch):
    source.export(tmp_path, data.rows())
    monkeypatch.setattr("augment.contracts.modality.text_encoder", lambda *given: data.trigrams(()))
    known = {"engines": engine.Polite, "sources": source.Archive, "consumers": consumer.Centroid,
             "strategies": strategy.Shouting, "checks": check.many_rows}  # fmt: skip
    with ExitStack() as stack:
        for kind, plug_in in known.items():
            stack.enter_context(registered(kind, plug_in))
        recipe = loading.parse(RECIPE.format(folder=tmp_path), "strangers.toml")
        assert checks_of(recipe.nightly.checks)["many_rows"].limit == 3.0
        result = pipeline.run(recipe, device="cpu").as_json()["tasks"]["reviews"]
    assert result["strategies"]["shouting"]["kept"] == 20
    assert set(result["verdict"]) >= {"auc", "logloss"}
