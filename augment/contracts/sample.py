"""The published row: one schema for every task; only the fields inside `decoded` differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from augment.numeric.columns import is_listed, label_type

# Columns that came later, in their order: null in tables of before there were teachers, and of before new items.
LATER = ("label_source", "anchor_label", "teacher_spread", "neighbour_weights")


def sample_schema(decoded: pa.StructType, multiclass: bool = False) -> pa.Schema:
    """Arrow schema of a published table whose decoded form has the fields of `decoded`.

    label: class probability; 1.0 for a recommender (the targets are in `decoded`). Of a `multiclass` task a list: for
        each of the source's `classes`, in their order, its share, and so is anchor_label. label_source: who gave it: a
        teacher, by name; "anchor"; "models" for an unlabelled anchor's; or the strategy itself. anchor_label: the
        anchor's own, null where it has none. teacher_spread: how far the teacher's members differ, null without one.
    embedding: float32[dim] in the space of the frozen `encoder`, whose dimension the manifest stores
        (Delta reads fixed-size lists back as lists).
    decoded: what the row is for a reader without our encoders; null where the recipe has `generator.decode = false`
        and the row is a vector as it was moved (`undecoded` of the manifest's result counts these).
    hardness: the victim's loss; with a teacher, KL(teacher ‖ victim) in nats, both of what the sample shows (`label` is
        the teacher's of what it is told, which fills the fields that the sample hides). plausibility: share of real
        perturbations at least as far from the real rows, in [0, 1]. label_agreement: in [0, 1], by models that
        never saw the anchor, or 1 − teacher_spread.
    novelty: cosine distance to the closest real training row.
    neighbour_weights: null but in a row of the strategy `new-items`, which is no user but an item (`anchor_id`): how
        much of the score of each of its `neighbour_ids`, which are items, it gets (`augment.numeric.new_items`). There
        plausibility and label_agreement are shares of known items at least as far from all others, in content and
        in behaviour; label_source is the map that said it, and hardness null. Likewise in a row of `new-users`, which
        is a user of few interactions, whose neighbours are users: itself, and known ones (`augment.numeric.new_users`);
        both shares are in behaviour, of what the user has and of what its neighbours make of it.
    day: of the night that made it, "all" for a run of its own; the table's partition.
    """
    return pa.schema(
        [
            ("sample_id", pa.string()),
            ("task", pa.string()),
            ("strategy", pa.string()),
            ("label", label_type(multiclass)),
            ("label_source", pa.string()),
            ("anchor_label", label_type(multiclass)),
            ("teacher_spread", pa.float32()),
            ("weight", pa.float32()),
            ("anchor_id", pa.string()),
            ("neighbour_ids", pa.list_(pa.string())),
            ("neighbour_weights", pa.list_(pa.float32())),
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


def is_multiclass(schema: pa.Schema) -> bool:
    """Whether its labels are of K classes."""
    return "label" in schema.names and is_listed(schema.field("label").type)


def opened(files: Sequence[str], **where: Any) -> pads.Dataset:
    """Parquet files of published rows as one; those of before there were all of today's columns have nulls there.

    where: of `pyarrow.dataset.dataset`, a file system, say.
    """
    first = pads.dataset([*files[:1]], format="parquet", **where).schema
    today = sample_schema(first.field("decoded").type, is_multiclass(first)) if "decoded" in first.names else first
    return pads.dataset([*files], schema=today, format="parquet", **where)


def weighed(samples: pa.Table, weight: float) -> pa.Table:
    """The samples with another weight."""
    column = pa.array(np.full(len(samples), weight, np.float32))
    return samples.set_column(samples.column_names.index("weight"), "weight", column)
