"""Where the samples of one task are made: its modality, anchors, bank, label validity and gates, around one victim."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment.base.errors import Refused
from augment.contracts.consumer import Consumer
from augment.contracts.modality import Histories, Modality, Prepared, Tools
from augment.contracts.sample import sample_schema
from augment.contracts.strategy import Workshop, build
from augment.contracts.tally import Tally
from augment.contracts.values import Anchors, Bank, Labeller, Validity
from augment.gates.keeper import Gatekeeper
from augment.generation.maker import Maker
from augment.recipes.schema import Task


@dataclass(frozen=True)
class Order:
    """What samples are asked for."""

    task: str
    run: str  # digest
    day: str
    settings: Task
    modality: type[Modality]
    tools: Tools
    device: str


@dataclass(frozen=True)
class Real:
    """The rows that they may be made of: training rows, prepared."""

    train: pa.Table
    unlabelled: pa.Table | None
    prepared: Prepared


class Studio:
    """`folder` keeps checkpoints. taken: ids of samples that are published already, and not to be made again.

    teacher: labels the samples; without one they keep their anchors' labels.
    """

    def __init__(
        self, order: Order, real: Real, victim: Consumer, folder: Path, taken: Collection[str] = (),
        teacher: Labeller | None = None,
    ) -> None:  # fmt: skip
        task, self._seed, self._task = order.settings, order.tools.seed, order.settings
        self.modality = order.modality.around(real.train, real.prepared, victim, order.tools)
        rows = self.modality.anchors(real.train, real.unlabelled)
        rng = np.random.default_rng(self._seed)
        if len(rows) > task.generator.anchors:
            rows = rows.take(pa.array(np.sort(self.modality.chosen(rows, task.generator.anchors, rng))))
        embedding = self.modality.encode(rows)
        validity = self.modality.validity(rows, embedding, task.gates, self._seed, teacher)
        described = self.modality.describe(rows, validity.label, rng)
        self.anchors = Anchors(rows, embedding, validity.label, described, order.device)
        bank = build_bank(self.anchors, self.modality, task.generator.bank, task.generator.variants, rng)
        frozen = victim.as_victim()
        self.gatekeeper = Gatekeeper(self.anchors, bank, validity, frozen, task.gates)
        hardest = (task.gates.keep or ("hardest" if teacher else "any")) == "hardest"
        self._maker = Maker(
            order.task,
            order.run,
            order.day,
            taken,
            task.weight,
            hardest,
            self.modality,
            self.anchors,
            validity,
            self.gatekeeper,
        )
        aim = task.generator.band or task.gates.band
        self._filters: dict[float, Validity] = {}  # by share, of `refiltered`
        self.workshop = Workshop(
            self.modality, self.anchors, bank, frozen, aim, task.generator, folder, self._seed, teacher
        )

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
            strategy = build(name, self.workshop, {**self._task.strategy_options.get(name, {}), **(options or {})})
        except Refused as error:
            tally.wanted, tally.why = wanted, str(error)
            return iter(())
        return self._maker.samples(name, strategy, wanted, self._seed + number, tally)

    def nothing(self) -> pa.Table:
        """No samples, in the schema of some."""
        return sample_schema(self.modality.decoded, self.anchors.label.ndim > 1).empty_table()

    def refiltered(self, samples: pa.Table, share: float) -> pa.Table:
        """A recommender's samples without the negatives among their users' likeliest `share` of items."""
        if not isinstance(self.modality, Histories) or not share:
            return samples
        place = {name: i for i, name in enumerate(self.anchors.rows["row_id"].to_pylist())}
        anchor = np.array([place[name] for name in samples["anchor_id"].to_pylist()], np.int64)
        decoded = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
        if share not in self._filters:  # its models are dear, and a search asks for few shares
            gates = self._task.gates.model_copy(update={"false_negative_share": share})
            self._filters[share] = self.modality.validity(self.anchors.rows, self.anchors.embedding, gates, self._seed)
        kept, _ = self._filters[share].filter(anchor, decoded)
        return samples.set_column(samples.column_names.index("decoded"), "decoded", self.modality.as_decoded(kept))

    def real_hardness(self) -> np.ndarray:
        """float32[n]: the victim's loss on the anchors themselves."""
        return self.gatekeeper.hardness(np.arange(len(self.anchors)), self.anchors.embedding)


def build_bank(anchors: Anchors, modality: Modality, size: int, variants: int, rng: np.random.Generator) -> Bank:
    """Perturb `size` randomly chosen anchors `variants` times each, for real."""
    chosen = np.sort(rng.choice(len(anchors), size=min(size, len(anchors)), replace=False))
    rows = modality.perturb(anchors.rows.take(pa.array(np.repeat(chosen, variants))), rng)
    return Bank(chosen, variants, rows, modality.encode(rows), anchors.embedding[chosen], anchors.device)
