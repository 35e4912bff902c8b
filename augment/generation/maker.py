"""From anchors to publishable samples: propose, judge, keep one that passes per anchor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.files import sha256
from augment.contracts.modality import Modality
from augment.contracts.sample import sample_schema
from augment.contracts.strategy import Strategy
from augment.contracts.tally import Tally
from augment.contracts.values import Anchors, Candidates, Validity
from augment.gates.keeper import Gatekeeper, Judged
from augment.numeric.columns import as_labels

BATCH = 512  # anchors at a time: bounds the memory of a run, whatever its length
PASSES = 16  # over the anchors at most; a pass that brings nothing new is the last


@dataclass(frozen=True)
class Maker:
    """Turns what the gates let through into rows of the published table."""

    task: str
    run: str
    day: str
    taken: Collection[str]  # ids of samples that the version holds already
    weight: float
    hardest: bool  # of an anchor's passing candidates; else any
    modality: Modality
    anchors: Anchors
    validity: Validity
    gatekeeper: Gatekeeper

    def samples(self, name: str, strategy: Strategy, wanted: int, seed: int, tally: Tally) -> Iterator[pa.Table]:
        """Batches of samples of one strategy, up to `wanted` in all; `tally` counts what happened on the way."""
        seen = set(self.taken)
        tally.wanted = wanted
        for number in range(PASSES):
            rng = np.random.default_rng([seed, number])
            order, before = rng.permutation(len(self.anchors)), tally.kept
            for start in range(0, len(order), BATCH):
                batch = order[start : start + min(BATCH, max(8, wanted - tally.kept))]
                candidates = strategy.propose(batch, rng)
                if not len(candidates):
                    continue
                judged = self.gatekeeper.judge(candidates, strategy.novel)
                judged.count(tally)
                gaps = None
                if self.hardest:
                    gaps = self.modality.gaps(candidates.rows, self.anchors.rows.take(pa.array(candidates.anchor)))
                table = self._table(name, _one_per_anchor(judged, gaps), seen, tally)
                table = table.slice(0, wanted - tally.kept)
                if len(table):
                    tally.kept += len(table)
                    tally.hardness += table["hardness"].to_pylist()
                    tally.novelty += table["novelty"].to_pylist()
                    yield table
                if tally.kept >= wanted:
                    return
            if tally.kept == before:
                break
        if not tally.proposed:
            tally.why = strategy.idle

    def _table(self, name: str, judged: Judged, seen: set[str], tally: Tally) -> pa.Table:
        candidates, anchor = judged.candidates, judged.candidates.anchor
        rows, dropped = self.validity.filter(anchor, candidates.rows)
        tally.false_negatives += dropped
        anchor_ids = self.anchors.rows["row_id"].take(pa.array(anchor))
        decoded = self.modality.as_decoded(rows)
        made_of = zip(anchor_ids.to_pylist(), candidates.embedding, decoded.to_pylist(), strict=True)
        ids = [self._id(name, *parts) for parts in made_of]
        neighbours = self.anchors.rows["row_id"].combine_chunks().take(pa.array(judged.neighbours.ravel()))
        width = judged.neighbours.shape[1]
        count = len(ids)
        columns = {
            "sample_id": ids,
            "task": [self.task] * count,
            "strategy": [name] * count,
            "label": as_labels(self.validity.label[anchor] if candidates.label is None else candidates.label),
            "label_source": self._sources(name, candidates),
            "anchor_label": self.anchors.own_label.take(pa.array(anchor)),
            "teacher_spread": pa.nulls(count, pa.float32()) if candidates.spread is None else candidates.spread,
            "weight": np.full(count, self.weight, np.float32),
            "anchor_id": anchor_ids,
            "neighbour_ids": _lists(neighbours, width),
            "neighbour_weights": pa.nulls(count, pa.list_(pa.float32())),
            "encoder": [self.modality.encoder] * count,
            "embedding": _lists(pa.array(candidates.embedding.ravel()), self.modality.dim),
            "decoded": decoded,
            "hardness": judged.hardness.astype(np.float32),
            "plausibility": judged.plausibility.astype(np.float32),
            "label_agreement": judged.agreement.astype(np.float32),
            "novelty": judged.novelty.astype(np.float32),
            "run": [self.run] * count,
            "day": [self.day] * count,
        }
        table = pa.table(columns, schema=sample_schema(self.modality.decoded, self.validity.label.ndim > 1))
        fresh = [i for i, sample in enumerate(ids) if sample not in seen]
        seen.update(ids)
        tally.repeated += count - len(fresh)
        return table.take(pa.array(fresh, pa.int64())) if len(fresh) < count else table

    def _sources(self, strategy: str, candidates: Candidates) -> list[str]:
        """Of the labels."""
        if candidates.spread is not None:
            return [self.validity.source] * len(candidates)
        if candidates.label is not None:
            return [strategy] * len(candidates)
        known = self.anchors.own_label.take(pa.array(candidates.anchor)).is_valid()
        return pc.if_else(known, "anchor", "models").to_pylist()

    def _id(self, strategy: str, anchor: str, embedding: np.ndarray, decoded: dict[str, Any]) -> str:
        """The same anchor moved to the same place by the same strategy is the same sample, in every run.

        What it decodes to counts too: another order of a history is another sample at the same place.
        """
        digest = hashlib.blake2b(digest_size=12)
        digest.update(f"{self.task}\0{strategy}\0{anchor}\0{self.modality.encoder}\0".encode())
        digest.update(embedding.tobytes())
        digest.update(json.dumps(decoded, ensure_ascii=False, default=sha256).encode())
        return digest.hexdigest()


def _one_per_anchor(judged: Judged, gaps: np.ndarray | None) -> Judged:
    """One of each anchor's candidates that passed, which come in random order: the first, or with `gaps` the hardest.

    The hardest only where labels are sure: on click data that choice alone cost .08 AUC under masking, because the
    hardest copies are those whose label is wrong. Otherwise hardness is what the generator aims for.

    gaps: bool[n], which candidates lack what their anchor has. None of these is kept for its hardness: chance says
    which come first, and of an anchor whose first has gaps that one is kept. See `Modality.with_gaps`.
    """
    passed = np.flatnonzero(judged.refused < 0)
    anchor, rank = judged.candidates.anchor[passed], np.zeros(len(passed))
    if gaps is not None:
        _, first = np.unique(anchor, return_index=True)
        rank = np.where(gaps[passed], -np.inf, judged.hardness[passed])
        rank[first[gaps[passed[first]]]] = np.inf
    order = np.argsort(-rank, kind="stable")
    _, best = np.unique(anchor[order], return_index=True)
    return judged.take(np.sort(passed[order[best]]))


def _lists(flat: pa.Array, width: int) -> pa.ListArray:
    offsets = pa.array(np.arange(0, len(flat) + 1, width), pa.int32())
    return pa.ListArray.from_arrays(offsets, flat)
