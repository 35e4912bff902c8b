"""Deployment files, checked as far as that goes without the systems they are for."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from augment.base.errors import BadInput, Refused, UsageError
from augment.nights.monitoring import HELP, PREFIX

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
    unit = (DEPLOY / "sparring-nightly.service").read_text()
    never = {int(code) for code in re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)[1].split()}
    ends = {UsageError.exit_code, BadInput.exit_code}  # and no other way
    assert never == ends
    assert set(policy["values"]) == ends | {Refused.exit_code}
    assert "StartLimitBurst=" in unit


@pytest.mark.parametrize(("hour", "runs"), [("02", True), ("03", False)])
def test_the_crontab_runs_at_two_in_utc_wherever_it_is(tmp_path, hour, runs):
    (line,) = [line for line in (DEPLOY / "crontab").read_text().splitlines() if not line.startswith("#")]
    when, command = line.split(" * * * * ")
    assert when == "30"
    assert not re.search(r"(?<!\\)%", command)  # which cron takes for a line's end
    stubs = {"date": f'[ "$1" = -u ] && echo {hour}', "bash": f"echo > {tmp_path}/ran"}
    for name, content in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    command = command.replace("\\%", "%").replace("/srv/sparring", str(tmp_path)).replace("/var/log", str(tmp_path))
    subprocess.run(["sh", "-c", command], check=False, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (tmp_path / "ran").exists() == runs


def test_scripts_are_shell_that_parses():
    for script in ROOT.glob("scripts/*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)
    assert "nightly.sh" in (DEPLOY / "crontab").read_text()
