"""The output folder: any name that Delta can read back, and one recipe's alone."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from nights import day, nightly_recipe, write
from published import RUNS, publish, reject
from ran import night, run

from augment.base.errors import NotOurs, UsageError
from augment.cli.tables import gc, ls, rollback, show, verify
from augment.publishing import replica
from augment.publishing.dataset import Dataset
from augment.publishing.lock import OWNER, locked
from augment.recipes import loading
from augment.runs import single
from consumers import open_mix

GOOD = ["a*b", "[2026]", "{x}", "100%", "a b", 'it\'s "q"', "a:b", "file:x", "~", "товары", "商品", "ราคา", "e\u0301😀"]
BAD = ["c#", "a?", "50%20x", "a\\b", "a\nb", "tab\t"]


def files_of(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_a_table_in_a_folder_of_any_name_is_published_read_and_looked_after(tmp_path, name):
    output = tmp_path / name
    dataset = Dataset(output / "sentiment")
    for digest in RUNS[:3]:
        publish(dataset, digest)
    reject(dataset, RUNS[3])
    table = str(dataset.root)
    whole = str(output)
    for command, *arguments in ((ls, whole), (show, table, "--json"), (verify, whole), (rollback, table, "0"),
                                (gc, whole, "--keep-last", "1"), (verify, table)):  # fmt: skip
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing went to a folder of another name
    mix = open_mix(output, "sentiment")
    assert (mix.version, mix.manifest.run, mix.to_table().num_rows) == (3, RUNS[0], 5)
    assert len(replica._adds(DeltaTable(str(dataset.root.resolve())))) == 1  # what a replica copies


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_delta_would_not_find_again_is_refused_before_any_work(tmp_path, shop, name, monkeypatch):
    there = tmp_path / name
    wanted = shop.model_copy(update={"output": str(there / "shop")})
    for work in (
        lambda: run(wanted, device="cpu"),
        lambda: night(wanted, as_of=day(2), device="cpu"),
        lambda: Dataset(there / "ctr"),
    ):
        with pytest.raises(UsageError, match=r"no output here.*choose one"):
            work()
    assert not there.exists()
    there.mkdir()  # nor does a project in such a folder get half a table
    monkeypatch.chdir(there)
    with pytest.raises(UsageError, match="no output here"), locked(Path("out")):
        pass
    assert list(there.iterdir()) == []


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("name", ["[a] 50% *", 'it\'s "q" 商品:x'])
def test_runs_and_nights_work_in_odd_folders(tmp_path, impressions, name):
    """Every file of the way: scratch databases, splits, ledgers, fits, shards, quarantine, pages."""
    raw, output = tmp_path / "raw [x]*", tmp_path / name
    for number in range(3):
        write(raw, impressions, number)
    base = nightly_recipe(tmp_path / "unused", tmp_path / "unused")
    source = base.sources["impressions"].model_copy(update={"path": [f"{tmp_path}/raw [[]x[]][*]/*.parquet"]})
    wanted = base.model_copy(update={"output": str(output), "sources": {"impressions": source}})
    assert night(wanted, as_of=day(2), device="cpu")["tasks"]["ctr"]["version"] == 0
    write(raw, impressions, 3)
    assert night(wanted, as_of=day(3), device="cpu")["sources"]["impressions"]["rows"] == 500
    assert run(wanted, device="cpu")["status"] == "published"
    made = single.train(wanted, "ctr", output / "model #1?", device="cpu")
    assert made["samples"] == len(open_mix(output, "ctr"))
    assert Dataset(output / "ctr").verify() == []
    assert {path.name for path in tmp_path.iterdir()} == {raw.name, name}


# -- owners --------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A recipe as a file, loaded again."""

    def save(file, name="nights", raw="raw", **replaced):
        made = nightly_recipe(tmp_path / raw, tmp_path / "out", **replaced).model_dump(mode="json", exclude_none=True)
        import tomli_w

        (tmp_path / file).write_text(tomli_w.dumps({**made, "name": name}), "utf-8")
        return loading.load(str(tmp_path / file))

    return save


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize(
    "other",
    [
        {"file": "b.toml", "name": "others", "raw": "more"},  # as in a shop with two teams
        {"file": "b.toml", "name": "others"},  # even of the same rows
        {"file": "b.toml", "raw": "more"},  # a copy, with another path
        {"file": "b.toml", "[sources.impressions]": "[sources.views]", 'source = "impressions"': 'source = "views"'},
    ],
)
def test_a_second_recipe_is_refused_before_it_touches_anything(saved, impressions, tmp_path, other):
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
        write(tmp_path / "more", impressions, number + 3)
    night(saved("a.toml"), as_of=day(2), device="cpu")
    before = files_of(tmp_path / "out")
    second = saved(**other)
    told = tmp_path / "told.json"
    for work in (
        lambda: run(second, device="cpu"),
        lambda: single.train(second, "ctr", tmp_path / "model", device="cpu"),
        lambda: night(second, as_of=day(2), device="cpu", notify=f"tee {told}"),
    ):
        with pytest.raises(NotOurs, match=r"another recipe, 'nights' \(sources impressions, .*a\.toml\)") as refused:
            work()
        assert "\n" not in str(refused.value)
        assert refused.value.exit_code == 2
    assert "belongs to another recipe" in json.loads(told.read_text("utf-8"))["error"]
    assert {k: v for k, v in files_of(tmp_path / "out").items() if k != ".lock"} == {
        k: v for k, v in before.items() if k != ".lock"
    }
    assert night(saved("a.toml"), as_of=day(2), device="cpu")["status"] == "unchanged"


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize(
    "edited",
    [
        {"file": "a.toml", "epochs = 2": "epochs = 1", "[tasks.ctr]": "[tasks.clicks]"},
        {"file": "a.toml", "raw": "more"},  # its files have moved
        {"file": "moved.toml", "samples = 300": "samples = 200"},  # the file has
    ],
)
def test_the_same_recipe_goes_on_when_it_is_edited_or_moved(saved, impressions, tmp_path, edited):
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
        write(tmp_path / "more", impressions, number)
    night(saved("a.toml"), as_of=day(2), device="cpu")
    assert night(saved(**edited), as_of=day(2), device="cpu")["status"] in ("published", "unchanged")


def test_who_owns_a_folder_can_be_mended_by_hand(saved, tmp_path, impressions):
    write(tmp_path / "raw", impressions, 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / OWNER).write_text("{", "utf-8")
    with pytest.raises(UsageError, match=rf"{OWNER}: not what Sparring wrote .* delete it"):
        night(saved("a.toml"), as_of=day(0), device="cpu")
