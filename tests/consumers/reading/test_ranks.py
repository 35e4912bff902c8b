"""Ranks of a stream wait for each other at every batch: all have as many, of the same sizes, whatever the rows are."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from test_mix import all_ids, check_resuming, ids, publish, real_rows

from consumers import open_mix
from consumers.reading import streaming


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    monkeypatch.setattr(streaming, "WINDOW", 16)
    monkeypatch.setattr(streaming, "BLOCK", 8)


def shaped(batches):
    return [(len(ids(batch)), int(batch["is_synthetic"].sum())) for batch in batches]


@pytest.mark.parametrize("rows", [1, 2, 13, 61])
@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("real", [{}, {"real": real_rows(7)}, {"real": real_rows(7), "ratio": 0.4}])
def test_every_rank_has_as_many_batches_and_no_row_is_left_out(tmp_path, rows, ranks, real):
    publish(tmp_path, "a" * 16, (rows - rows // 3, rows // 3) if rows > 2 else (rows,))
    mix = open_mix(tmp_path)
    for batch_size in (1, 4, 20, 100):
        streams = [mix.to_torch(batch_size=batch_size, rank=r, world_size=ranks, **real) for r in range(ranks)]
        for _ in range(3):
            epoch = [list(stream) for stream in streams]
            assert all(shaped(batches) == shaped(epoch[0]) for batches in epoch)
            assert {len(batches) for batches in epoch} == {len(stream) for stream in streams}
            used = Counter(i for batches in epoch for i in all_ids(batches))
            synthetic = {i: count for i, count in used.items() if i >= 0}
            assert set(synthetic) == set(range(rows))
            assert sum(synthetic.values()) == -(-rows // ranks) * ranks
            if real.get("real") and "ratio" not in real:
                assert {i for i in used if i < 0} == set(range(-7, 0))


@pytest.mark.parametrize("stop", [0, 2, 4])
def test_uneven_ranks_resume_exactly_with_any_number_of_workers(tmp_path, stop):
    publish(tmp_path, "a" * 16, (11, 10))
    for rank in range(2):

        def make(rank=rank):
            return open_mix(tmp_path).to_torch(real_rows(6), batch_size=4, seed=3, rank=rank, world_size=2)

        check_resuming(make, 4, stop)  # 11 and 3 rows of each rank


TRAINING = """
import datetime, sys, torch
import torch.distributed as dist
from consumers import open_mix
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
                        timeout=datetime.timedelta(seconds=60))
stream = open_mix(folder + "/mix").to_torch(batch_size=7, rank=rank, world_size=2)
loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=rank)
net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))
steps = 0
for epoch in range(2):
    stream.set_epoch(epoch)
    for batch in loader:
        net(batch["embedding"]).square().mean().backward()
        steps += 1
dist.barrier()
dist.destroy_process_group()
print(steps)
"""


def test_two_processes_train_together_on_uneven_rows(tmp_path):
    """15 rows in batches of 7 were one batch for one rank and two for the other, which waited for ever."""
    publish(tmp_path / "mix", "a" * 16, (9, 6))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(rank)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    told = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    assert [out.split()[-1] for out, _ in told] == [b"4", b"4"]
