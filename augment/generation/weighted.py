"""Rows of weighted neighbours in the schema of samples: new items, and users of few interactions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from augment.contracts.modality import Histories
from augment.contracts.sample import sample_schema
from augment.numeric import measures
from augment.numeric.neighbours import Neighbours
from augment.numeric.vectors import highest_places

PLACES = 20  # of a list of recommendations


@dataclass(frozen=True)
class Stamp:
    """Of what run a row is."""

    task: str
    run: str
    day: str
    weight: float


@dataclass(frozen=True)
class Weighted:
    """names: whom N rows are of; weights: float32[N, K] of the `known`; embedding: unit vectors float32[N, D].

    shown: a list of item names each, under `field` of the decoded form. distance: float32[N], to the nearest known
    one; plausibility, agreement: float32[N] in (0, 1].
    """

    names: pa.Array
    weights: csr_matrix
    known: pa.Array
    embedding: np.ndarray
    field: str
    shown: pa.Array
    distance: np.ndarray
    plausibility: np.ndarray
    agreement: np.ndarray

    def table(self, stamp: Stamp, strategy: str, source: str, modality: Histories) -> pa.Table:
        """source: who said it, by name."""
        near, size = self._listed()
        count, none = len(self.names), pa.nulls(len(self.names), pa.float32())
        rows = zip(self.names.to_pylist(), near, size, strict=True)
        columns = {
            "sample_id": [_id(stamp, strategy, *row) for row in rows],
            "task": [stamp.task] * count,
            "strategy": [strategy] * count,
            "label": np.ones(count, np.float32),
            "label_source": [source] * count,
            "anchor_label": none,
            "teacher_spread": none,
            "weight": np.full(count, stamp.weight, np.float32),
            "anchor_id": self.names,
            "neighbour_ids": near,
            "neighbour_weights": size,
            "encoder": [modality.encoder] * count,
            "embedding": list(self.embedding),
            "decoded": self._decoded(modality),
            "hardness": none,
            "plausibility": self.plausibility,
            "label_agreement": self.agreement,
            "novelty": (self.distance**2 / 2).astype(np.float32),  # of unit vectors: 1 − cosine
            "run": [stamp.run] * count,
            "day": [stamp.day] * count,
        }
        return pa.table(columns, schema=sample_schema(modality.decoded))

    def _listed(self) -> tuple[list[list[str]], list[np.ndarray]]:
        """Neighbours and their weights, those of greatest size first."""
        near, size, weights = [], [], self.weights
        for i in range(len(self.names)):
            own = slice(weights.indptr[i], weights.indptr[i + 1])
            order = np.argsort(-np.abs(weights.data[own]), kind="stable")
            near.append(self.known.take(pa.array(weights.indices[own][order])).to_pylist())
            size.append(weights.data[own][order])
        return near, size

    def _decoded(self, modality: Histories) -> pa.StructArray:
        none = pa.array([[]] * len(self.names), pa.list_(pa.string()))
        fields = list(modality.decoded)
        return pa.StructArray.from_arrays([self.shown if f.name == self.field else none for f in fields], fields=fields)


def ndcg(scores: np.ndarray, hidden: csr_matrix) -> float:
    """At 20, of scores float32[n, I], where each user wants what is hidden [n, I], at least one."""
    best = np.stack([*highest_places(np.maximum(scores, -1e30), PLACES)])
    hit = np.asarray(hidden[np.arange(len(best))[:, None], best].todense())
    return float(measures.ndcg(hit, hidden.getnnz(axis=1)).mean())


def spacing(vectors: np.ndarray) -> np.ndarray:
    """float32[n], sorted: the distance of each to the nearest other."""
    return np.sort(Neighbours(vectors).search(vectors, 2)[0][:, -1])


def usual(distance: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """float32[n] in (0, 1]: the share of known ones at least as far from all others (a conformal p-value)."""
    farther = len(spacing) - np.searchsorted(spacing, distance - 1e-6)
    return ((1 + farther) / (1 + len(spacing))).astype(np.float32)


def _id(stamp: Stamp, strategy: str, name: str, near: Iterable[str], weights: np.ndarray) -> str:
    """The same one, like the same known ones, is the same row in every run; each night says it anew."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update("\0".join([stamp.task, strategy, stamp.day, name, *near]).encode())
    digest.update(weights.tobytes())
    return digest.hexdigest()
