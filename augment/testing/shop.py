"""All that samples of a small shop are made with: its rows dealt out, a trained consumer, a workshop and gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from augment.contracts.consumer import Consumer
from augment.contracts.modality import Modality, Tools
from augment.contracts.registry import every, modality_class
from augment.contracts.tally import Tally
from augment.generation.studio import Order, Real, Studio
from augment.recipes.schema import Gates, Generator, Task, VerdictSettings
from augment.testing.data import glimpses, heard, rows_of, trigrams

GATES = Gates(band=(-30.0, 30.0), min_plausibility=0.0, min_label_agreement=0.0)  # which leave most through
GENERATOR = Generator(bank=40, variants=2, neighbours=4, steps=5, batch=16, draws=2)


class Plain:
    """Stands in for a trained consumer where a modality has none yet: its logit is the sum of a row's vector."""

    dim, prior = 0, 0.0

    def loss(self, embedding: torch.Tensor, condition: Any) -> torch.Tensor:
        return F.softplus((1 - 2 * condition.label) * embedding.sum(dim=1))

    def as_victim(self) -> Plain:
        return self

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        return {}


@dataclass(frozen=True, eq=False)
class Shop:
    """Rows of one modality, dealt out, and what is made around a consumer that was trained on them."""

    modality: type[Modality]
    consumer: type[Consumer] | None
    rows: pa.Table
    options: Mapping[str, Any] = field(default_factory=dict)  # of the consumer

    @property
    def tools(self) -> Tools:
        """With an encoder of no weight, of pictures, clips or texts."""
        of_files = {"image": glimpses, "clip": heard}
        return Tools(0, (), next((of_files[role] for role in self.modality.rows.needs if role in of_files), trigrams))

    @cached_property
    def real(self) -> Real:
        """Training rows; a fifth of them has no label where the modality takes such rows."""
        train, unlabelled = self.rows.slice(0, len(self.rows) * 7 // 10), None
        if self.modality.rows.unlabelled != "bad":
            count = len(train) // 5
            unlabelled, train = train.slice(0, count), train.slice(count)
            none = pa.nulls(count, unlabelled["label"].type)
            unlabelled = unlabelled.set_column(unlabelled.column_names.index("label"), "label", none)
        prepared = self.modality.prepare(lambda: train["text"].to_pylist(), self.tools)
        return Real(prepared.attach(train), None if unlabelled is None else prepared.attach(unlabelled), prepared)

    @cached_property
    def held_out(self) -> tuple[pa.Table, pa.Table]:
        """Validation and test rows."""
        start, half = len(self.rows) * 7 // 10, len(self.rows) * 3 // 20
        attach = self.real.prepared.attach
        return attach(self.rows.slice(start, half)), attach(self.rows.slice(start + half))

    @cached_property
    def victim(self) -> Any:
        """The consumer, trained on real rows."""
        return self.consumer(**self.options).fit(self.real.train, self.held_out[0]) if self.consumer else Plain()

    @property
    def figures(self) -> dict[str, float]:
        """Metric → the victim's value on the test rows, unattacked."""
        return {name: measure.value() for name, measure in self.victim.evaluate(self.held_out[1], {}).items()}

    @cached_property
    def studio(self) -> Studio:
        """Anchors, bank, workshop and gates; its folder is none: whoever learns something gives one of its own."""
        limits = VerdictSettings(clean=["any"], improve=["any"])
        task = Task(consumer="any", source="rows", samples=60, strategies={"noise": 1.0}, gates=GATES,
                    generator=GENERATOR, verdict=limits)  # fmt: skip
        order = Order("shop", "run", "all", task, self.modality, self.tools, "cpu")
        return Studio(order, self.real, self.victim, Path("nowhere"))

    @cached_property
    def mix(self) -> pa.Table:
        """Published samples: really perturbed rows."""
        return pa.concat_tables(self.studio.samples("noise", 60, Tally(), 1))


def usual(modality: type[Modality], consumer: type[Consumer] | None = None) -> Shop:
    """The shop of a modality, around that consumer, or else the first that is registered for it, if one is."""
    return _usual(modality, consumer or _first(modality))


def around(consumer: type[Consumer], rows: pa.Table | None = None, options: Mapping[str, Any] | None = None) -> Shop:
    """The shop around a consumer with these options; rows: see `shop_of`."""
    modality = modality_class(consumer.modality)
    if rows is None and not options:
        return usual(modality, consumer)
    return Shop(modality, consumer, _rows(modality, consumer) if rows is None else rows, options or {})


@cache
def _usual(modality: type[Modality], consumer: type[Consumer] | None) -> Shop:
    return Shop(modality, consumer, _rows(modality, consumer))


def _rows(modality: type[Modality], consumer: type[Consumer] | None) -> pa.Table:
    return rows_of(modality, _multiclass(consumer))


def shop_of(modality: type[Modality], rows: pa.Table, consumer: type[Consumer] | None = None) -> Shop:
    """A shop of the author's own rows, as prepared splits have them: `row_id`, what the modality's rules need, fields.

    In any order: the first 70% are the training rows.
    """
    return Shop(modality, consumer or _first(modality), rows)


def _first(modality: type[Modality]) -> type[Consumer] | None:
    """Of two classes, if there is one."""
    own = [one for one in every("consumers").values() if one.modality == modality.name]
    return min(own, key=_multiclass, default=None)


def _multiclass(consumer: type[Consumer] | None) -> bool:
    return getattr(consumer, "multiclass", False)
