#!/usr/bin/env bash
# Installs what is missing and passes the checks: ruff, mypy, pytest. Works alone on a fresh clone.
#   bash scripts/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh test

# Two test processes share the cores: one thread each.
export OMP_NUM_THREADS=1
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest -n 2 "$@"
