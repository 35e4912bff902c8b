"""The published row: one schema for every task; only the fields inside `decoded` differ."""

from __future__ import annotations

import pyarrow as pa


def sample_schema(decoded: pa.StructType) -> pa.Schema:
    """Arrow schema of a published table whose decoded form has the fields of `decoded`.

    label: class probability; 1.0 for a recommender (the targets are in `decoded`).
    embedding: float32[dim] in the space of the frozen `encoder`, whose dimension the manifest stores
        (Delta reads fixed-size lists back as lists).
    hardness: the victim's loss. plausibility: share of real perturbations at least as far from the real
        rows, in [0, 1]. label_agreement: in [0, 1], by models that never saw the anchor.
    novelty: cosine distance to the closest real training row.
    day: of the night that made it, "all" for a run of its own; the table's partition.
    """
    return pa.schema(
        [
            ("sample_id", pa.string()),
            ("task", pa.string()),
            ("strategy", pa.string()),
            ("label", pa.float32()),
            ("weight", pa.float32()),
            ("anchor_id", pa.string()),
            ("neighbour_ids", pa.list_(pa.string())),
            ("encoder", pa.string()),
            ("embedding", pa.list_(pa.float32())),
            ("decoded", decoded),
            ("hardness", pa.float32()),
            ("plausibility", pa.float32()),
            ("label_agreement", pa.float32()),
            ("novelty", pa.float32()),
            ("run", pa.string()),
            ("day", pa.string()),
        ]
    )
