"""The training rows that samples start from, and the real perturbations that ground them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import torch

from augment.numeric.columns import as_labels, label_type, whole
from augment.numeric.neighbours import Neighbours
from gan.victim import Condition


@dataclass(frozen=True)
class Anchors:
    """Training rows of one task in encoder space. `label` is what a sample of the row is published with.

    float32[n], or of K classes float32[n, K]; so are all labels here.
    """

    rows: pa.Table
    embedding: np.ndarray  # float32[n, D]
    label: np.ndarray
    described: Described
    device: str

    def __len__(self) -> int:
        return len(self.embedding)

    def condition(self, index: np.ndarray, label: np.ndarray | None = None) -> Condition:
        """The generator's and the victim's condition for the anchors at `index` (repeats allowed).

        label: float32[n] or [n, K], for samples of a classifier whose label is not their anchor's.
        """
        target, segment, context = (torch.from_numpy(np.ascontiguousarray(x[index])) for x in self.described)
        if label is not None:
            target, context = torch.from_numpy(label), torch.from_numpy(classes(label))
        return Condition(target, segment, context).to(self.device)

    @cached_property
    def own_label(self) -> pa.Array:
        """float32, or lists of K of them, null where a row has none; of users, 1.0."""
        if "label" not in self.rows.column_names:
            return as_labels(self.label)
        return whole(self.rows["label"]).cast(label_type(multiclass=self.label.ndim > 1))

    @cached_property
    def index(self) -> Neighbours:
        """The real rows: neighbours, plausibility and novelty are all measured against these."""
        return Neighbours(self.embedding, self.device)


@dataclass(frozen=True)
class Bank:
    """Really perturbed copies of some anchors: `variants` copies each, copy v of anchor i at row i * variants + v."""

    anchor: np.ndarray  # int64[m], which anchors
    variants: int
    rows: pa.Table  # m * variants
    embedding: np.ndarray  # float32[m * variants, D]
    origin: np.ndarray  # float32[m, D], the anchors' own vectors
    device: str

    @property
    def displacements(self) -> np.ndarray:
        """float32[m, variants, D]: how far, and where, a real perturbation moves a real row."""
        copies = self.embedding.reshape(len(self.anchor), self.variants, -1)
        return copies - self.origin[:, None]

    @cached_property
    def scale(self) -> float:
        """Mean length of a real displacement."""
        return float(np.linalg.norm(self.displacements, axis=2).mean())

    @cached_property
    def origins(self) -> Neighbours:
        return Neighbours(self.origin, self.device)


@dataclass(frozen=True)
class Arena:
    """One task's real rows, ready to train on. `test` and `attacked` are read by `judge` alone.

    attack: perturbed copies of rows, as `Consumer.attacks` makes them, without those named; made, and encoded, when
    first asked for. held_out: attacks that nothing is ever chosen by.
    """

    train: pa.Table
    valid: pa.Table
    test: pa.Table
    attack: Callable[[pa.Table, Collection[str]], Mapping[str, pa.Table]]
    held_out: Collection[str] = ()

    @cached_property
    def attacked(self) -> Mapping[str, pa.Table]:
        return self.attack(self.test, ())

    @cached_property
    def attacked_valid(self) -> Mapping[str, pa.Table]:
        return self.attack(self.valid, self.held_out)


class Labeller(Protocol):
    """What labels samples; see `augment.contracts.teacher`."""

    called: str

    def label(self, candidates: Candidates) -> Candidates: ...


class Validity(ABC):
    """Whether samples still are what their labels say."""

    label: np.ndarray  # float32[N] or [N, K] of the anchors, soft where one had none
    teacher: Labeller | None = None  # who labels samples; without one they keep their anchors' labels

    @property
    def source(self) -> str:
        """The teacher by name, or ""."""
        return self.teacher.called if self.teacher else ""

    def taught(self, candidates: Candidates) -> Candidates:
        """With the teacher's labels of what they show; as they are where there is none."""
        return self.teacher.label(candidates) if self.teacher else candidates

    def told(self, taught: Candidates) -> Candidates:
        """With the labels that they are published with, where a teacher is told more of them than they show."""
        return taught

    @abstractmethod
    def agreement(self, candidates: Candidates) -> np.ndarray:
        """float32[n] in [0, 1]."""

    def filter(self, anchor: np.ndarray, rows: pa.Table) -> tuple[pa.Table, int]:
        """Rows without their likely false negatives, and how many were dropped."""
        return rows, 0


@dataclass(frozen=True)
class Candidates:
    """Proposed samples: candidate i was made from the anchor at anchor[i]."""

    anchor: np.ndarray  # int64[n]
    rows: pa.Table  # in the modality's columns
    embedding: np.ndarray  # float32[n, D]
    label: np.ndarray | None = None  # float32[n] or [n, K] where it is not the anchor's own
    spread: np.ndarray | None = None  # float32[n] of a teacher's members, where one labelled them

    def __len__(self) -> int:
        return len(self.anchor)

    def take(self, index: np.ndarray) -> Candidates:
        label, spread = (None if x is None else x[index] for x in (self.label, self.spread))
        return Candidates(self.anchor[index], self.rows.take(pa.array(index)), self.embedding[index], label, spread)


class Described(NamedTuple):
    """What anchors are conditioned on; see `gan.victim.Condition`."""

    target: np.ndarray  # float32[n] class probability, float32[n, K] of K classes, or int64[n] target item
    segment: np.ndarray  # int64[n]
    context: np.ndarray  # float32[n, C]


def classes(label: np.ndarray) -> np.ndarray:
    """float32[n, 2]: the soft two-class encoding of labels in [0, 1]; labels float32[n, K] are one already."""
    return label if label.ndim > 1 else np.stack([1 - label, label], axis=1).astype(np.float32)


def class_of(label: np.ndarray) -> np.ndarray:
    """int64[n]: the likeliest class of each label float32[n] or float32[n, K]."""
    return label.argmax(axis=1) if label.ndim > 1 else (label > 0.5).astype(np.int64)


def known(label: np.ndarray) -> np.ndarray:
    """bool[n]: which labels float32[n] or float32[n, K] are there."""
    return np.isfinite(label) if label.ndim == 1 else np.isfinite(label).all(axis=1)
