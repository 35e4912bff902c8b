"""A small shop for the tests of plug-ins: its rows, and all that samples of them are made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from augment.contracts.consumer import Consumer
from augment.contracts.modality import Modality, Tools
from augment.contracts.registry import every
from augment.contracts.tally import Tally
from augment.generation.studio import Order, Real, Studio
from augment.language.encoders import TextEncoder
from augment.recipes.schema import Gates, Generator, Task, VerdictSettings

USERS, ITEMS, EACH = 40, 30, 12  # of each user's items
START = 1_700_000_000_000_000  # microseconds
GOOD, BAD = ("great", "lovely", "perfect", "happy", "soft"), ("awful", "broken", "terrible", "ugly", "rough")
PLAIN = ("the", "dress", "shirt", "colour", "fabric", "waist", "size", "arrived", "today", "very", "really", "很漂亮")
DIM = 16  # of text vectors
GATES = Gates(band=(-30.0, 30.0), min_plausibility=0.0, min_label_agreement=0.0)  # which leave most through
GENERATOR = Generator(bank=40, variants=2, neighbours=4, steps=5, batch=16, draws=2)


def rows() -> pa.Table:
    """480 rows with every role that there is, as prepared splits have them: float32 labels of both classes."""
    rng = np.random.default_rng(0)
    taste, charm = rng.standard_normal((USERS, 4)), rng.standard_normal((ITEMS, 4))
    liking = taste @ charm.T
    chosen = np.argsort(-liking - rng.gumbel(size=liking.shape), axis=1)[:, :EACH]
    pairs = rng.permutation(np.stack([np.repeat(np.arange(USERS), EACH), chosen.ravel()], axis=1))
    user, item = pairs.T
    liked = liking[user, item] > np.median(liking[user, item])
    texts = [" ".join(rng.permutation([*rng.choice(PLAIN, 7), *rng.choice(GOOD if y else BAD, 3)])) for y in liked]
    columns: dict[str, Any] = {
        "row_id": [f"r{n}" for n in range(len(pairs))],
        "user_id": [f"u{n}" for n in user],
        "item_id": [f"i{n}" for n in item],
        "timestamp": START + 3_600_000_000 * np.arange(len(pairs)),
        "text": texts,
        "segment": [("dresses", "shirts", "shoes")[n % 3] for n in item],
        "colour": [("red", "green", "blue", "black", "white")[n % 5] for n in item],
        "size": rng.choice(["S", "M", "L", "XL"], len(pairs)),
        "device": [None if n % 9 == 0 else ("phone", "desk")[n % 2] for n in user],
        "label": liked.astype(np.float32),
    }
    return pa.table(columns)


def rows_of(modality: type[Modality]) -> pa.Table:
    """Those columns alone that the modality's rules ask for, or can do with."""
    rules = modality.rows
    wanted = {"row_id", "timestamp", *rules.needs, *(("segment",) if "text" in rules.needs else ())}
    fields = ("user_id", "item_id", "colour", "size", "device") if rules.fields else ()
    return rows().select([name for name in rows().column_names if name in wanted or name in fields])


def trigrams(texts: Sequence[str], ngrams: Any = None) -> TextEncoder:
    """A text encoder of no weight: hashed character trigrams, projected, so that near texts have near vectors."""
    projection = np.random.default_rng(0).standard_normal((997, DIM)).astype(np.float32)

    def encode(batch: list[str]) -> np.ndarray:
        codes = [[ord(a) + 31 * ord(b) + 961 * ord(c) for a, b, c in zip(t, t[1:], t[2:], strict=False)] for t in batch]
        return np.stack([projection[np.array(code or [0]) % 997].sum(axis=0) for code in codes])

    return TextEncoder("trigrams@1", DIM, encode, None)


class Plain:
    """Stands in for a trained consumer where a modality has none yet: its logit is the sum of a row's vector."""

    dim = 0

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

    tools: ClassVar[Tools] = Tools(0, (), trigrams)

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
        """The consumer at its defaults, trained on real rows."""
        return self.consumer().fit(self.real.train, self.held_out[0]) if self.consumer else Plain()

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


@cache
def usual(modality: type[Modality], consumer: type[Consumer] | None = None) -> Shop:
    """The shop of a modality, around that consumer, or else the first that is registered for it, if one is."""
    return shop(modality, rows_of(modality), consumer)


def shop(modality: type[Modality], rows: pa.Table, consumer: type[Consumer] | None = None) -> Shop:
    """A shop of rows of the author's own, as prepared splits have them: `row_id`, what the modality's rules need, and
    fields; in any order, since the first 70% are the training rows."""
    known = (one for one in every("consumers").values() if one.modality == modality.name)
    return Shop(modality, consumer or next(known, None), rows)
