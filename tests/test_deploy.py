"""Deployment files, checked as far as that goes without the systems they are for."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from augment.monitoring import HELP, PREFIX

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "scripts" / "deploy"


def test_the_dashboard_asks_only_for_metrics_that_nights_write():
    text = (DEPLOY / "grafana.json").read_text()
    panels = json.loads(text)["panels"]
    asked = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"sparring_\w+", target["expr"])
    }
    assert asked <= {PREFIX + name for name in HELP}
    assert len(asked) >= 9
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_units_are_sound(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    for name in ("sparring-nightly.service", "sparring-nightly.timer"):
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("User=sparring", "User=root"))
    done = subprocess.run([analyze, "verify", str(tmp_path / "sparring-nightly.timer")], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "sparring" in line]
    assert ours == []
    said = subprocess.run([analyze, "calendar", "*-*-* 02:30:00 UTC"], capture_output=True, text=True)
    assert said.returncode == 0


def test_the_image_holds_what_it_copies_and_the_job_calls_what_there_is():
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((DEPLOY / "cronjob.yaml").read_text())
    assert job["kind"] == "CronJob"
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "nightly"
    policy = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert policy["containerName"] == container["name"]


def test_scripts_are_shell_that_parses():
    for script in ROOT.glob("scripts/*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)
    assert "nightly.sh" in (DEPLOY / "crontab").read_text()
