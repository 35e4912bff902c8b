"""Sources, checks and engines of another package: found by its entry points, and nothing of ours is edited."""

import sys
import time
from datetime import date
from importlib import import_module

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import behaviour, prepared, source
from nights import day, nightly_recipe, rows_of, write

from augment.base.errors import BadInput, UsageError
from augment.contracts import registry
from augment.contracts.check import checks_of, explain
from augment.contracts.registry import source_kind
from augment.contracts.values import Arena
from augment.judging.arms import fit_seeds, for_seeds, strongest_baseline
from augment.nights.night import night
from augment.nights.window import ledger_of, windowed_job
from augment.recipes.schema import Limit
from augment.runs import run as pipeline
from augment.sources.ledger import Ledger
from augment.sources.prepare import fingerprint, prepare

SOURCE = '''
from contextlib import contextmanager
from glob import glob
from pydantic import Field
import pyarrow.parquet as pq
from augment.base.errors import BadInput
from augment.contracts.options import BaseOptions
from augment.sources.streamed import Streamed

asked = []  # the days since which rows were asked for

class Lake(Streamed):
    """Whatever Parquet files lie in a folder."""

    name = "lake"

    class Options(BaseOptions):
        most: int = Field(9, ge=1, description="Files that are read.")

    @contextmanager
    def batches(self, source, since=None):
        asked.append(since)
        files = sorted(glob(source.path.removeprefix("lake://") + "/*.parquet"))[: self.options(source).most]
        if not files:
            raise BadInput(f"{source.path}: the lake is dry")
        yield pq.read_table(files).to_reader(100)
'''
CHECK = """
from augment.contracts.check import check

@check("strange_rows", limit=0.5, what="share of rows that the shop finds strange")
def strange(night):
    return 0.75 if night.day_rows == 500 and set(night.counts) == {"train", "valid", "test"} else 0.0
"""
ENGINE = """
from concurrent.futures import ThreadPoolExecutor

mapped = []  # how many items each piece of work was done for

class Pool:
    name = "pool"
    workers = 3

    def map(self, work, items):
        items = list(items)
        mapped.append(len(items))
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(work, items)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with entry points on the path; its module."""

    def installed(name, kind, plug_in, text):
        folder, module = tmp_path / f"site-{name}", f"other_{name}"
        about = folder / f"{module}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", "utf-8")
        (about / "entry_points.txt").write_text(f"[sparring.{kind}]\n{name} = {module}:{plug_in}\n", "utf-8")
        (folder / f"{module}.py").write_text(text, "utf-8")
        monkeypatch.syspath_prepend(folder)
        return import_module(module)

    yield installed
    for name in ("lake", "strange_rows", "pool"):
        sys.modules.pop(f"other_{name}", None)


# -- a source --------------------------------------------------------------------------------------


def test_a_source_of_another_package_is_read_as_a_file_is(install, tmp_path):
    install("lake", "sources", "Lake", SOURCE)
    _, expected = prepared(tmp_path, behaviour())
    read = source(f"lake://{tmp_path}")
    splits = prepare("logs", read, "behaviour", tmp_path / "again", seed=1)
    assert {name: pq.read_table(getattr(splits, name)) for name in expected} == expected
    before = fingerprint(read)
    assert list(before) == [read.path]
    pq.write_table(behaviour(200), tmp_path / "logs.parquet")
    assert fingerprint(read) != before


def test_its_options_are_its_own(install, tmp_path):
    install("lake", "sources", "Lake", SOURCE)
    for number in range(2):
        pq.write_table(behaviour(200), tmp_path / f"{number}.parquet")
    every, one = (fingerprint(source(f"lake://{tmp_path}", options=options)) for options in ({}, {"most": 1}))
    assert every != one
    with pytest.raises(UsageError, match=r"sources.NAME.options: unknown option 'mots'.*most"):
        fingerprint(source(f"lake://{tmp_path}", options={"mots": 1}))
    pq.write_table(behaviour(), tmp_path / "logs.parquet")
    files = source(tmp_path / "logs.parquet", options={"most": 1})
    with pytest.raises(UsageError, match=r"sources.logs.options: unknown option 'most'"):
        source_kind(files).options(files, "sources.logs.options")
    assert "options" not in source("a.csv").model_dump()


def test_nights_read_the_last_days_of_it_again(install, tmp_path, impressions):
    asked = install("lake", "sources", "Lake", SOURCE).asked
    columns = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
    ledger = Ledger(tmp_path / "ledger", "logs", source(f"lake://{tmp_path}/raw", columns=columns))
    with pytest.raises(BadInput, match="the lake is dry"):
        ledger.take_in(day(2), 1, False)
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
    assert ledger.take_in(day(2), 1, False).days == {str(day(n)): 500 for n in range(3)}
    pq.write_table(rows_of(impressions, 0).slice(0, 40), tmp_path / "raw" / "too-late.parquet")
    pq.write_table(rows_of(impressions, 2).slice(0, 40), tmp_path / "raw" / "late.parquet")
    write(tmp_path / "raw", impressions, 3)
    taken = ledger.take_in(day(3), 1, False)
    assert asked[-2:] == [None, day(2)]
    assert taken.days == {str(day(2)): 540, str(day(3)): 500}
    assert [ledger.day_rows(day(n)) for n in range(4)] == [500, 500, 540, 500]
    assert len(ledger.window(date.min, date.max)) == 4


def test_a_source_of_a_kind_that_is_not_installed_is_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="no file at lake://somewhere"):
        fingerprint(source("lake://somewhere"))


def test_a_package_that_cannot_be_loaded_stops_what_asks_for_it_alone(install, tmp_path):
    with pytest.raises(ZeroDivisionError):
        install("lake", "sources", "Lake", "1 / 0")
    with pytest.raises(UsageError, match=r"sparring.sources: 'lake' .* cannot be loaded: division by zero"):
        fingerprint(source("lake://somewhere"))
    pq.write_table(behaviour(), tmp_path / "logs.parquet")
    assert fingerprint(source(tmp_path / "logs.parquet"))


# -- a check ---------------------------------------------------------------------------------------


def test_a_check_of_another_package_has_its_limit_and_severity_from_the_recipe(install, tmp_path):
    ours = checks_of({})
    install("strange_rows", "checks", "strange", CHECK)
    own = checks_of({})
    assert list(own) == [*ours, "strange_rows"]
    assert (own["strange_rows"].limit, own["strange_rows"].severity) == (0.5, "warn")
    assert "strange_rows: share of rows that the shop finds strange; at most 0.5" in explain()
    held = checks_of({"strange_rows": Limit(severity="error")})["strange_rows"]
    assert (held.limit, held.severity) == (0.5, "error")
    assert held.failure(0.75, "a full moon")["reason"] == (
        "strange_rows: share of rows that the shop finds strange: 0.75 (a full moon), above "
        'nightly.checks.strange_rows.limit = 0.5 by 0.25; limit = 0.75, or severity = "warn" lets it through'
    )
    with pytest.raises(UsageError, match="unknown check 'strange_row'; did you mean 'strange_rows'"):
        checks_of({"strange_row": Limit(limit=1.0)})


def test_a_check_keeps_its_own_limit_where_a_recipe_gives_the_severity_alone():
    checks = checks_of({"poison": Limit(limit=0.5), "drift": Limit(severity="off")})
    assert (checks["poison"].limit, checks["poison"].severity) == (0.5, "error")
    assert checks["drift"].limit == checks_of({})["drift"].limit
    assert checks["drift"].failure(9.0, "") is None


@pytest.mark.usefixtures("accepted")
def test_a_night_from_another_packages_source_is_held_to_its_check_on_its_engine(install, impressions, tmp_path):
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
    install("lake", "sources", "Lake", SOURCE)
    plain = nightly_recipe(
        tmp_path / "raw", tmp_path / "out", **{f"{tmp_path}/raw/*.parquet": f"lake://{tmp_path}/raw"}
    )
    first = night(plain, as_of=day(2), device="cpu").as_json()["tasks"]["ctr"]
    assert first["status"] == "published"

    install("strange_rows", "checks", "strange", CHECK)
    pool = install("pool", "engines", "Pool", ENGINE)
    pool.Pool.workers = 1  # clicks set torch's global seed for a moment
    strict = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{
        f"{tmp_path}/raw/*.parquet": f"lake://{tmp_path}/raw",
        'name = "nights"': 'name = "nights"\nengine = "pool"',
        "refit_drift = 1.0": 'refit_drift = 1.0\nchecks = { strange_rows = { severity = "error" } }',
    })  # fmt: skip
    second = night(strict, as_of=day(2), device="cpu").as_json()["tasks"]["ctr"]
    assert second["status"] == "rejected"
    assert "checks failed: strange_rows: share of rows that the shop finds strange: 0.75" in second["reason"]
    assert second["night"]["figures"]["strange_rows"] == 0.75
    assert second["verdict"]["auc"]["real"] == first["verdict"]["auc"]["real"]
    assert len(pool.mapped) >= 3  # real rows, the mix, plain models


def test_the_digest_of_a_night_is_of_its_checks_and_not_of_its_engine(install, shop):
    night_of = {"few_rows": 0.3, "bad_rows": 0.02, "drift": 0.25, "poison": 0.05, "alarms": 0.0, "kept_share": 0.05}
    ledger_of(shop, "impressions").take_in(day(2), 2, False)
    plain = windowed_job(shop, "ctr", day(2), "cpu")
    assert plain.night["checks"] == {
        name: {"limit": limit, "severity": "error" if name == "poison" else "warn"} for name, limit in night_of.items()
    }
    install("pool", "engines", "Pool", ENGINE)
    assert windowed_job(shop.model_copy(update={"engine": "pool"}), "ctr", day(2), "cpu").digest == plain.digest
    install("strange_rows", "checks", "strange", CHECK)
    assert windowed_job(shop, "ctr", day(2), "cpu").digest != plain.digest


@pytest.mark.parametrize("start", [night, pipeline.run])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({'name = "nights"': 'name = "nights"\nengine = "inlin"'}, "no engine is registered as 'inlin'.*mean 'inline'"),
        ({"refit_drift = 1.0": "checks = { drif = { limit = 1 } }"}, "unknown check 'drif'; did you mean 'drift'"),
    ],
)
def test_an_unknown_name_is_said_before_anything_is_read(tmp_path, start, change, said):
    with pytest.raises(UsageError, match=said):
        start(nightly_recipe(tmp_path / "nowhere", tmp_path / "out", **change), device="cpu")


# -- an engine -------------------------------------------------------------------------------------


class Slow:
    """A model whose training takes the longer, the smaller its seed is."""

    metrics = {"clean": ("score",)}  # noqa: RUF012

    def __init__(self, seed=0, level=0.0):
        self.seed, self.level = seed, level

    def fit(self, train, valid, mix=None):
        time.sleep(0.02 * (4 - self.seed))
        self.fitted_ = (self.seed, self.level, mix)
        return self

    def evaluate(self, test, attacked):
        return {"score": type("Score", (), {"better_is": "higher", "value": lambda _: self.level})()}

    @classmethod
    def baselines(cls, seed, device):
        return {name: cls(seed, level) for name, level in (("weak", -1.0), ("strong", 2.0), ("fair", 1.0))}


def test_an_engine_of_another_package_gives_the_same_models_in_order(install):
    install("pool", "engines", "Pool", ENGINE)
    rows = pa.table({"x": [0]})
    arena = Arena(rows, rows, rows, lambda rows, without: {})
    results = []
    for name in ("inline", "pool"):
        mapped = registry.engine(name).map
        trained = fit_seeds(Slow, [1, 2, 3], arena, None, mapped)
        best, plain = strongest_baseline(Slow, [1, 2, 3], arena, "cpu", mapped)
        results.append(([m.fitted_ for m in trained], best, [m.fitted_ for m in plain]))
    assert results[0] == results[1]
    assert [seed for seed, *_ in results[1][0]] == [1, 2, 3]
    assert results[1][1] == "strong"


@pytest.mark.parametrize("name", ["inline", "pool"])
def test_an_error_of_the_work_is_the_users(install, name):
    install("pool", "engines", "Pool", ENGINE)

    def refuse(seed):
        raise BadInput(f"seed {seed}: no rows")

    with pytest.raises(BadInput, match="seed 1: no rows"):
        for_seeds(Slow, [1, 2], refuse, registry.engine(name).map)


def test_the_plain_engine_does_no_work_that_nobody_takes():
    done = []
    results = registry.engine("inline").map(lambda item: done.append(item) or item, [1, 2, 3])
    assert next(results) == 1
    assert done == [1]
