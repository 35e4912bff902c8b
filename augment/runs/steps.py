"""Finished steps of a run, kept in its folder until it ends: a run that was killed goes on after the last of them.

Whatever is kept is read back even in a run that was never killed, so that both go on from the same bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from augment.base.errors import BadInput, Diverged, Locked, SparringError
from augment.base.files import made, sync, write_whole
from augment.contracts.consumer import Consumer
from augment.contracts.tally import Tally
from augment.language.ngrams import Ngrams
from augment.runs.task import Job

BATCH = 4096
NGRAMS = "ngrams.safetensors"
TEACHER = "teacher-"  # prefix of a step that is a teacher's model


class Steps:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def scratch(self, name: str) -> Path:
        """A folder for a step that starts anew: whatever it left is gone."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir(parents=True)
        return self.folder / name

    def model(self, name: str, kind: type[Consumer], device: str, make: Callable[[], Consumer]) -> Consumer:
        """A trained consumer."""
        place = self.folder / name
        if not place.is_dir():
            self.keep(place, lambda folder: make().save(folder))
        return kind.load(place, device)

    @property
    def ngrams(self) -> Ngrams | None:
        """Those of the encoder that the other steps worked with, once `keep_ngrams` has them."""
        place = self.folder / NGRAMS
        return Ngrams(place.read_bytes(), str(place)) if place.exists() else None

    def keep_ngrams(self, ngrams: Ngrams | None) -> None:
        """Fitted again with other threads, they could differ in the last bits, and so would every vector."""
        if ngrams is not None and not (self.folder / NGRAMS).exists():
            write_whole(self.folder / NGRAMS, ngrams.content)

    def samples(self, name: str, make: Callable[[Tally], Iterator[pa.Table]]) -> tuple[Iterator[pa.Table], Tally]:
        """Samples, a batch at a time, and what `make` counted."""
        place = self.folder / name

        def write(folder: Path) -> None:
            tally, writer = Tally(), None
            for table in make(tally):
                writer = writer or pq.ParquetWriter(folder / "samples.parquet", table.schema)
                writer.write_table(table)
            if writer:
                writer.close()
            (folder / "tally.json").write_text(json.dumps(asdict(tally)), "utf-8")

        if not place.is_dir():
            self.keep(place, write)
        kept = json.loads((place / "tally.json").read_text("utf-8"))
        return _batches(place / "samples.parquet"), Tally.stored(kept)

    def keep(self, place: Path, write: Callable[[Path], object]) -> None:
        """What `write` leaves in its folder becomes the folder `place`, whole or not at all."""
        temporary = self.scratch(f".{place.name}.tmp")
        write(temporary)
        for path in (*temporary.rglob("*"), temporary):
            sync(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)
        sync(place.parent)


def _batches(path: Path) -> Iterator[pa.Table]:
    if not path.exists():  # nothing passed the gates
        return
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise BadInput(
            f"{path}: what a killed run kept cannot be read ({error}); delete {path.parent.parent}"
        ) from None


WORK, LOCK = ".work-", ".lock"  # prefix of the folder of work that publishes nothing, and what is in it


@contextmanager
def work_folder(job: Job) -> Iterator[Path]:
    """Scratch space beside the output."""
    with _scratch(made(Path(job.recipe.output))) as folder:
        yield folder


@contextmanager
def delivered(folder: Path) -> Iterator[Path]:
    """A folder in `folder`, whose files are moved there when the work ends well: else what is there stays as it is.

    What they replace goes first: killed in between, there are never halves of two models. Raises Locked while another
    command writes there.
    """
    clear_work(folder)
    with _scratch(folder) as made:
        if len([*folder.glob(f"{WORK}*")]) > 1:
            raise Locked(f"{folder}: another command writes there; wait for it, or choose another folder")
        yield made
        paths = [path for path in made.iterdir() if path.name != LOCK]
        for path in paths:
            sync(path)
            (folder / path.name).unlink(missing_ok=True)
        for path in paths:
            path.replace(folder / path.name)
        sync(folder)


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """Gone when the work ends well or ill; locked, so that a killed one's is known."""
    with tempfile.TemporaryDirectory(prefix=WORK, dir=place) as folder, FileLock(Path(folder) / LOCK):
        yield Path(folder)


def clear_work(output: Path) -> None:
    """Remove the scratch space that killed processes left; live ones hold their locks."""
    for folder in output.glob(f"{WORK}*"):
        with suppress(Timeout), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


RUNNING = ".run-"  # prefix of the folder of a run's finished steps


def clear_left(output: Path, jobs: Iterable[Job]) -> None:
    """Remove what killed runs left, but for steps that these jobs can go on from. Call it under the lock."""
    clear_work(output)
    wanted = {f"{RUNNING}{job.digest}" for job in jobs}
    for left in output.glob(f"{RUNNING}*"):
        if left.name not in wanted:
            shutil.rmtree(left)


@contextmanager
def steps_of(job: Job) -> Iterator[Steps]:
    """The finished steps of this very run, if it was killed before; gone when it ends, well or in a known error.

    A generator that diverged leaves its last good checkpoint there until another run starts.
    """
    folder = Path(job.recipe.output) / f"{RUNNING}{job.digest}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield Steps(folder)
    except Diverged:
        raise
    except SparringError:  # it would end the same way again
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
