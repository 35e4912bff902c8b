#!/usr/bin/env bash
# One night of a recipe, for cron, systemd or Kubernetes: bash scripts/nightly.sh RECIPE [options of `sparring nightly`]
# Installs into .venv the first time. Exit codes are those of `sparring nightly`.
set -euo pipefail
recipe="$(realpath "${1:?usage: nightly.sh RECIPE [options]}")"
shift
here="$PWD"
cd "$(dirname "$0")/.."
source scripts/venv.sh ""
cd "$here"
exec "$OLDPWD/.venv/bin/sparring" nightly "$recipe" "$@"
