"""What tests share: a shop with a few days of real impressions, verdicts that accept, and a PostgreSQL server."""

import getpass
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nights import nightly_recipe, write

from augment.runs import version

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.fixture(scope="session")
def impressions(demo_folder):
    rows = pq.read_table(demo_folder / "impressions.parquet")
    return rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))[:8000]))


@pytest.fixture
def accepted(monkeypatch):
    """A few hundred rows prove nothing: the verdict, which other tests are about, is that the samples help."""
    judge = version.judge
    monkeypatch.setattr(version, "judge", lambda *given: replace(judge(*given), accepted=True))


@pytest.fixture
def shop(impressions, tmp_path):
    """Three days of rows, and a recipe that publishes whatever passes the gates."""
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
    return nightly_recipe(tmp_path / "raw", tmp_path / "out")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A throw-away server on a free local port; its connection string, the password as a variable."""
    if not BINARIES:
        pytest.skip("no PostgreSQL server is installed")
    folder = tmp_path_factory.mktemp("postgresql")
    user = None
    if getpass.getuser() == "root":  # the server refuses to run as root
        user = "postgres"
        shutil.chown(folder, user)
        for parent in list(folder.parents)[:3]:
            parent.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = BINARIES[-1].parent

    def command(*args):
        subprocess.run([*map(str, args)], check=True, capture_output=True, user=user, cwd="/")

    command(binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres")
    options = f"-k {folder} -p {port} -h 127.0.0.1"
    control = (binaries / "pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w")
    command(*control, "start")
    yield f"postgresql://postgres:${{SHOP_PASSWORD}}@127.0.0.1:{port}/postgres"
    command(*control, "-m", "immediate", "stop")
