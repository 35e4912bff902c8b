"""One task of a recipe, opened: its consumer, its inputs, its digest, and its real rows when they are read."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout

from augment import enough, poison, sources
from augment.dataset import ALL_DAYS, Dataset
from augment.encoders import NGRAMS, TextEncoder, text_encoder
from augment.errors import BadInput, Refused, UsageError, check_type, suggest
from augment.modalities.text import Text
from augment.neighbours import set_threads
from augment.ngrams import Ngrams
from augment.plugins import Consumer, consumer_class
from augment.progress import say
from augment.recipe import Recipe, Task
from augment.rows import field_column
from augment.strategies import check as check_strategy
from augment.study import Arena, check_metrics

WORK = ".work-"  # prefix of the folder of work that publishes nothing
# Their versions are part of a run's digest: another version may make other samples.
PACKAGES = (
    "sparring",
    "torch",
    "numpy",
    "scikit-learn",
    "scipy",
    "duckdb",
    "pyarrow",
    "deltalake",
    "pydantic",
)


@dataclass
class Job:
    """One task of a recipe: what it is made of, and the digest that names its outcome.

    night: what else decides what a night makes, for its digest; of a run of its own, nothing.
    """

    recipe: Recipe
    name: str
    device: str
    day: str = ALL_DAYS
    night: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task: Task = self.recipe.tasks[self.name]
        self.source = self.recipe.sources[self.task.source]
        self.consumer: type[Consumer] = consumer_class(self.task.consumer)
        self.make_with({**self.task.mix_options}, 0)  # an unknown option is said now, not after an hour
        check_metrics(self.consumer, self.task.verdict, f"tasks.{self.name}")
        for strategy in self.task.strategies:
            options = self.task.strategy_options.get(strategy, {})
            check_strategy(strategy, self.consumer.modality, options, f"tasks.{self.name}")
        self.inputs = sources.fingerprint(self.source)
        self.versions = {package: version(package) for package in PACKAGES}
        self.settings = {
            "task": self.task.model_dump(mode="json"),
            "source": self.source.model_dump(mode="json"),
            "seed": self.recipe.seed,
            "device": self.device.split(":")[0],
        }
        made_of = {**self.settings, "inputs": self.inputs, "versions": self.versions, "name": self.name}
        self.digest = digest(
            made_of if self.day == ALL_DAYS else {**made_of, "day": self.day, "night": dict(self.night)}
        )
        self.folder = Path(self.recipe.output) / self.name
        self.dataset = Dataset(self.folder)

    def make(self, seed: int) -> Consumer:
        """The consumer as the recipe has it, untrained."""
        return self.make_with({}, seed)

    def make_on_mix(self, seed: int) -> Consumer:
        """The consumer that trains on the mix."""
        return self.make_with(self.task.mix_options, seed)

    def make_with(self, options: Mapping[str, Any], seed: int) -> Consumer:
        """The consumer with `options` before the recipe's. Raises UsageError for one that it does not have."""
        known = dict(inspect.signature(self.consumer).parameters)
        takes_mutable = known.pop("mutable", None)  # the source's columns say which
        for option, value in (options := {**self.task.options, **options}).items():
            if option not in known:
                raise UsageError(f"tasks.{self.name}.options: unknown option '{option}'{suggest(option, known)}")
            check_type(value, known[option].default, f"tasks.{self.name}.options: {option}")
        if takes_mutable and self.source.columns.mutable is not None:
            options["mutable"] = tuple(field_column(name) for name in self.source.columns.mutable)
        return self.consumer(**options, seed=seed, device=self.device)

    def encoder(self, texts: Sequence[str], ngrams: Ngrams | None = None) -> TextEncoder:
        """The task's text encoder. Where n-grams belong to it: `ngrams`, or fitted on the training texts `texts`."""
        if not self.task.encoder.endswith(NGRAMS):
            ngrams = None
        elif ngrams is None:
            say(f"{self.name}: fitting n-grams of {len(texts):,} texts")
            ngrams = Ngrams.fit(texts, self.recipe.seed)
        cache = Path(self.recipe.output) / "embeddings.sqlite"
        return text_encoder(self.task.encoder, cache, self.device, ngrams)

    @property
    def seeds(self) -> list[int]:
        return [self.recipe.seed + i for i in range(self.task.verdict.seeds)]


@dataclass(frozen=True)
class Rows:
    """Real rows of one task, read but not encoded."""

    splits: sources.Splits
    train: pa.Table
    valid: pa.Table
    test: pa.Table
    unlabelled: pa.Table | None
    poisoned: int  # rows left out as bought

    @property
    def texts(self) -> list[str]:
        """Of the training rows, labelled and unlabelled."""
        rows = [self.train] if self.unlabelled is None else [self.train, self.unlabelled]
        return [text for table in rows for text in table["text"].to_pylist()]


@dataclass(frozen=True)
class Material:
    """Real rows of one task, read and encoded."""

    splits: sources.Splits
    arena: Arena
    unlabelled: pa.Table | None
    text: Text | None
    poisoned: int = 0  # rows left out as bought

    @property
    def ngrams(self) -> Ngrams | None:
        """Those that the encoder of reviews was joined with."""
        return None if self.text is None else self.text.model.ngrams


def read(job: Job, work: Path, ngrams: Ngrams | None = None) -> Material:
    """Clean and split the source, and give reviews their embeddings. Raises what `read_rows` does."""
    return encode(job, read_rows(job, work), ngrams)


def read_rows(job: Job, work: Path, drop_poison: bool = False) -> Rows:
    """Clean and split the source, without fake users and floods if asked.

    Raises what `sources.prepare` and `enough.check` do, and Refused when nothing but poison is left. Where rows are
    the reason, the message says where they are kept.
    """
    say(f"{job.name}: reading {job.task.source}")
    try:
        splits = sources.prepare(job.task.source, job.source, job.consumer.modality, work, job.recipe.seed)
    except sources.TooManyBad as error:
        raise BadInput(f"{error}; see {job.dataset.keep_quarantine(job.digest, error.quarantine)}") from None
    poisoned = _drop_poison(job, splits) if drop_poison else 0
    train, valid, test = (pq.read_table(path) for path in (splits.train, splits.valid, splits.test))
    enough.check(job.task.source, job.consumer.modality, train)
    unlabelled = pq.read_table(splits.unlabelled) if splits.unlabelled else None
    return Rows(splits, train, valid, test, unlabelled, poisoned)


def encode(job: Job, rows: Rows, ngrams: Ngrams | None = None) -> Material:
    """Give reviews their embeddings. ngrams: fitted before, of an encoder that has some; else they are fitted here."""
    text = None
    attach: Callable[[pa.Table], pa.Table] = lambda rows: rows  # noqa: E731
    if job.consumer.modality == "text":
        text = Text(job.encoder(rows.texts, ngrams))
        attach = text.attach
    train, valid, test = map(attach, (rows.train, rows.valid, rows.test))
    unlabelled = None if rows.unlabelled is None else attach(rows.unlabelled)

    def attack(rows: pa.Table, without: Collection[str]) -> dict[str, pa.Table]:
        made = job.make(job.recipe.seed).attacks(rows, job.recipe.seed)
        return {name: attach(variants) for name, variants in made.items() if name not in without}

    held_out = getattr(job.consumer, "held_out_attacks", ())
    return Material(rows.splits, Arena(train, valid, test, attack, held_out), unlabelled, text, rows.poisoned)


def _drop_poison(job: Job, splits: sources.Splits) -> int:
    """Move rows of fake users, or of floods, from every split to the quarantine; how many."""
    names = [n for n in ("train", "valid", "test", "unlabelled") if getattr(splits, n)]
    tables = [pq.read_table(getattr(splits, name)) for name in names]
    rows = pa.concat_tables(tables).combine_chunks()
    reasons = poison.reasons(rows, job.consumer.modality, job.recipe.seed)
    if not reasons:
        return 0
    bad = rows.take(pa.array(list(reasons)))
    content = [json.dumps(row, default=str, ensure_ascii=False) for row in bad.to_pylist()]
    moved = pa.table({"__row": pa.nulls(len(bad)), "reason": list(reasons.values()), "row": content})
    old = pq.read_table(splits.quarantine)
    schema = pa.schema([column.with_nullable(True) for column in old.schema])  # DuckDB's __row is never null
    pq.write_table(pa.concat_tables([old.cast(schema), moved.cast(schema)]), splits.quarantine)
    place = 0
    for name, table in zip(names, tables, strict=True):
        good = [i for i in range(len(table)) if place + i not in reasons]
        place += len(table)
        if not good:
            kept = job.dataset.keep_quarantine(job.digest, splits.quarantine)
            said = Counter(reasons[place - len(table) + i] for i in range(len(table))).most_common(3)
            why = ", ".join(f"{reason} ({count:,} rows)" for reason, count in said)
            raise Refused(
                f"every row of the {name} split looks bought; see {kept}, or set nightly.drop_poison = false: {why}"
            )
        if len(good) < len(table):
            pq.write_table(table.take(pa.array(good)), getattr(splits, name))
            splits.counts[name] = len(good)
    for reason in reasons.values():
        kind = reason.partition(":")[0]
        splits.quarantined[kind] = splits.quarantined.get(kind, 0) + 1
    return len(reasons)


def resolve_device(device: str, threads: int | None) -> str:
    """ "auto" is the GPU where there is one. Says what it chose; raises UsageError for a GPU that is not there."""
    if threads:
        torch.set_num_threads(threads)
        set_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here; use --device cpu, or see `sparring doctor`")
    chosen = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    say(f"device: {torch.cuda.get_device_name() if chosen == 'cuda' else f'cpu, {torch.get_num_threads()} threads'}")
    return chosen


def open_job(recipe: Recipe, name: str, device: str, threads: int | None) -> Job:
    if name not in recipe.tasks:
        raise UsageError(f"recipe '{recipe.name}' has no task '{name}'{suggest(name, recipe.tasks)}")
    return Job(recipe, name, resolve_device(device, threads))


@contextmanager
def work_folder(job: Job) -> Iterator[Path]:
    """Scratch space beside the output, gone when the work ends well or ill; locked, so that a killed one's is known."""
    output = Path(job.recipe.output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=WORK, dir=output) as folder, FileLock(Path(folder) / ".lock"):
        yield Path(folder)


def clear_work(output: Path) -> None:
    """Remove the scratch space that killed processes left; live ones hold their locks."""
    for folder in output.glob(f"{WORK}*"):
        with suppress(Timeout), FileLock(folder / ".lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
