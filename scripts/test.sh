#!/usr/bin/env bash
# Installs what is missing and passes the checks: ruff, mypy, pytest. Works alone on a fresh clone.
#   bash scripts/test.sh [pytest arguments]
#   bash scripts/test.sh --oldest [pytest arguments]    the tests alone, with the oldest dependencies that setup.cfg allows
set -euo pipefail
cd "$(dirname "$0")/.."
# Two test processes share the cores: one thread each.
export OMP_NUM_THREADS=1

if [ "${1:-}" = --oldest ]; then
    shift
    python="${PYTHON:-python3}"
    [ -x .venv-oldest/bin/python ] || "$python" -m venv .venv-oldest
    "$python" - > .venv-oldest/constraints.txt <<'PYTHON'
import configparser, re
setup = configparser.ConfigParser()
setup.read("setup.cfg", encoding="utf-8")
wanted = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
tools = ("mypy", "pytest", "ruff")  # of the checks, not of the project
for name, version in re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", wanted, re.MULTILINE):
    if not name.startswith(tools):
        print(f"{name}=={version}.*")
PYTHON
    export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" PIP_DISABLE_PIP_VERSION_CHECK=1
    .venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable ".[test]"
    exec .venv-oldest/bin/python -m pytest -n 2 --dist worksteal "$@"
fi

source scripts/venv.sh test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest -n 2 --dist worksteal "$@"
