"""A sample of the fault harness: kills, a full disk, double starts, a few nights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_nothing_is_lost_in_a_sample_of_the_fault_harness(demo_folder):
    command = [sys.executable, str(ROOT / "scripts" / "faults.py"), "--quick", "--data", str(demo_folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["lost"] == 0
    assert counts["kills"] >= 10
    assert counts["malformed inputs, inputs"] >= 200
