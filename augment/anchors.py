"""The training rows that samples start from, and the real perturbations that ground them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch

from augment.modalities import Described, Modality, classes
from augment.neighbours import Neighbours
from gan.victim import Condition


@dataclass(frozen=True)
class Anchors:
    """Training rows of one task in encoder space. `label` float32[n] is what a sample of the row is published with."""

    rows: pa.Table
    embedding: np.ndarray  # float32[n, D]
    label: np.ndarray
    described: Described
    device: str

    def __len__(self) -> int:
        return len(self.embedding)

    def condition(self, index: np.ndarray, label: np.ndarray | None = None) -> Condition:
        """The generator's and the victim's condition for the anchors at `index` (repeats allowed).

        label: float32[n], for samples of a classifier whose label is not their anchor's.
        """
        target, segment, context = (torch.from_numpy(np.ascontiguousarray(x[index])) for x in self.described)
        if label is not None:
            target, context = torch.from_numpy(label), torch.from_numpy(classes(label))
        return Condition(target, segment, context).to(self.device)

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
    def copies(self) -> Neighbours:
        return Neighbours(self.embedding, self.device)

    @cached_property
    def origins(self) -> Neighbours:
        return Neighbours(self.origin, self.device)


def build_bank(anchors: Anchors, modality: Modality, size: int, variants: int, rng: np.random.Generator) -> Bank:
    """Perturb `size` randomly chosen anchors `variants` times each, for real."""
    chosen = np.sort(rng.choice(len(anchors), size=min(size, len(anchors)), replace=False))
    rows = modality.perturb(anchors.rows.take(pa.array(np.repeat(chosen, variants))), rng)
    return Bank(chosen, variants, rows, modality.encode(rows), anchors.embedding[chosen], anchors.device)
