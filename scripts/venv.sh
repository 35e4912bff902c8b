# Sourced from the project's root: source scripts/venv.sh EXTRA
# Makes .venv and installs the project with the extra ("" for none), unless that was done since setup.cfg changed.
extra="$1"
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" PIP_DISABLE_PIP_VERSION_CHECK=1

python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "Sparring needs Python 3.10 or newer; $("$python" --version 2>&1) was found. Set PYTHON=/path/to/python3." >&2
    exit 2
}
stamp=".venv/installed$extra-$(cat setup.cfg setup.py | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')"
if [ ! -e "$stamp" ]; then
    echo "installing into .venv (the first time this downloads torch)" >&2
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --editable ".${extra:+[$extra]}"
    touch "$stamp"
fi
