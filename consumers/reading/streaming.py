"""Samples and real rows as a torch stream: shuffled, sharded, mixed and resumable, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from torch.utils.data import IterableDataset, get_worker_info

from augment.base.errors import BadInput, UsageError
from augment.contracts.sample import is_multiclass
from augment.numeric.columns import labels_of

BLOCK = 1_024  # rows of a table that are shuffled together
WINDOW = 16_384  # rows held in memory, and shuffled with each other (25 MB of 384-dimensional embeddings)
COLUMNS = ("embedding", "label", "weight")

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # float32[n, dim], float32[n] or [n, K], float32[n]


class Shuffled:
    """An endless sequence of the rows of one source: pass after pass, each row once per pass, in a new order.

    Where `ranks` do not divide the rows, a pass ends with its first rows again, so that their parts are of one length.

    A pass visits blocks (row groups of a file, slices of a table) in a random order; blocks that start in the
    same window of `WINDOW` rows are read together and their rows shuffled. Any position is found without
    reading what comes before it.
    """

    def __init__(self, source: pa.Table | ds.Dataset, name: str, dim: int, seed: int, ranks: int = 1) -> None:
        for column in COLUMNS[:2]:
            if column not in source.schema.names:
                raise UsageError(f"{name} rows have no column '{column}'; they need embedding and label")
        self._blocks = [block for block in _blocks(source) if _size(block)]
        self._sizes = np.array([_size(block) for block in self._blocks], np.int64)
        self.rows = int(self._sizes.sum())
        if not self.rows:
            raise UsageError(f"there are no {name} rows to train on")
        self.length = _divisible(self.rows, ranks)  # of a pass
        self._columns = [column for column in COLUMNS if column in source.schema.names]
        self.multiclass = is_multiclass(source.schema)
        self._name, self._dim, self._seed = name, dim, seed
        self._held: tuple[tuple[int, int], Arrays] | None = None

    def take(self, start: int, stop: int) -> Arrays:
        """Rows at positions [start, stop) of the endless sequence."""
        parts = [] if start < stop else [self._none]
        while start < stop:
            number, place = divmod(start, self.length)
            offset = place % self.rows
            order, first, last, begin, end = self._locate(number, offset)
            size = min(stop - start, end - offset, self.length - place)
            window = self._read(number, first, order[first:last])
            parts.append(tuple(array[offset - begin : offset - begin + size] for array in window))  # type: ignore[arg-type]
            start += size
        embedding, label, weight = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return embedding, label, weight

    @cached_property
    def _none(self) -> Arrays:
        """No rows, of the shapes that some have."""
        embedding, label, weight = self._arrays(_table(self._blocks[0], self._columns).slice(0, 1))
        return embedding[:0], label[:0], weight[:0]

    def _locate(self, number: int, offset: int) -> tuple[np.ndarray, int, int, int, int]:
        """The order of blocks in pass `number`, and the window around row `offset` of that pass.

        The window is blocks [first, last) of the order, rows [begin, end) of the pass.
        """
        order = np.random.default_rng([self._seed, number]).permutation(len(self._blocks))
        ends = np.cumsum(self._sizes[order])
        window = (ends - self._sizes[order]) // WINDOW
        block = int(np.searchsorted(ends, offset, side="right"))
        first, last = np.searchsorted(window, [window[block], window[block] + 1]).tolist()
        return order, first, last, int(ends[first] - self._sizes[order[first]]), int(ends[last - 1])

    def _read(self, number: int, first: int, blocks: np.ndarray) -> Arrays:
        key = (number, first)
        if self._held is None or self._held[0] != key:
            self._held = None  # let go of the old window before the new one is read
            tables = [_table(self._blocks[i], self._columns) for i in blocks]
            arrays = self._arrays(pa.concat_tables(tables))
            order = np.random.default_rng([self._seed, number, first]).permutation(len(arrays[0]))
            self._held = key, (arrays[0][order], arrays[1][order], arrays[2][order])
        return self._held[1]

    def _arrays(self, rows: pa.Table) -> Arrays:
        embedding = rows["embedding"]
        if rows["label"].null_count:
            raise BadInput(f"a {self._name} row has no label; drop unlabelled rows, or give them soft labels")
        if embedding.null_count or pc.any(pc.not_equal(pc.list_value_length(embedding), self._dim)).as_py():
            raise BadInput(f"a {self._name} row's embedding does not have {self._dim} numbers, as samples have")
        flat = pc.list_flatten(embedding).to_numpy().astype(np.float32, copy=False)
        if self.multiclass and len(pc.unique(pc.list_value_length(rows["label"]))) > 1:
            raise BadInput(f"{self._name} rows' labels do not all have as many shares, one for each class")
        label = labels_of(rows["label"])
        weighted = "weight" in self._columns
        weight = rows["weight"].to_numpy().astype(np.float32) if weighted else np.ones(len(rows), np.float32)
        return flat.reshape(-1, self._dim), label, weight


class MixStream(IterableDataset):
    """Batches of synthetic rows, or of synthetic and real rows, as dicts of tensors.

    embedding: float32[B, dim]. label: float32[B], or [B, K] of K classes. weight: float32[B]. is_synthetic:
    bool[B]. Every batch but the last of an epoch has `batch_size` rows, as near to the ratio as whole rows allow.
    An epoch holds each synthetic row once; with a ratio, it holds as many real rows as that asks for and goes on
    where the last epoch stopped, so that all are used equally. Ranks split an epoch into parts of one length, so
    all have as many batches, of the same sizes: where the rows do not divide, up to `world_size` - 1 come twice in
    an epoch.

    Use it alone or as `DataLoader(stream, batch_size=None, num_workers=...)`: workers take turns batch by
    batch, so the order does not depend on their number. Alone, a finished iteration is followed by the next
    epoch; workers hold copies, so with them call `set_epoch` before each, as with torch's DistributedSampler.
    """

    def __init__(
        self,
        synthetic: ds.Dataset,
        real: pa.Table | ds.Dataset | None,
        *,
        dim: int,
        run: str,
        ratio: float | None,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        if ratio is not None and (real is None or not 0 < ratio < float("inf")):
            raise UsageError(f"ratio={ratio}: must be positive, and needs real rows to mix in")
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size}: must be 1 or more")
        if not 0 <= rank < world_size:
            raise UsageError(f"rank={rank}: must be from 0 to world_size - 1, which is {world_size - 1}")
        sources = [Shuffled(synthetic, "synthetic", dim, seed, world_size)]
        per_epoch = [sources[0].length]
        if real is not None:
            sources.append(Shuffled(real, "real", dim, seed + 1, world_size))
            if sources[1].multiclass != sources[0].multiclass:
                raise UsageError("real rows have labels of another kind than samples: of K classes a label is a list")
            asked = sources[1].rows if ratio is None else max(1, round(ratio * sources[0].rows))
            per_epoch.append(_divisible(asked, world_size))
        self._sources, self._per_epoch = sources, per_epoch
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._identity = {
            "run": run,
            "seed": seed,
            "batch_size": batch_size,
            "world_size": world_size,
            "rows": [source.rows for source in sources],
            "per_epoch": per_epoch,
        }
        # Epoch, batch to start it from, "workers read this": shared, because persistent workers keep copies.
        self._position = torch.zeros(3, dtype=torch.int64).share_memory_()
        self._done = 0  # batches of this epoch handed out by an iteration in this process

    def __len__(self) -> int:
        """Batches per epoch: of this rank, and of every other."""
        return -(-sum(stop - start for start, stop in self._spans(0)) // self._batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        epoch, start, _ = self._position.tolist()
        if worker is not None:
            self._position[2] = 1
            for number in range(start + worker.id, len(self), worker.num_workers):
                yield self._batch(epoch, number)
            return
        self._position[1] = 0  # only the first iteration after load_state_dict starts in the middle
        self._done = start
        for number in range(start, len(self)):
            batch = self._batch(epoch, number)
            self._done = number + 1
            yield batch
        self.set_epoch(epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Start the next iteration at the beginning of `epoch`."""
        self._position[0], self._position[1] = epoch, 0
        self._done = 0

    def state_dict(self, batch: int | None = None) -> dict[str, Any]:
        """Where the stream is, as plain JSON; the same for every rank.

        DataLoader workers read ahead: with them, say how many batches of this epoch you have used. Raises
        UsageError when that is missing.
        """
        epoch, _, workers = self._position.tolist()
        if batch is None and workers:
            raise UsageError("DataLoader workers read ahead: call state_dict(batch=how many of this epoch you used)")
        epochs, batch = divmod(self._done if batch is None else batch, len(self))
        return {**self._identity, "epoch": epoch + epochs, "batch": batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken, with any number of workers.

        Raises UsageError when it is of another stream: other samples, seed, batch size, ratio or world size.
        """
        for key, value in self._identity.items():
            if state.get(key) != value:
                raise UsageError(f"this state is of another stream: its {key} is {state.get(key)}, here {value}")
        self.set_epoch(state["epoch"])
        self._position[1] = self._done = state["batch"]

    def _spans(self, epoch: int) -> list[tuple[int, int]]:
        """This rank's part of an epoch, of each source: positions [start, stop) of its endless sequence."""
        part = [n // self._world_size for n in self._per_epoch]
        starts = [epoch * n + self._rank * size for n, size in zip(self._per_epoch, part, strict=True)]
        return [(start, start + size) for start, size in zip(starts, part, strict=True)]

    def _batch(self, epoch: int, number: int) -> dict[str, torch.Tensor]:
        spans = self._spans(epoch)
        sizes = [stop - start for start, stop in spans]
        total = sum(sizes)
        low, high = (min(edge * self._batch_size, total) for edge in (number, number + 1))
        synthetic = [edge * sizes[0] // total for edge in (low, high)]
        cuts = [synthetic, [low - synthetic[0], high - synthetic[1]]]
        parts = [
            source.take(start + cut[0], start + cut[1])
            for source, (start, _), cut in zip(self._sources, spans, cuts[: len(spans)], strict=True)
        ]
        if len(shares := sorted({label.shape[1] for _, label, _ in parts if label.ndim > 1})) > 1:
            raise UsageError(f"labels of real rows and of samples are not of the same classes: {shares}")
        embedding, label, weight = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
        is_synthetic = torch.arange(high - low) < synthetic[1] - synthetic[0]
        return {"embedding": embedding, "label": label, "weight": weight, "is_synthetic": is_synthetic}


def _divisible(rows: int, ranks: int) -> int:
    """`rows`, or the next number that ranks divide."""
    return -(-rows // ranks) * ranks


def _blocks(source: pa.Table | ds.Dataset) -> list[pa.Table | ds.Fragment]:
    if isinstance(source, pa.Table):
        return [source.slice(start, BLOCK) for start in range(0, len(source), BLOCK)]
    whole = source.get_fragments()
    split = (f.split_by_row_group() if isinstance(f, ds.ParquetFileFragment) else [f] for f in whole)
    return [fragment for fragments in split for fragment in fragments]


def _size(block: pa.Table | ds.Fragment) -> int:
    return block.num_rows if isinstance(block, pa.Table) else block.count_rows()


def _table(block: pa.Table | ds.Fragment, columns: list[str]) -> pa.Table:
    return block.select(columns) if isinstance(block, pa.Table) else block.to_table(columns=columns, use_threads=False)
