"""One task's real rows: read, freed of what looks bought, and encoded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augment.base.errors import BadInput, Refused
from augment.base.progress import say
from augment.contracts.modality import Prepared, RowRules
from augment.contracts.values import Arena
from augment.generation.catalogue import Catalogue
from augment.generation.new_items import had_their_time
from augment.generation.studio import Real
from augment.language.ngrams import Ngrams
from augment.runs.task import Job
from augment.sources.prepare import PEOPLE, PRODUCTS, prepare, prepare_catalogue
from augment.sources.splits import Splits, TooManyBad


@dataclass(frozen=True)
class Rows:
    """Real rows of one task, read but not encoded."""

    splits: Splits
    train: pa.Table
    valid: pa.Table
    test: pa.Table
    unlabelled: pa.Table | None
    poisoned: int  # rows left out as bought
    products: pa.Table | None = None  # the catalogue, where the task has one
    people: pa.Table | None = None  # what users declare, where the task has it

    @property
    def texts(self) -> list[str]:
        """Of the training rows, labelled and unlabelled."""
        rows = [self.train] if self.unlabelled is None else [self.train, self.unlabelled]
        return [text for table in rows for text in table["text"].to_pylist()]


@dataclass(frozen=True)
class Material:
    """Real rows of one task, read and encoded."""

    splits: Splits
    arena: Arena
    unlabelled: pa.Table | None
    prepared: Prepared
    poisoned: int = 0  # rows left out as bought
    catalogue: Catalogue | None = None
    people: pa.Table | None = None  # what users declare

    @property
    def real(self) -> Real:
        """What samples may be made of."""
        return Real(self.arena.train, self.unlabelled, self.prepared)

    @property
    def ngrams(self) -> Ngrams | None:
        """Those that the rows' encoder was joined with."""
        return self.prepared.ngrams


def read(job: Job, work: Path, ngrams: Ngrams | None = None) -> Material:
    """Clean and split the source, and give reviews their embeddings. Raises what `read_rows` does."""
    return encode(job, read_rows(job, work), ngrams)


def read_rows(job: Job, work: Path, drop_poison: bool = False) -> Rows:
    """Clean and split the source, without fake users and floods if asked.

    Raises what `prepare` and `Modality.check_enough` do, and Refused when nothing but poison is left. Where rows are
    the reason, the message says where they are kept.
    """
    say(f"{job.name}: reading {job.task.source}")
    try:
        splits = prepare(
            job.task.source, job.source, job.consumer.modality, work, job.recipe.seed, job.task.encoder, job.decoded
        )
    except TooManyBad as error:
        raise BadInput(f"{error}; see {job.dataset.keep_quarantine(job.digest, error.quarantine)}") from None
    poisoned = _drop_poison(job, splits) if drop_poison else 0
    train, valid, test = (pq.read_table(path) for path in (splits.train, splits.valid, splits.test))
    job.modality.check_enough(job.task.source, train)
    unlabelled = pq.read_table(splits.unlabelled) if splits.unlabelled else None
    products = _catalogue(job, job.task.products, PRODUCTS, work / "products", splits)
    if products is not None and splits.left_out:
        old = pc.is_in(products["item_id"], had_their_time(train, pq.read_table(splits.left_out)))
        products = products.filter(pc.invert(old))
        if old_ones := pc.sum(old).as_py():
            say(f"{job.name}: items of {job.task.products} not new, though no row of them is left: {old_ones:,}")
    people = _catalogue(job, job.attributes, PEOPLE, work / "people", splits)
    return Rows(splits, train, valid, test, unlabelled, poisoned, products, people)


def encode(job: Job, rows: Rows, ngrams: Ngrams | None = None) -> Material:
    """Give reviews their embeddings. ngrams: fitted before, of an encoder that has some; else they are fitted here."""
    prepared = job.modality.prepare(lambda: rows.texts, job.tools, ngrams)
    attach = prepared.attach
    train, valid, test = map(attach, (rows.train, rows.valid, rows.test))
    unlabelled = None if rows.unlabelled is None else attach(rows.unlabelled)

    def attack(rows: pa.Table, without: Collection[str]) -> dict[str, pa.Table]:
        made = job.make(job.recipe.seed).attacks(rows, job.recipe.seed)
        return {name: attach(variants) for name, variants in made.items() if name not in without}

    held_out = getattr(job.consumer, "held_out_attacks", ())
    catalogue = None
    if rows.products is not None:
        say(f"{job.name}: encoding {len(rows.products):,} items of {job.task.products}")
        typos = job.recipe.seed if job.task.new_items.typos else None
        catalogue = Catalogue.of(rows.products, job.encoder, typos, job.image_encoder)
    arena = Arena(train, valid, test, attack, held_out)
    return Material(rows.splits, arena, unlabelled, prepared, rows.poisoned, catalogue, rows.people)


def _catalogue(job: Job, name: str | None, rules: RowRules, work: Path, splits: Splits) -> pa.Table | None:
    """Its good rows, where there is one; the others go into the quarantine of `splits`, with the source's name."""
    if name is None:
        return None
    say(f"{job.name}: reading {name}")
    try:
        read = prepare_catalogue(name, job.recipe.sources[name], rules, work, job.recipe.seed, job.decoded)
    except TooManyBad as error:
        raise BadInput(f"{error}; see {job.dataset.keep_quarantine(job.digest, error.quarantine)}") from None
    bad = pq.read_table(read.quarantine)
    _quarantine(splits, bad["row"].to_pylist(), [f"{name}: {reason}" for reason in bad["reason"].to_pylist()])
    for reason, count in read.quarantined.items():
        splits.quarantined[f"{name}: {reason}"] = count
    return pq.read_table(read.train)


def _quarantine(splits: Splits, content: list[str], reasons: list[str]) -> None:
    """Rows, as JSON, beside those that are in the quarantine already."""
    moved = pa.table({"__row": pa.nulls(len(content)), "reason": reasons, "row": content})
    old = pq.read_table(splits.quarantine)
    schema = pa.schema([column.with_nullable(True) for column in old.schema])  # DuckDB's __row is never null
    pq.write_table(pa.concat_tables([old.cast(schema), moved.cast(schema)]), splits.quarantine)


def _said(value: object) -> str:
    """What JSON has no form for."""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)


def _drop_poison(job: Job, splits: Splits) -> int:
    """Move rows of fake users, or of floods, from every split to the quarantine; how many."""
    names = [n for n in ("train", "valid", "test", "unlabelled") if getattr(splits, n)]
    tables = [pq.read_table(getattr(splits, name)) for name in names]
    rows = pa.concat_tables(tables).combine_chunks()
    reasons = job.modality.bought(rows, job.recipe.seed)
    if not reasons:
        return 0
    bad = rows.take(pa.array(list(reasons)))
    content = [json.dumps(row, default=_said, ensure_ascii=False) for row in bad.to_pylist()]
    _quarantine(splits, content, list(reasons.values()))
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
