"""The rules of the house: imports run one way, and cheap things stay cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"gan": {"gan"}, "augment": {"augment", "gan"}, "consumers": {"consumers", "augment", "gan"}}


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


# Folders of `augment` in the order in which a row travels, from the ground up: each imports lower floors only.
FLOORS = [
    {"base"},
    {"numeric"},
    {"language", "pictures", "recipes", "watch"},
    {"contracts"},
    {"strategies", "teachers", "maps", "gates", "judging", "publishing", "sources", "engines"},
    {"modalities", "generation"},
    {"runs", "testing"},
    {"nights", "search", "drafting"},
    {"cli"},
]
# Rooms of `consumers`, folders and files, by floor: each imports lower ones only, never a neighbour on its own.
CONSUMER_FLOORS = (
    {"configured", "data", "reading", "victims"},
    {"scoring", "training"},
    {"models", "rankers", "sequences"},
    {"clip", "ctr", "image", "recommender", "sentiment", "sequence"},
    {"category"},  # of texts, as sentiment is
)
PLUGINS = (
    "augment.strategies",
    "augment.teachers",
    "augment.maps",
    "augment.modalities",
    "augment.engines",
    "augment.nights.checks",
    "augment.sources.kinds",
)


def modules(package):
    """Dotted name → the modules of ours that it imports, wherever in the file."""
    paths = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / package).rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in paths.values()}
    found = {}
    for path, name in paths.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                own = {f"{node.module}.{alias.name}" for alias in node.names} & names
                wanted |= own or {node.module}
            elif isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
        found[name.removesuffix(".__init__")] = {w for w in wanted if w.split(".")[0] == package}
    return found


def floor_of(module):
    folder = [*module.split("."), ""][1]
    return next((i for i, folders in enumerate(FLOORS) if folder in folders), None)


def test_every_folder_has_a_floor_and_imports_lower_ones_only():
    folders = {path.name for path in (ROOT / "augment").iterdir() if (path / "__init__.py").exists()}
    assert folders == set().union(*FLOORS)
    for module, wanted in modules("augment").items():
        for other in wanted:
            mine, theirs = floor_of(module), floor_of(other)
            same_folder = module.split(".")[1:2] == other.split(".")[1:2]
            assert same_folder or theirs is None or mine is None or theirs < mine, f"{module} imports {other}"


def test_every_room_of_consumers_has_a_floor_and_imports_lower_ones_only():
    floor = {room: number for number, rooms in enumerate(CONSUMER_FLOORS) for room in rooms}
    found = modules("consumers")
    assert {module.split(".")[1] for module in found if "." in module} == set(floor)
    for module, wanted in found.items():
        for other in wanted - {"consumers"}:
            mine, theirs = module.split(".")[1], other.split(".")[1]
            assert mine == theirs or floor[theirs] < floor[mine], f"{module} imports {other}"


def test_no_module_imports_itself_round_a_circle():
    graph = {name: wanted - {name} for package in MAY_IMPORT for name, wanted in modules(package).items()}
    done = set()
    while ready := {name for name, wanted in graph.items() if name not in done and wanted & graph.keys() <= done}:
        done |= ready
    assert graph.keys() == done, sorted(graph.keys() - done)


@pytest.mark.parametrize("folder", PLUGINS)
def test_plugins_are_imported_by_the_registry_alone(folder):
    for package in MAY_IMPORT:
        for module, wanted in modules(package).items():
            if not module.startswith(folder):
                assert not [w for w in wanted if w.startswith(f"{folder}.")], module


def test_no_file_but_its_own_names_a_modality():
    names = {"text", "fields", "behaviour", "sequences", "images"}
    for path in (ROOT / "augment").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare) and "modality" in ast.unparse(node):
                told = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)} & names
                assert not told, f"{path}:{node.lineno}"


def test_functions_are_short_enough_to_see_whole():
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    assert node.end_lineno - node.lineno < 50, f"{path}: {node.name}"


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


NO_TEXT = {"av", "os", "tarfile", "Image", "super()"}  # whose `open` is of no text


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
            "open": not binary and ast.unparse(node.func).split(".")[0] not in NO_TEXT,
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
                    safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
                    assert name not in {"eval", "exec", "os.system"}, path
                    assert name != "torch.load" or safe, path
                    assert not any(k.arg == "shell" for k in node.keywords), path
