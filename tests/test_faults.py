"""A sample of the fault harness: kills, a full disk, double starts, nights; malformed inputs have their own test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("part", ["kills", "room", "double", "pictures", "history"])
def test_nothing_is_lost_in_a_sample_of_the_fault_harness(demo_folder, part):
    """Apart, so that two test processes share them."""
    command = [sys.executable, str(ROOT / "scripts" / "faults.py"), "--quick", "--data", str(demo_folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--only", part], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["lost"] == 0
    assert part != "kills" or counts["kills"] >= 10
