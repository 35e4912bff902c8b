"""What a night tells the outside, above all when it fails."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner
from nights import day, nightly_recipe
from ran import night

from augment.base.errors import BadInput, Locked, UsageError
from augment.cli.nightly import nightly as command
from augment.contracts.result import NightResult
from augment.nights import monitoring
from augment.nights import night as nightly
from augment.publishing.lock import locked

pytestmark = pytest.mark.usefixtures("accepted")
BEFORE = 1_772_400_000.25  # when a night last succeeded


@pytest.fixture
def telling(shop, tmp_path):
    return nightly_recipe(tmp_path / "raw", tmp_path / "out", keep_days=f'metrics = "{tmp_path}/prom"\nkeep_days')


@pytest.fixture
def metrics(tmp_path):
    """The file of a night that went well."""
    path = tmp_path / "prom" / "sparring_nights.prom"
    path.parent.mkdir()
    path.write_text(f'sparring_last_success_timestamp_seconds{{recipe="nights"}} {BEFORE}\n')
    return path


def test_a_failed_night_is_told_of_each_task_and_keeps_the_time_of_the_last_success(telling, tmp_path, metrics):
    with pytest.raises(BadInput, match="no rows from"):
        night(telling, as_of=day(40), device="cpu")
    text = metrics.read_text()
    assert 'sparring_night_status{recipe="nights",task="ctr",status="failed"} 1.0' in text
    assert 'sparring_night_status{recipe="nights",task="ctr",status="published"} 0.0' in text
    assert re.findall(r"^sparring_last_success.* (\S+)$", text, re.MULTILINE) == [str(BEFORE)]
    (tmp_path / "raw" / f"{day(1)}.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="cannot read"):
        night(telling, as_of=day(2), device="cpu")
    assert str(BEFORE) in metrics.read_text()


def test_a_crash_is_told_of_too(telling, metrics, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nightly, "windowed_job", full)
    with pytest.raises(OSError, match="No space"):
        night(telling, as_of=day(2), device="cpu")
    text = metrics.read_text()
    assert 'task="ctr",status="failed"} 1.0' in text
    assert str(BEFORE) in text


def test_a_second_start_tells_nobody(telling, tmp_path, metrics):
    before = metrics.read_bytes()
    with locked(tmp_path / "out"), pytest.raises(Locked):
        night(telling, as_of=day(2), device="cpu", notify=f"cp /dev/stdin {tmp_path}/told")
    assert metrics.read_bytes() == before
    assert not (tmp_path / "told").exists()
    assert not list(tmp_path.glob("out/_nightly/*"))


@pytest.fixture
def webhook():
    """A server's URL, what was posted to it, and the status it answers with."""
    posted, status = [], [200]

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Content-Type"], json.loads(content)))
            self.send_response(status[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook?key=secret", posted, status
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_what_a_command_gets(shop, tmp_path, webhook, capfd):
    url, posted, status = webhook
    for target in (url, f"cp /dev/stdin {tmp_path}/told"):
        with pytest.raises(BadInput):
            night(shop, as_of=day(40), device="cpu", notify=target)
    ((path, kind, content),) = posted
    told = json.loads((tmp_path / "told").read_text())
    assert (path, kind) == ("/hook?key=secret", "application/json")
    assert content.keys() == told.keys()
    assert (content["error"], content["tasks"]) == (told["error"], told["tasks"])
    assert "no rows from" in content["error"]
    assert content["tasks"]["ctr"]["status"] == "failed"
    status[0] = 500
    for target in (url, "http://127.0.0.1:1/hook?key=secret"):  # the night's own error stays what is raised
        with pytest.raises(BadInput, match="no rows from"):
            night(shop, as_of=day(40), device="cpu", notify=target)
    said = capfd.readouterr().err
    assert "--notify: HTTP Error 500" in said
    assert "refused" in said
    assert "secret" not in said


@pytest.mark.parametrize("target", ["", " ", "page 'me", "https://", "https:// shop/x"])
def test_a_notify_that_could_tell_nobody_is_refused_up_front(shop, tmp_path, target):
    with pytest.raises(UsageError, match="--notify"):
        night(shop, as_of=day(2), device="cpu", notify=target)
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(command, ["nowhere.toml", "--notify", target])
    assert isinstance(done.exception, UsageError)
    assert "--notify" in str(done.exception)


def test_a_recipe_that_cannot_be_loaded_is_told_of(tmp_path):
    (tmp_path / "shop.toml").write_text("name = 1")
    arguments = [str(tmp_path / "shop.toml"), "--notify", f"cp /dev/stdin {tmp_path}/told"]
    assert isinstance(CliRunner().invoke(command, arguments).exception, UsageError)
    told = json.loads((tmp_path / "told").read_text())
    assert told["status"] == "failed"
    assert "name" in told["error"]


def test_the_log_keeps_the_last_nights(tmp_path, monkeypatch):
    monkeypatch.setattr(monitoring, "NIGHTS", 3)
    for number in range(5):
        monitoring.log(tmp_path / "nights.jsonl", NightResult(str(day(number))))
    lines = (tmp_path / "nights.jsonl").read_text().splitlines()
    assert [json.loads(line)["day"] for line in lines] == [str(day(number)) for number in (2, 3, 4)]
