"""The rules of the house: imports run one way, and cheap things stay cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"gan": {"gan"}, "augment": {"augment", "gan"}, "consumers": {"consumers", "augment", "gan"}}


# Rooms of `consumers`, folders and files, by floor: each imports lower ones only, never a neighbour on its own.
CONSUMER_FLOORS = (
    {"configured", "data", "reading", "victims"},
    {"scoring", "training"},
    {"models", "rankers"},
    {"ctr", "recommender", "sentiment"},
)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package):
    ours = set(MAY_IMPORT)
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)} & ours
        assert tops <= MAY_IMPORT[package], path


def rooms_of_consumers(path):
    """Which rooms of `consumers` a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "consumers":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("consumers."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("consumers."))


def test_rooms_of_consumers_import_lower_floors_only():
    floor = {room: number for number, rooms in enumerate(CONSUMER_FLOORS) for room in rooms}
    for path in (ROOT / "consumers").rglob("*.py"):
        room = path.relative_to(ROOT / "consumers").with_suffix("").parts[0]
        if room != "__init__":
            for other in set(rooms_of_consumers(path)) - {room}:
                assert floor[other] < floor[room], f"{path} imports {other}"


def test_faiss_is_imported_in_one_module():
    users = [p.name for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py") if "faiss" in set(imported(p))]
    assert users == ["neighbours.py"]


@pytest.mark.parametrize("module", ["gan", "augment", "consumers", "augment.cli"])
def test_importing_a_package_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_files_stay_short_enough_to_read():
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text("utf-8").splitlines()) <= 400, path


def texts_without_encoding(path):
    """Calls that read or write text in whatever encoding the locale has."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        values = {k.arg: ast.unparse(k.value) for k in node.keywords} | dict(enumerate(map(ast.unparse, node.args)))
        binary = any("b" in str(values.get(key, "")).strip("'") for key in (0, 1, "mode") if _is_mode(values.get(key)))
        bare = {
            "read_text": 0 not in values,
            "write_text": 1 not in values,
            "open": not binary and ast.unparse(node.func).split(".")[0] not in {"os", "tarfile", "super()"},
            "fdopen": not binary,
            "NamedTemporaryFile": any(_is_mode(values.get(key)) and not binary for key in (0, "mode")),
        }.get(name, "True" in (values.get("text"), values.get("universal_newlines")))
        if bare and "encoding" not in values:
            yield f"{path}:{node.lineno}: {name}"


def _is_mode(value):
    return isinstance(value, str) and re.fullmatch(r"'[rwaxbt+]+'", value) is not None


def test_text_has_an_encoding_whatever_the_locale_is(tmp_path):
    wrong = ["open(p)", "p.open('w')", "p.read_text()", "p.write_text(t)", "run(c, text=True)", "os.fdopen(f, 'w')"]
    right = ["open(p, 'rb')", "p.open('wb')", "p.read_text('utf-8')", "p.write_text(t, 'utf-8')", "os.open(p, o)"]
    right += ["open(p, encoding='utf-8')", "p.open(mode='ab')", "run(c, text=True, encoding='utf-8')"]
    (tmp_path / "code.py").write_text("\n".join([*wrong, *right]), "utf-8")
    assert len(list(texts_without_encoding(tmp_path / "code.py"))) == len(wrong)
    ours = [path for folder in (*MAY_IMPORT, "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert [line for path in ours for line in texts_without_encoding(path)] == []


def test_nothing_unsafe_is_called():
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            tops = {name.split(".")[0] for name in imported(path)}
            assert not tops & {"pickle", "marshal", "shelve", "dill", "joblib"}, path
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    assert name not in {"eval", "exec", "torch.load", "os.system"}, path
                    assert not any(k.arg == "shell" for k in node.keywords), path
