import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

from augment.base.errors import BadInput, UsageError
from augment.contracts.sample import sample_schema
from augment.publishing.dataset import Dataset
from augment.publishing.manifest import Manifest
from consumers import open_mix
from consumers.reading import streaming

DIM = 3
SHARDS = (40, 7, 64, 1, 90, 33, 15, 50)
ROWS = sum(SHARDS)
REAL = 130


def samples(run, first, rows):
    """Row i holds i in its embedding, so that any batch tells which rows it has."""
    values = {
        "sample_id": [f"{i:024x}" for i in range(first, first + rows)],
        "label": np.full(rows, 0.25, np.float32),
        "weight": np.full(rows, 0.5, np.float32),
        "embedding": [[i, 0, 0] for i in range(first, first + rows)],
        "decoded": [{"text": "nice"}] * rows,
        "run": [run] * rows,
    }
    schema = sample_schema(pa.struct([("text", pa.string())]))
    return pa.table({name: values.get(name, pa.nulls(rows, schema.field(name).type)) for name in schema.names}, schema)


def publish(root, run, shards):
    dataset = Dataset(root)
    with dataset.stage(run) as stage:
        for first, rows in zip(np.cumsum([0, *shards]).tolist(), shards, strict=False):
            stage.write(samples(run, first, rows))
            assert stage.files  # asking for them ends a shard: these tests need several
        manifest = Manifest(
            run=run, task="t", status="published", settings={}, inputs={}, encoders=["e@1"], dim=DIM, seed=0,
            packages={}, gates={}, result={}, files=stage.files, parent=dataset.current(),
        )  # fmt: skip
        return dataset.publish(stage, manifest)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    root = tmp_path_factory.mktemp("output")
    publish(root / "sentiment", "a" * 16, (5,))
    publish(root / "sentiment", "b" * 16, SHARDS)
    publish(root / "ctr", "c" * 16, (5,))
    return root


@pytest.fixture
def mix(output):
    return open_mix(output, "sentiment")


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    monkeypatch.setattr(streaming, "WINDOW", 64)
    monkeypatch.setattr(streaming, "BLOCK", 16)


def real_rows(rows=REAL):
    """Real row i holds -1 - i."""
    flat = pa.array(np.stack([-1.0 - np.arange(rows), *np.zeros((2, rows))], axis=1).astype(np.float32).ravel())
    embedding = pa.FixedSizeListArray.from_arrays(flat, DIM)
    return pa.table({"row_id": [str(i) for i in range(rows)], "embedding": embedding, "label": [1.0] * rows})


def ids(batch):
    return batch["embedding"][:, 0].long().tolist()


def all_ids(batches):
    return [i for batch in batches for i in ids(batch)]


# -- opening --------------------------------------------------------------------------------------------


def test_versions_are_opened_by_number_digest_or_as_current(output, mix):
    assert (mix.version, len(mix), mix.manifest.run) == (1, ROWS, "b" * 16)
    assert len(open_mix(output / "sentiment")) == ROWS
    assert len(open_mix(output / "sentiment", version=0)) == 5
    assert open_mix(output, "sentiment", version="a" * 16).version == 0
    assert mix.schema == sample_schema(pa.struct([("text", pa.string())]))


def test_what_is_open_does_not_change_when_another_run_publishes(tmp_path):
    publish(tmp_path, "a" * 16, (5,))
    opened = open_mix(tmp_path)
    publish(tmp_path, "b" * 16, (9,))
    assert (opened.version, opened.to_table().num_rows) == (0, 5)
    assert len(open_mix(tmp_path)) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": None}, "choose one with task=, of ctr, sentiment"),
        ({"task": "sentimant"}, "did you mean 'sentiment'"),
        ({"task": "ctr", "version": 4}, "no version 4"),
        ({"task": "ctr", "version": "d" * 16}, "no published version"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(output, arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_mix(output, **arguments)
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_said_when_opening(tmp_path):
    publish(tmp_path, "a" * 16, (5, 5))
    next(tmp_path.glob("a*/*.parquet")).unlink()
    with pytest.raises(BadInput):
        open_mix(tmp_path)


def test_importing_consumers_and_opening_a_mix_do_not_import_torch(output):
    script = "import sys, consumers; mix = consumers.open_mix(sys.argv[1], 'ctr')\n"
    script += "print(len(mix), 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script, str(output)], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["5", "False"]


# -- arrow and pandas -----------------------------------------------------------------------------------


def test_batches_are_small_and_complete(mix):
    batches = list(mix.batches(["sample_id"], batch_size=16))
    assert max(map(len, batches)) <= 16
    assert batches[0].schema.names == ["sample_id"]
    found = [i for batch in batches for i in batch["sample_id"].to_pylist()]
    assert found == mix.to_table()["sample_id"].to_pylist()
    assert sorted(found) == [f"{i:024x}" for i in range(ROWS)]
    with pytest.raises(UsageError, match="did you mean 'label'"):
        mix.batches(["lable"])


def test_tables_and_frames_hold_every_row(mix):
    assert mix.to_table().num_rows == ROWS
    frame = mix.to_pandas()
    assert frame["decoded"][3] == {"text": "nice"}
    assert sorted(embedding[0] for embedding in frame["embedding"]) == list(range(ROWS))


# -- torch ----------------------------------------------------------------------------------------------


def test_an_epoch_holds_each_row_once_in_full_batches(mix):
    stream = mix.to_torch(batch_size=32)
    batches = list(stream)
    assert [len(ids(batch)) for batch in batches] == [32] * (ROWS // 32) + [ROWS % 32]
    assert len(batches) == len(stream)
    assert sorted(all_ids(batches)) == list(range(ROWS))
    assert all(batch["is_synthetic"].all() for batch in batches)
    assert {(batch["label"].unique().item(), batch["weight"].unique().item()) for batch in batches} == {(0.25, 0.5)}


def test_the_order_is_seeded_and_new_in_each_epoch(mix):
    stream = mix.to_torch(seed=3)
    first, second = all_ids(stream), all_ids(stream)
    assert sorted(first) == sorted(second)
    assert len({tuple(first), tuple(second), tuple(range(ROWS)), tuple(all_ids(mix.to_torch(seed=4)))}) == 4
    assert all_ids(mix.to_torch(seed=3)) == first


def test_rows_of_different_shards_meet_in_a_batch(mix):
    """Contiguous rows share a shard, so a mean gap near 1 between sorted ids would mean no mixing."""
    batch = np.sort(ids(next(iter(mix.to_torch(batch_size=32)))))
    assert np.diff(batch).mean() > 1.5


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_cover_each_row_once(mix, workers):
    found = []
    for rank in range(2):
        stream = mix.to_torch(real_rows(), batch_size=16, rank=rank, world_size=2)
        part = all_ids(DataLoader(stream, batch_size=None, num_workers=workers))
        assert abs(len(part) - (ROWS + REAL) / 2) <= 1
        found += part
    assert sorted(found) == list(range(-REAL, ROWS))


def test_the_order_does_not_depend_on_the_number_of_workers(mix):
    def read(workers):
        return all_ids(DataLoader(mix.to_torch(real_rows(), batch_size=16), batch_size=None, num_workers=workers))

    assert read(0) == read(1) == read(2)


def check_resuming(make, length, stop):
    """A stream that `make` opens, `length` batches an epoch, goes on exactly after `stop` of them."""
    whole = make()
    expected = all_ids(whole) + all_ids(whole)
    stopped = make()
    assert len(stopped) == length
    batches = iter(stopped)
    used = [i for _ in range(stop) for i in ids(next(batches))]
    state = json.loads(json.dumps(stopped.state_dict()))
    for workers in (0, 2):
        resumed = make()
        resumed.load_state_dict(state)
        rest = all_ids(DataLoader(resumed, batch_size=None, num_workers=workers))
        if stop < length:
            resumed.set_epoch(1)
            rest += all_ids(DataLoader(resumed, batch_size=None, num_workers=workers))
        assert used + rest == expected


@pytest.mark.parametrize("stop", [0, 1, 7, 26, 27])
def test_resuming_is_exact(mix, stop):
    """Also over the end of the epoch: 27 batches are all of it."""

    def make():
        return mix.to_torch(real_rows(), batch_size=16, seed=5)

    check_resuming(make, 27, stop)


def test_with_workers_the_state_is_counted_by_the_caller(mix):
    stream = mix.to_torch(batch_size=16)
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    first = all_ids(loader)
    with pytest.raises(UsageError, match="how many of this epoch you used"):
        stream.state_dict()
    state = stream.state_dict(batch=3)
    resumed = mix.to_torch(batch_size=16)
    resumed.load_state_dict(state)
    assert all_ids(resumed) == first[3 * 16 :]
    stream.set_epoch(1)  # reaches workers that live on
    second = all_ids(loader)
    assert second != first
    assert sorted(second) == sorted(first)


def test_looking_at_a_batch_takes_nothing_away(mix):
    stream = mix.to_torch(batch_size=16)
    next(iter(stream))
    assert len(all_ids(stream)) == ROWS


def test_a_state_of_another_stream_is_refused(mix):
    state = mix.to_torch(batch_size=16).state_dict()
    with pytest.raises(UsageError, match="batch_size is 16, here 32"):
        mix.to_torch(batch_size=32).load_state_dict(state)


@pytest.mark.parametrize("ratio", [0.25, 1.0, 3.0])
def test_the_ratio_holds_in_every_batch_and_real_rows_are_used_equally(mix, ratio):
    stream = mix.to_torch(real_rows(), ratio=ratio, batch_size=40)
    used = []
    for _ in range(3):
        epoch = list(stream)
        for batch in epoch[:-1]:
            assert batch["is_synthetic"].sum().item() == pytest.approx(40 / (1 + ratio), abs=1)
        found = all_ids(epoch)
        assert sorted(i for i in found if i >= 0) == list(range(ROWS))
        used += [i for i in found if i < 0]
        assert all((batch["is_synthetic"].numpy() == (np.array(ids(batch)) >= 0)).all() for batch in epoch)
    assert len(used) == 3 * round(ratio * ROWS)
    counts = np.bincount(-1 - np.array(used), minlength=REAL)
    assert counts.max() - counts.min() <= 1


def test_real_rows_weigh_one_unless_they_say_otherwise(mix):
    def weights(rows):
        batches = list(mix.to_torch(rows))
        return {w for b in batches for w in b["weight"][~b["is_synthetic"]].tolist()}

    assert weights(real_rows()) == {1.0}
    assert weights(real_rows().append_column("weight", pa.array([2.0] * REAL))) == {2.0}


def test_real_rows_may_be_files(mix, tmp_path):
    pq.write_table(real_rows(), tmp_path / "real.parquet", row_group_size=17)
    stream = mix.to_torch(ds.dataset(tmp_path / "real.parquet"), batch_size=64)
    assert sorted(i for i in all_ids(stream) if i < 0) == list(range(-REAL, 0))


def test_a_window_bounds_what_is_held_in_memory(mix, monkeypatch):
    """A window holds the blocks that start in it: never more than its size and one block."""
    held, read = [], streaming.Shuffled._arrays
    monkeypatch.setattr(streaming.Shuffled, "_arrays", lambda self, rows: held.append(len(rows)) or read(self, rows))
    assert len(all_ids(mix.to_torch(batch_size=8))) == ROWS
    assert sum(held) == ROWS  # each window is read once
    assert max(held) < 64 + max(SHARDS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ratio": 1.0}, UsageError, "needs real rows"),
        ({"real": real_rows(), "ratio": 0.0}, UsageError, "must be positive"),
        ({"real": real_rows(0)}, UsageError, "no real rows"),
        ({"real": real_rows().drop_columns(["label"])}, UsageError, "no column 'label'"),
        ({"real": real_rows().set_column(2, "label", pa.nulls(REAL, pa.float32()))}, BadInput, "no label"),
        ({"real": real_rows().set_column(1, "embedding", pa.array([[1.0]] * REAL))}, BadInput, "3 numbers"),
        ({"batch_size": 0}, UsageError, "batch_size=0"),
        ({"rank": 2, "world_size": 2}, UsageError, "rank=2"),
    ],
)
def test_what_cannot_be_streamed_is_said_in_one_line(mix, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        list(mix.to_torch(**arguments))
    assert "\n" not in str(caught.value)
