"""Where the samples of one task are made: its modality, anchors, bank, label validity and gates, around one victim."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment.base.errors import Refused, UsageError, suggest
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Modality
from augment.contracts.sample import sample_schema
from augment.contracts.strategy import Workshop, build
from augment.contracts.tally import Tally
from augment.contracts.values import Anchors, Bank, Validity
from augment.gates.keeper import Gatekeeper
from augment.gates.labels import LabelValidity, of_each
from augment.gates.rankings import RankingValidity
from augment.generation.maker import Maker
from augment.modalities.behaviour import Behaviour, item_texts
from augment.modalities.fields import Fields
from augment.runs.rows import Material
from augment.runs.task import Job


class Studio:
    """Sees training rows only: `material.arena.test` is never touched here. `folder` keeps checkpoints.

    taken: ids of samples that are published already, and not to be made again.
    """

    def __init__(
        self, job: Job, material: Material, victim: Consumer, folder: Path, taken: Collection[str] = ()
    ) -> None:
        task, self._seed, self._task = job.task, job.recipe.seed, job.task
        self.modality, train = _modality(job, material, victim)
        rows = self.modality.anchors(train)
        rng = np.random.default_rng(self._seed)
        if len(rows) > task.generator.anchors:
            rows = rows.take(pa.array(_chosen(job, rows, rng)))
        embedding = self.modality.encode(rows)
        validity = _validity(job, rows, embedding)
        described = self.modality.describe(rows, validity.label, rng)
        self.anchors = Anchors(rows, embedding, validity.label, described, job.device)
        bank = build_bank(self.anchors, self.modality, task.generator.bank, task.generator.variants, rng)
        frozen = victim.as_victim()
        self._gatekeeper = Gatekeeper(self.anchors, bank, validity, frozen, task.gates)
        hardest = task.gates.keep == "hardest"
        self._maker = Maker(
            job.name,
            job.digest,
            job.day,
            taken,
            task.weight,
            hardest,
            self.modality,
            self.anchors,
            validity,
            self._gatekeeper,
        )
        aim = task.generator.band or task.gates.band
        self._filters: dict[float, RankingValidity] = {}  # by share, of `refiltered`
        self._workshop = Workshop(self.modality, self.anchors, bank, frozen, aim, task.generator, folder, self._seed)

    def samples(
        self, name: str, wanted: int, tally: Tally, number: int, options: Mapping[str, Any] | None = None
    ) -> Iterator[pa.Table]:
        """Batches of gated samples of one strategy; `number` sets its random stream apart from the others'.

        options: go before the recipe's. A strategy that cannot begin makes none, and `tally` says why.
        """
        if not wanted:
            tally.why = "its share comes to less than one sample"
            return iter(())
        try:
            strategy = build(name, self._workshop, {**self._task.strategy_options.get(name, {}), **(options or {})})
        except Refused as error:
            tally.wanted, tally.why = wanted, str(error)
            return iter(())
        return self._maker.samples(name, strategy, wanted, self._seed + number, tally)

    def nothing(self) -> pa.Table:
        """No samples, in the schema of some."""
        return sample_schema(self.modality.decoded).empty_table()

    def refiltered(self, samples: pa.Table, share: float) -> pa.Table:
        """A recommender's samples without the negatives among their users' likeliest `share` of items."""
        if "negatives" not in [f.name for f in self.modality.decoded] or not share:
            return samples
        place = {name: i for i, name in enumerate(self.anchors.rows["row_id"].to_pylist())}
        anchor = np.array([place[name] for name in samples["anchor_id"].to_pylist()], np.int64)
        decoded = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
        if share not in self._filters:  # its models are dear, and a search asks for few shares
            self._filters[share] = RankingValidity(self.anchors.rows, share, self._seed)
        kept, _ = self._filters[share].filter(anchor, decoded)
        return samples.set_column(samples.column_names.index("decoded"), "decoded", self.modality.as_decoded(kept))

    def real_hardness(self) -> np.ndarray:
        """float32[n]: the victim's loss on the anchors themselves."""
        return self._gatekeeper.hardness(np.arange(len(self.anchors)), self.anchors.embedding)


def _modality(job: Job, material: Material, victim: Consumer) -> tuple[Modality, pa.Table]:
    """The task's modality, in the space the victim was trained in, and the training rows it may start from."""
    train = material.arena.train
    every = train if material.unlabelled is None else pa.concat_tables([train, material.unlabelled])
    if material.text:
        return material.text, every
    if job.consumer.modality == "fields":
        return Fields(victim.tables(), train), every
    if job.consumer.modality == "behaviour":
        return Behaviour(victim.tables(), train, _content(job, train)), train
    modalities = ("text", "fields", "behaviour")
    raise UsageError(f"consumer '{job.task.consumer}' has modality '{job.consumer.modality}'"
                     + suggest(job.consumer.modality, modalities))  # fmt: skip


def _content(job: Job, train: pa.Table) -> tuple[list[str], np.ndarray] | None:
    """Items and the vectors of their texts, where the source names one and a strategy asks what items are alike."""
    if "text" not in train.column_names or "pseudo-interactions" not in job.task.strategies:
        return None
    items, texts = item_texts(train)
    return (items, job.encoder(texts).encode(texts)) if items else None


def _chosen(job: Job, rows: pa.Table, rng: np.random.Generator) -> np.ndarray:
    """Sorted places int64[n] of the rows that become anchors: any, but enough labels of each class to judge by."""
    chosen = rng.choice(len(rows), job.task.generator.anchors, replace=False)
    if job.consumer.modality != "behaviour":
        label = rows["label"].to_numpy()
        chosen = of_each(chosen, np.flatnonzero(np.isfinite(label)), label > 0.5)
    return np.sort(chosen)


def _validity(job: Job, rows: pa.Table, embedding: np.ndarray) -> Validity:
    if job.consumer.modality == "behaviour":
        return RankingValidity(rows, job.task.gates.false_negative_share, job.recipe.seed)
    label = rows["label"].to_numpy().astype(np.float32)  # null becomes NaN
    return LabelValidity(embedding, label, job.recipe.seed)


def build_bank(anchors: Anchors, modality: Modality, size: int, variants: int, rng: np.random.Generator) -> Bank:
    """Perturb `size` randomly chosen anchors `variants` times each, for real."""
    chosen = np.sort(rng.choice(len(anchors), size=min(size, len(anchors)), replace=False))
    rows = modality.perturb(anchors.rows.take(pa.array(np.repeat(chosen, variants))), rng)
    return Bank(chosen, variants, rows, modality.encode(rows), anchors.embedding[chosen], anchors.device)
