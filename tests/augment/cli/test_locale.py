"""Files and names are UTF-8 whatever the locale, and what a terminal cannot show ends no command."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pytest

from augment.publishing.dataset import Dataset
from augment.recipes import loading

LOCALES = {
    "ru_RU.KOI8-R": ("ru_RU", "KOI8-R"),
    "fr_FR.ISO-8859-1": ("fr_FR", "ISO-8859-1"),
    "ja_JP.EUC-JP": ("ja_JP", "EUC-JP"),
}
WORDS = ["пальто", "шарф", "плащ", "コート"]


@pytest.fixture(scope="module", params=LOCALES)
def environment(request, tmp_path_factory):
    """A real locale of another encoding than UTF-8, made here."""
    folder, (language, encoding) = tmp_path_factory.mktemp("locale"), LOCALES[request.param]
    command = ["localedef", "-f", encoding, "-i", language, str(folder / request.param)]
    try:
        subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no localedef here")
    unset = ("PYTHONUTF8", "PYTHONIOENCODING", "LANG", "LC_CTYPE")
    rest = {name: value for name, value in os.environ.items() if name not in unset}
    made = {**rest, "LOCPATH": str(folder), "LC_ALL": request.param, "PYTHONPATH": os.getcwd()}
    seen = subprocess.run([sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"], env=made,
                          capture_output=True, check=True)  # fmt: skip
    if b"utf-8" in seen.stdout:
        pytest.skip(f"the locale {request.param} cannot be made here")
    return made


@pytest.fixture
def shop(tmp_path):
    rng = np.random.default_rng(0)
    rows = 400
    user, item = rng.integers(20, size=rows), rng.integers(4, size=rows)
    table = {
        "user_id": user,
        "item_id": [WORDS[i] for i in item],
        "цвет": [WORDS[i] for i in rng.integers(4, size=rows)],
    }
    like = rng.standard_normal(20)[user] + rng.standard_normal(4)[item] > 0
    pc.write_csv(pa.table({**table, "click": like.astype(int)}), tmp_path / "клики.csv")
    return tmp_path


def sparring(environment, folder, *arguments):
    command = [sys.executable, "-m", "augment", *arguments]
    return subprocess.run(command, capture_output=True, cwd=folder, env=environment, check=False)


def test_what_init_writes_in_any_locale_runs_in_any_locale(environment, shop):
    made = sparring(environment, shop, "init", "клики.csv", "-o", "магазин.toml")
    assert made.returncode == 0, made.stderr
    text = (shop / "магазин.toml").read_text("utf-8")
    (source,) = loading.parse(text, "made").sources.values()
    assert source.path == "клики.csv"
    assert source.columns.fields == ["цвет"]
    assert sparring(environment, shop, "init", "клики.csv").stdout.decode("utf-8").strip() == text.strip()
    small = text.replace("samples = 20000", "samples = 60\noptions = { epochs = 1, attacked_rows = 50 }")
    small = small.replace("strategies = { gan = 0.5, masking = 0.25, swaps = 0.25 }", "strategies = { masking = 1.0 }")
    small = small.replace("sparring-out/my-shop", "выход")
    (shop / "магазин.toml").write_text(small, "utf-8")
    done = sparring(environment, shop, "run", "магазин.toml", "--device", "cpu")
    assert done.returncode in (0, 3), done.stderr
    assert b"Traceback" not in done.stdout + done.stderr
    assert {path.name for path in shop.iterdir()} == {"клики.csv", "магазин.toml", "выход"}
    (task,) = (path for path in (shop / "выход").iterdir() if (path / "_sparring").is_dir())
    assert Dataset(task).versions()[-1].manifest.settings["source"]["path"] == "клики.csv"
    listed = sparring(environment, shop, "ls", "выход")
    assert listed.returncode == 0
    assert sparring(environment, shop, "gc", "выход").returncode == 0


def test_what_cannot_be_printed_is_escaped(environment, shop):
    done = sparring({**environment, "PYTHONIOENCODING": "latin-1"}, shop, "init", "нет-é.csv")
    assert (done.returncode, done.stderr) == (5, b"sparring: no file at \\u043d\\u0435\\u0442-\xe9.csv\n")


def test_a_recipe_that_cannot_be_written_whole_is_not_written(shop, monkeypatch):
    from click.testing import CliRunner

    from augment.base import files
    from augment.cli import cli

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(shop)
    monkeypatch.setattr(files.os, "fsync", full)
    assert isinstance(CliRunner().invoke(cli, ["init", "клики.csv", "-o", "r.toml"]).exception, OSError)
    assert [path.name for path in shop.iterdir()] == ["клики.csv"]
