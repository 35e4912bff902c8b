"""What the README shows works: its commands are run one after another, its code too, on a small cut of the demo."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from augment import cli
from augment.recipes import loading
from augment.runs import version
from augment.sources import demo
from augment.testing.data import picture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / ".github").glob("*.md"))]
SHELL = ("bash scripts/", "source ", "pip ", "python scripts/")  # CI, and tests of their own, run these


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text):
    """Each line of the shell blocks as words, but for scripts and what only readies a shell."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines() if not line.startswith(SHELL)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_it_is_short():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_scripts_are_there(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [name for name in re.findall(r"scripts/[\w/]+\.\w+", text) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_every_page_is_one(page):
    """As far as options and arguments go: those that are run are below."""
    for words in commands(page.read_text("utf-8")):
        assert words[0] == "sparring", words
        command = cli.cli.commands[words[1]]
        command.make_context(words[1], words[2:], resilient_parsing=False)


@pytest.fixture
def small_demo(demo_folder, tmp_path, monkeypatch):
    """The demo with fewer rows, samples, seeds and trees, whose versions are published, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    for name, rows in (("impressions", 4000), ("reviews", 1200)):
        few = pq.read_table(demo_folder / f"{name}.parquet").slice(0, rows)
        pq.write_table(few, tmp_path / "small" / f"{name}.parquet")
    shutil.copytree(demo_folder, tmp_path / "sparring-data")
    load, judge = loading.load, version.judge

    def cut(name):
        recipe = load(name)
        if name == "demo-images":
            return of_drawn_pictures(recipe)
        sources = {
            name: recipe.sources[name].model_copy(update={"path": f"small/{name}.parquet", "test_rows": 200})
            for name in ("impressions", "reviews")
        }
        changed = {"samples": 60, "verdict": None, "options": {}, "generator": None}
        tasks = {}
        for name in ("ctr", "reviews"):
            task = recipe.tasks[name]
            changed["verdict"] = task.verdict.model_copy(update={"seeds": 1, "draws": 100})
            changed["generator"] = task.generator.model_copy(update={"steps": 5, "bank": 20})
            changed["options"] = {"epochs": 1} if name == "ctr" else {"variants": 1}
            tasks[name] = task.model_copy(update=changed)
        return recipe.model_copy(update={"sources": sources, "tasks": tasks})

    def there(folder, names, **said):
        return fetch(folder, [name for name in names if name != "pictures"], **said)

    fetch = demo.fetch
    monkeypatch.setattr(demo, "fetch", there)
    monkeypatch.setattr(loading, "load", cut)
    monkeypatch.setattr(version, "judge", lambda *given: replace(judge(*given), accepted=True))
    return tmp_path


def of_drawn_pictures(recipe):
    """Eight pictures of each kind, drawn here, in place of the demo's 4,000."""
    source, task = recipe.sources["pictures"], recipe.tasks["pictures"]
    kinds = source.classes * 8
    drawn = [picture(n % 2 == 0, n) for n in range(len(kinds))]
    rows = pa.table({"picture_id": list(map(str, range(len(kinds)))), "image": drawn, "kind": kinds})
    pq.write_table(rows, "small/pictures.parquet")
    whole = {"path": "small/pictures.parquet", "labelled": None, "unlabelled": None}
    changed = {
        "samples": 10,
        "weights": [1.0],
        "options": {"attacked_rows": 4, "C": 3.0},
        "verdict": task.verdict.model_copy(update={"seeds": 1, "draws": 100}),
        "generator": task.generator.model_copy(update={"steps": 5, "bank": 10}),
        "gates": task.gates.model_copy(update={"min_plausibility": 0.0, "min_label_agreement": 0.0}),
    }
    return recipe.model_copy(
        update={
            "sources": {"pictures": source.model_copy(update=whole)},
            "tasks": {"pictures": task.model_copy(update=changed)},
        }
    )


@pytest.mark.slow
def test_its_commands_and_its_code_run(small_demo):
    for words in commands(README):
        result = CliRunner().invoke(cli.cli, words[1:], catch_exceptions=False)
        assert result.exit_code == 0 or words[1] == "doctor", (words, result.output)
    assert (small_demo / "found.toml").exists()
    for block in blocks(README, "python"):
        names = {}
        exec(block, names)
        assert len(names["mix"].to_pandas()) == 60
        assert next(iter(names["stream"]))
