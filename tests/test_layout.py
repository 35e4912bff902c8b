"""The rules of the house: imports run one way, and cheap things stay cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"gan": {"gan"}, "augment": {"augment", "gan"}, "consumers": {"consumers", "augment", "gan"}}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
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
            assert len(path.read_text().splitlines()) <= 400, path


def test_nothing_unsafe_is_called():
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            tops = {name.split(".")[0] for name in imported(path)}
            assert not tops & {"pickle", "marshal", "shelve", "dill", "joblib"}, path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    assert name not in {"eval", "exec", "torch.load", "os.system"}, path
                    assert not any(k.arg == "shell" for k in node.keywords), path
