import json
import os
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from augment import cli as module
from augment.base.errors import BadInput, Diverged, Locked, NoSpace, Refused, Unavailable, UsageError
from augment.cli import cli

COMMANDS = {"init", "doctor", "data", "run", "generate", "train", "evaluate", "ls", "show", "verify", "rollback", "gc"}
COMMANDS |= {"nightly", "search", "strategies", "teachers", "maps"}
RECIPE = """
name = "shop"
output = "out"
sources.logs = { path = "logs.parquet", columns = { user = "u", item = "i" } }
[tasks.rec]
consumer = "recommender"
source = "logs"
samples = 10
strategies = { noise = 1 }
verdict = { clean = ["ndcg@20"], improve = ["coverage"] }
"""


def sparring(*args, cwd=None, **env):
    command = [sys.executable, "-m", "augment", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, check=False)


def test_every_command_and_option_is_documented():
    assert set(cli.commands) == COMMANDS
    for name, command in cli.commands.items():
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (name, option.name)
            else:
                assert option.name.upper() in command.help or option.name in ("output",), (name, option.name)


def test_every_command_that_answers_can_answer_in_json():
    for name in COMMANDS:
        assert "as_json" in [p.name for p in cli.commands[name].params], name


def test_who_stops_reading_ends_the_command_without_a_word():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "augment", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_under_the_log_or_the_answer_is_told_by_the_code(tmp_path):
    for stream, args, code in (("stderr", ["ls", "nowhere"], 2), ("stdout", ["--help"], 7)):
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", "augment", *args]
            assert subprocess.run(command, cwd=tmp_path, **{stream: full}).returncode == code


def test_help_answers_at_once():
    sparring("--help")  # the first import writes bytecode
    times, bare = [], []
    for _ in range(3):
        start = time.perf_counter()
        assert sparring("--help").returncode == 0
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import click"], check=True)
        bare.append(time.perf_counter() - start)
    assert min(times) < max(0.5, 6 * min(bare))  # a busy machine slows both


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError, 2),
        (Refused, 3),
        (Locked, 4),
        (BadInput, 5),
        (Diverged, 6),
        (NoSpace, 7),
        (Unavailable, 8),
        (KeyboardInterrupt, 130),
        (ValueError, 1),
    ],
)
def test_each_error_is_one_line_with_its_code(error, code, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise error("this is wrong;\n mend it")

    monkeypatch.setattr(module.run, "recipe_of", fail)
    monkeypatch.setattr(sys, "argv", ["sparring", "run", "demo", "--json"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == code
    out, err = capsys.readouterr()
    assert err.strip().startswith("sparring: ")
    assert len(err.strip().splitlines()) == 1
    assert json.loads(out)["code"] == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_who_is_asked_to_end_clears_up_and_says_so(name, monkeypatch, capsys, tmp_path):
    number, left = getattr(signal, name), tmp_path / "scratch"
    before = signal.signal(number, signal.SIG_DFL)

    def asked(*args, **kwargs):
        try:
            left.touch()
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            left.unlink()

    monkeypatch.setattr(module.run, "recipe_of", asked)
    monkeypatch.setattr(sys, "argv", ["sparring", "run", "demo"])
    try:
        with pytest.raises(SystemExit) as stopped:
            module.main()
        assert signal.getsignal(number) == signal.SIG_DFL  # the next one ends it at once
    finally:
        signal.signal(number, before)
    assert stopped.value.code == 128 + number
    assert capsys.readouterr().err.strip().startswith("sparring: stopped; nothing half-written is left")
    assert not left.exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["run", "demoo"], 2, "did you mean 'demo'"),
        (["run", "nowhere.toml"], 2, "cannot be read"),
        (["runn"], 2, "No such command"),
        (["ls", "nowhere"], 2, "no published data here"),
        (["verify", "nowhere"], 2, "no published data here"),
        (["init"], 2, "give the files"),
        (["init", "nowhere.csv"], 5, "no file at"),
        (["search", "r.toml", "--out", "r.toml/found.toml"], 2, "r.toml: no folder can be there"),
        (["run", "r.toml/r.toml"], 2, "cannot be read"),
        (["search", "r.toml", "-o", "n" * 300], 2, "File name too long"),
        (["ls", "n" * 300], 2, "File name too long"),
        (["data", "moviez", "--folder", "x"], 2, "no demo data 'moviez'"),
    ],
)
def test_mistakes_at_the_terminal(tmp_path, args, code, message):
    (tmp_path / "r.toml").write_text(RECIPE)
    done = sparring(*args, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_from_a_users_own_file_to_a_verdict_and_back(tmp_path):
    """init, run, ls, show, verify, rollback and gc, as a user types them."""
    rng = np.random.default_rng(0)
    rows = 3000
    user, item = rng.integers(60, size=rows), rng.integers(40, size=rows)
    like = rng.standard_normal(60)[user] + rng.standard_normal(40)[item] + 0.5 * rng.standard_normal(rows)
    table = {"user_id": user, "item_id": item, "device": [["app", "web"][i % 2] for i in range(rows)]}
    pq.write_table(pa.table({**table, "click": (like > 0).astype(int)}), tmp_path / "clicks.parquet")
    made = sparring("init", "clicks.parquet", "-o", "shop.toml", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "shop.toml").read_text()
    assert 'consumer = "ctr"' in text
    text = text.replace("samples = 20000", "samples = 200\noptions = { epochs = 1, attacked_rows = 100 }")
    text = text.replace("generator = { draws = 4 }", "generator = { draws = 2, steps = 10, bank = 50, anchors = 500 }")
    (tmp_path / "shop.toml").write_text(
        text.replace('"auc_swapped", "auc_renamed", "auc_newest"]', '"auc_renamed"], seeds = 1, draws = 100')
    )
    done = sparring("run", "shop.toml", "--json", "--device", "cpu", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert done.returncode == (0 if result["status"] == "published" else 3)
    output = "sparring-out/my-shop"
    listed = json.loads(sparring("ls", output, "--json", cwd=tmp_path).stdout)["clicks"]
    assert [v["rows"] for v in listed] == [200]
    shown = sparring("show", f"{output}/clicks", listed[0]["run"], cwd=tmp_path)
    assert "auc_masked" in shown.stdout, shown.stderr
    again = sparring("run", "shop.toml", cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    removed = json.loads(sparring("gc", output, "--dry-run", "--json", cwd=tmp_path).stdout)
    assert removed == {"removed": [], "dry_run": True}
    assert sparring("rollback", f"{output}/clicks", "99", cwd=tmp_path).returncode == 2
    if result["status"] == "published":
        assert json.loads(sparring("verify", output, "--json", cwd=tmp_path).stdout)["ok"]


def test_what_init_cannot_decide_is_an_option(tmp_path):
    rows = "\n".join(f"{i % 12},{'abc'[i % 3]},{i % 2},{int(i % 5 == 0)}" for i in range(300))
    (tmp_path / "mail.csv").write_text(f"recency,zip,visit,conversion\n{rows}\n", "utf-8")
    asked = sparring("init", "mail.csv", "-o", "mail.toml", cwd=tmp_path)
    assert asked.returncode == 2
    assert "visit, conversion: say which is the label" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mail.csv"]
    options = ["--task", "ctr", "--label", "visit", "--user", "zip", "--item", "recency"]
    assert sparring("init", "mail.csv", "-o", "mail.toml", *options, cwd=tmp_path).returncode == 0
    text = (tmp_path / "mail.toml").read_text("utf-8")
    assert (
        'columns = { label = "visit", user = "zip", item = "recency", fields = ["conversion"], mutable = [] }' in text
    )
    (tmp_path / "none.csv").write_text("user_id,click\n", "utf-8")
    assert sparring("init", "none.csv", "-o", "none.toml", cwd=tmp_path).returncode == 5
    assert not (tmp_path / "none.toml").exists()


def test_data_list_names_licences():
    listed = json.loads(sparring("data", "--list", "--json").stdout)
    assert {entry["name"] for entry in listed} >= {"behaviour", "impressions", "reviews", "fashion", "reviews_zh"}
    assert all(entry["licence"] and entry["citation"] for entry in listed)


def test_explain_prints_the_documentation():
    explained = sparring("init", "--explain").stdout
    assert "min_plausibility" in explained
    assert "poison: share of the window's rows by fake users or floods; at most 0.05" in explained


def test_the_strategies_are_listed_for_people_and_machines():
    listed = json.loads(sparring("strategies", "--json").stdout)
    assert {"name", "what", "serves", "options", "prose", "available", "missing"} == set(listed[0])
    assert {"gan", "fgm", "synonym", "back-translation", "mixup", "dns", "self-training"} <= {s["name"] for s in listed}
    assert "strength=1.0" in sparring("strategies").stdout


def test_the_folder_of_a_searched_recipe_is_made_before_the_search(tmp_path, monkeypatch):
    from augment.search import search

    out = tmp_path / "new" / "found.toml"
    monkeypatch.setattr(search, "search", lambda *_, **__: [] if out.parent.is_dir() else pytest.fail("no folder"))
    (tmp_path / "r.toml").write_text(RECIPE)
    CliRunner().invoke(cli, ["search", str(tmp_path / "r.toml"), "--out", str(out)], catch_exceptions=False)
    assert out.exists()
