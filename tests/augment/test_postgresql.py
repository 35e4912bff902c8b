"""The same rows from a real PostgreSQL server as from a file; skipped where no server is installed."""

import getpass
import shutil
import socket
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augment import sources
from augment.errors import BadInput
from augment.recipe import Source

dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BINARIES, reason="no PostgreSQL server is installed")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A throw-away server on a free local port; its connection string, the password as a variable."""
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


def test_rows_from_a_server_are_those_of_the_file(server, demo_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    path = demo_folder / "behaviour.parquet"
    with dbapi.connect(server.replace("${SHOP_PASSWORD}", "secret")) as db, db.cursor() as cursor:
        cursor.adbc_ingest("logs", pq.read_table(path), mode="create")
        db.commit()
    columns = {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "label": "rating"}
    common = {"columns": columns, "keep": 4, "split": {"by": "user_time", "core": 10}}
    database = Source.model_validate({"connection": server, "query": "SELECT * FROM logs", **common})
    file = Source.model_validate({"path": str(path), **common})
    from_database, from_file = (
        sources.prepare("logs", source, "behaviour", tmp_path / name, 7)
        for name, source in (("database", database), ("file", file))
    )
    assert pq.read_table(from_database.train).equals(pq.read_table(from_file.train))
    wrong = database.model_copy(update={"query": "SELECT * FROM nowhere"})
    with pytest.raises(BadInput, match="nowhere") as raised:
        sources.fingerprint(wrong)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
