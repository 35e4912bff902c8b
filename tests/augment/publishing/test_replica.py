"""Against a real S3 server, moto's, in a process of its own: Delta's history() holds the interpreter's lock."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import boto3
import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.transaction import AddAction, create_table_with_add_actions
from published import RUNS, flip_a_byte, manifest, publish, samples, shard
from pyarrow import fs
from torch.utils.data import DataLoader

from augment.base.errors import BadInput, Unavailable, UsageError
from augment.base.files import sha256
from augment.cli.tables import verify
from augment.language.ngrams import Ngrams
from augment.publishing import s3, spaces
from augment.publishing.dataset import Dataset
from augment.publishing.replica import Replica, replicate, verify_replica
from consumers import open_mix

SECRET = "do-not-show-this"


@pytest.fixture(scope="module")
def server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, "the server ended"
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield address
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _environment(server, monkeypatch):
    settings = {"AWS_ACCESS_KEY_ID": "key-of-a-test", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": server, "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def bucket(request):
    name = f"bucket-{sha256(request.node.name.encode())[:16]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def url(bucket):
    return f"s3://{bucket}/shop/sentiment"


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "sentiment")


def requests_unchecked(server, many):
    """How many requests moto takes before it looks at who sends them."""
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", many.encode(), headers)).close()


def seen(url):
    """The runs that a plain Delta reader finds in the head."""
    return set(DeltaTable(url).to_pyarrow_table()["run"].to_pylist())


def test_the_ngrams_of_a_reviews_encoder_travel_with_the_version(dataset, url):
    ngrams = Ngrams.fit(["a lovely dress", "a lovely skirt"], 0)
    spaces.keep(dataset.root, ngrams)
    with dataset.stage(RUNS[0]) as stage:
        stage.write(samples(RUNS[0]))
        dataset.publish(stage, replace(manifest(dataset, stage), encoders=[f"e@1+{ngrams.name}"]))
    replicate(dataset.root, url)
    mix = open_mix(url)
    assert mix._ngrams().name == ngrams.name
    assert verify_replica(url) == []


def objects(bucket):
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {found["Key"]: found for page in pages for found in page.get("Contents", [])}


def tamper(bucket, name):
    """Another content of the same size."""
    client, key = boto3.client("s3"), f"shop/sentiment/{name}"
    content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=content[:-2] + b"  ")


def publish_night(dataset, run, day, gone=()):
    """Replace one night's samples; those of the nights that are not `gone` stay."""
    rows = samples(run, first=100 * int(day[-2:]), day=[day] * 5)
    kept = [s for other, shards in dataset.shards_by_day().items() if other not in {day, *gone} for s in shards]
    with dataset.stage(run, day) as stage:
        stage.write(rows)
        made = manifest(dataset, stage)
        dataset.publish(stage, replace(made, files=[*kept, *made.files]), gone)


@contextmanager
def refused(error, match):
    """One line without a secret."""
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    assert match in message


def test_a_replica_holds_the_current_version(dataset, url, bucket):
    publish(dataset, RUNS[0], samples(RUNS[0]), samples(RUNS[0], 3, first=5))
    assert replicate(dataset.root, url) == 0
    assert seen(url) == {RUNS[0]}
    mix = open_mix(url)
    assert (mix.version, len(mix), mix.manifest) == (0, 8, dataset.version().manifest)
    assert mix.to_table().equals(open_mix(dataset.root).to_table())
    assert open_mix(f"s3://{bucket}/shop/", "sentiment").to_table().equals(mix.to_table())
    assert verify_replica(url) == []
    assert DeltaTable(url).metadata().partition_columns == ["day"]
    assert DeltaTable(url).metadata().configuration == DeltaTable(str(dataset.root)).metadata().configuration
    keys = {key.removeprefix("shop/sentiment/") for key in objects(bucket) if "_delta_log" not in key}
    assert keys == {f"_sparring/manifests/{RUNS[0]}.json", *(s.path for s in mix.manifest.files)}


def test_a_table_in_a_folder_of_an_odd_name_is_copied(tmp_path, url):
    dataset = Dataset(tmp_path / "[a] 50% 'q' 商品*" / "sentiment")
    publish(dataset, RUNS[0])
    assert replicate(dataset.root, url) == 0
    assert verify_replica(url) == []
    assert open_mix(url).to_table() == dataset.read().to_table()


def test_what_is_there_is_not_copied_again(dataset, url, bucket):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    before = objects(bucket)
    assert replicate(dataset.root, url) == 0
    assert objects(bucket) == before


def test_each_update_is_one_commit_and_older_versions_stay(dataset, url):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    pinned = open_mix(url)
    publish(dataset, RUNS[1], samples(RUNS[1], 7))
    publish(dataset, RUNS[2], samples(RUNS[2], 9))
    assert replicate(dataset.root, url) == 1  # versions in between are not copied
    assert seen(url) == {RUNS[2]}
    assert len(open_mix(url)) == 9
    for version in (0, RUNS[0]):
        assert open_mix(url, version=version).to_table().equals(open_mix(dataset.root, version=0).to_table())
    assert pinned.to_table()["run"].to_pylist() == [RUNS[0]] * 5
    assert verify_replica(url, 0) == []
    with refused(UsageError, f"no version {RUNS[1]}; known: 0 (run {RUNS[0]}), 1 (run {RUNS[2]})"):
        open_mix(url, version=RUNS[1])


def test_a_rollback_is_copied_as_a_version(dataset, url):
    for run in RUNS[:2]:
        publish(dataset, run)
        replicate(dataset.root, url)
    dataset.rollback(0)
    assert replicate(dataset.root, url) == 2
    assert seen(url) == {RUNS[0]}
    assert open_mix(url).version == 2
    assert replicate(dataset.root, url) == 2


def test_the_decoded_form_may_change(dataset, url):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    fields = pa.struct([("item", pa.string()), ("user", pa.string())])
    publish(dataset, RUNS[1], samples(RUNS[1], decoded=fields))
    replicate(dataset.root, url)
    for version, form in ((0, {"text": "nice"}), (1, {"item": "i1", "user": None})):
        assert DeltaTable(url, version=version).to_pyarrow_table()["decoded"].to_pylist() == [form] * 5
        assert open_mix(url, version=version).to_table()["decoded"].to_pylist() == [form] * 5


def test_nights_are_partitions_and_kept_ones_are_not_committed_again(dataset, url, bucket):
    publish_night(dataset, RUNS[0], "2024-05-01")
    publish_night(dataset, RUNS[1], "2024-05-02")
    replicate(dataset.root, url)
    publish_night(dataset, RUNS[2], "2024-05-03", gone=["2024-05-01"])
    assert replicate(dataset.root, url) == 1
    assert seen(url) == {RUNS[1], RUNS[2]}
    assert verify_replica(url) == []
    assert open_mix(url).to_table().equals(open_mix(dataset.root).to_table())
    plain = DeltaTable(url)
    assert plain.to_pyarrow_table(filters=[("day", "=", "2024-05-02")])["run"].to_pylist() == [RUNS[1]] * 5
    log = boto3.client("s3").get_object(Bucket=bucket, Key=f"shop/sentiment/_delta_log/{1:020d}.json")["Body"].read()
    actions = [json.loads(line) for line in log.splitlines()]
    assert [a["add"]["partitionValues"] for a in actions if "add" in a] == [{"day": "2024-05-03"}]
    assert [a["remove"]["path"].split("/")[0] for a in actions if "remove" in a] == [RUNS[0]]


def test_a_table_without_partitions_is_copied_too(dataset, url):
    """As versions of before tables had days."""
    with dataset.stage(RUNS[0]) as stage:
        stage.write(samples(RUNS[0]))
        made = manifest(dataset, stage)
    content, folder = made.dump(), dataset.root / "_sparring" / "manifests"
    folder.mkdir(parents=True)
    (folder / f"{RUNS[0]}.json").write_bytes(content)
    adds = [AddAction(s.path, s.bytes, {}, 0, True, json.dumps({"numRecords": s.rows})) for s in made.files]
    commit = CommitProperties(custom_metadata={"run": RUNS[0], "manifest": sha256(content)})
    schema = Schema.from_arrow(samples(RUNS[0]).schema)
    create_table_with_add_actions(str(dataset.root), schema, adds, commit_properties=commit)
    assert replicate(dataset.root, url) == 0
    assert replicate(dataset.root, url) == 0
    assert DeltaTable(url).metadata().partition_columns == []
    assert open_mix(url).to_table().equals(open_mix(dataset.root).to_table())
    other = Dataset(dataset.root.with_name("partitioned"))
    publish(other, RUNS[1])
    with refused(UsageError, "other partitions"):
        replicate(other.root, url)


MOMENTS = {
    "while a shard is uploaded": (fs, "copy_files"),
    "before the manifest": (Replica, "_put_manifest"),
    "before the commit": (Replica, "_commit"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("earlier", [True, False])
def test_an_interrupted_update_leaves_the_old_version(dataset, url, monkeypatch, moment, earlier):
    if earlier:
        publish(dataset, RUNS[0])
        replicate(dataset.root, url)
    publish(dataset, RUNS[1])

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*MOMENTS[moment], interrupted)
        with pytest.raises(KeyboardInterrupt):
            replicate(dataset.root, url)
    if earlier:
        assert seen(url) == {RUNS[0]}
        assert open_mix(url).manifest.run == RUNS[0]
        assert verify_replica(url) == []
    else:
        with refused(UsageError, "no replica here"):
            open_mix(url)
    assert replicate(dataset.root, url) == (1 if earlier else 0)  # again finishes the work
    assert seen(url) == {RUNS[1]}
    assert verify_replica(url) == []


def test_a_half_uploaded_shard_is_uploaded_again(dataset, url, bucket):
    publish(dataset, RUNS[0])
    path = dataset.version().manifest.files[0].path
    boto3.client("s3").put_object(Bucket=bucket, Key=f"shop/sentiment/{path}", Body=b"PAR1")
    replicate(dataset.root, url)
    assert verify_replica(url) == []


@pytest.mark.parametrize("earlier", [True, False])
def test_of_two_commits_at_once_one_is_refused(dataset, url, monkeypatch, earlier):
    """The other comes between what was read and the commit."""
    if earlier:
        publish(dataset, RUNS[0])
        replicate(dataset.root, url)
    publish(dataset, RUNS[1])
    other = Dataset(dataset.root.with_name("other"))
    publish(other, RUNS[2])
    put = Replica._put_manifest

    def overtaken(self, run, content):
        monkeypatch.setattr(Replica, "_put_manifest", put)
        replicate(other.root, url)
        put(self, run, content)

    monkeypatch.setattr(Replica, "_put_manifest", overtaken)
    with refused(BadInput, "another process commits" if earlier else "already exists"):
        replicate(dataset.root, url)
    assert seen(url) == {RUNS[2]}
    assert verify_replica(url) == []
    assert replicate(dataset.root, url) == (2 if earlier else 1)
    assert seen(url) == {RUNS[1]}


def test_what_is_not_whole_is_refused(dataset, url, bucket):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    path = dataset.version().manifest.files[0].path
    tamper(bucket, path)
    assert verify_replica(url) == [f"{path}: its content changed, sha256 differs from the manifest's"]
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"shop/sentiment/{path}")
    assert verify_replica(url) == [f"{path}: missing"]
    with refused(BadInput, f"{path}: missing"):
        open_mix(url)
    name = f"_sparring/manifests/{RUNS[0]}.json"
    tamper(bucket, name)
    with refused(BadInput, "changed since version 0 was published"):
        open_mix(url)
    assert verify_replica(url) == [f"{url}/{name}: changed since version 0 was published"]
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"shop/sentiment/{name}")
    with refused(BadInput, "manifest of version 0 is missing"):
        open_mix(url)
    assert replicate(dataset.root, url) == 0  # puts both back
    assert verify_replica(url) == []


def test_files_that_others_commit_are_told_and_replaced(dataset, url):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    DeltaTable(url).delete()
    assert any("disagree" in problem for problem in verify_replica(url))
    assert open_mix(url).version == 0
    assert replicate(dataset.root, url) == 2
    assert verify_replica(url) == []


def test_a_damaged_shard_is_not_spread(dataset, url):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    publish(dataset, RUNS[1])
    flip_a_byte(shard(dataset))
    with refused(BadInput, "not what was published"):
        replicate(dataset.root, url)
    assert seen(url) == {RUNS[0]}


def test_what_is_no_replica_of_the_table_is_left_alone(dataset, url, tmp_path):
    with refused(UsageError, "nothing is published"):
        replicate(tmp_path / "nothing", url)
    publish(dataset, RUNS[0])
    write_deltalake(f"{url}/theirs", pa.table({"x": [1]}))
    with refused(UsageError, "no replica"):
        replicate(dataset.root, f"{url}/theirs")
    replicate(dataset.root, f"{url}/ours")
    again = Dataset(tmp_path / "again")
    with again.stage(RUNS[0]) as stage:
        stage.write(samples(RUNS[0]))
        again.publish(stage, replace(manifest(again, stage), seed=1))
    with refused(UsageError, "another table's run"):
        replicate(again.root, f"{url}/ours")
    assert verify_replica(f"{url}/ours") == []


def test_no_name_leads_out_of_the_replica(url):
    for path in ("../outside.parquet", "/etc/passwd", "s3://other/file"):
        with refused(BadInput, "outside"):
            Replica(url)._key(path)


@pytest.mark.parametrize(
    "url", ["s3://", "s3://bucket", "s3://bucket/../x", "s3://bucket/a b", "gs://bucket/x", "s3://me:word@bucket/x"]
)
def test_other_urls_are_a_usage_error(url):
    with refused(UsageError, "not the URL of a replica"):
        open_mix(url)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, UsageError, "set AWS_SECRET_ACCESS_KEY in the environment"),
        ({"AWS_ALLOW_HTTP": ""}, UsageError, "set AWS_ALLOW_HTTP"),
        ({"AWS_ENDPOINT_URL": f"http://me:{SECRET}@127.0.0.1:1"}, UsageError, "not like https://host"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, Unavailable, "refused"),
    ],
)
def test_settings_that_cannot_work_are_said_in_one_line(dataset, url, monkeypatch, settings, error, match):
    publish(dataset, RUNS[0])
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for call in (lambda: replicate(dataset.root, url), lambda: open_mix(url)):
        with refused(error, match):
            call()


def test_what_the_storage_refuses_is_said_in_one_line(dataset, url, server, monkeypatch):
    publish(dataset, RUNS[0])
    for call in (lambda: replicate(dataset.root, "s3://no-such-bucket/x"), lambda: open_mix("s3://no-such-bucket/x")):
        with refused(BadInput, "bucket does not exist"):
            call()
    replicate(dataset.root, url)
    publish(dataset, RUNS[1])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown-key")
    requests_unchecked(server, "0")
    try:
        for call in (lambda: replicate(dataset.root, url), lambda: open_mix(url)):
            with refused(BadInput, "Access Key Id you provided does not exist"):
                call()
    finally:
        requests_unchecked(server, "inf")
    assert seen(url) == {RUNS[0]}


def test_no_secret_is_repeated():
    assert s3.reason_of(OSError(f"denied: {SECRET}\nmore (Request ID: 1)")) == "denied: ***"


def test_a_forked_process_has_connections_of_its_own(url, monkeypatch):
    """Over a shared one that is kept alive, as moto's are not, workers read each other's bytes."""
    connections = Replica(url)._connections
    parents = connections.here
    assert connections.here is parents
    monkeypatch.setattr(s3.os, "getpid", lambda: -1)
    assert connections.here is not parents


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_it_as_a_stream(dataset, url, start):
    publish(dataset, RUNS[0], samples(RUNS[0], 64))
    replicate(dataset.root, url)
    stream = open_mix(url).to_torch(batch_size=16)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=start, timeout=60)
    assert sum(len(batch["label"]) for batch in loader) == 64


def test_the_command_verifies_it(dataset, url, bucket):
    publish(dataset, RUNS[0])
    replicate(dataset.root, url)
    result = CliRunner().invoke(verify, [url, "--json"])
    assert (result.exit_code, json.loads(result.output)) == (0, {"ok": True, "tasks": {url: []}})
    tamper(bucket, dataset.version().manifest.files[0].path)
    assert CliRunner().invoke(verify, [url, "0"]).exit_code == 5
