"""Signs that a recommender's samples went wrong: collapse, false negatives, popularity. Raised, they are shown, not
hidden: the verdict decides all the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LEAST_UNIQUE = 0.2  # share of the catalogue that occurs among negatives
MOST_FALSE = 3.0  # times the rate at which uniform draws hit validation positives
POPULARITY = (0.7, 1.5)  # mean popularity of negatives, over that of what users interacted with


@dataclass(frozen=True)
class Signs:
    """Each is None where it cannot be told (no negatives, say)."""

    unique_items: float | None
    false_negatives: float | None
    popularity: float | None

    @property
    def raised(self) -> list[str]:
        out = []
        if self.unique_items is not None and self.unique_items < LEAST_UNIQUE:
            out.append(f"collapse: negatives come from {self.unique_items:.0%} of the catalogue")
        if self.false_negatives is not None and self.false_negatives > MOST_FALSE:
            out.append(f"false negatives: {self.false_negatives:.1f} times as many as uniform draws would hit")
        if self.popularity is not None and not POPULARITY[0] <= self.popularity <= POPULARITY[1]:
            out.append(f"popularity: negatives are {self.popularity:.2f} times as popular as what users interact with")
        return out


def signs(samples: pa.Table, train: pa.Table, valid: pa.Table) -> Signs:
    """Of published samples of a recommender, against its real interactions (columns `user_id`, `item_id`).

    A negative's popularity is held to the mean over training interactions, which is what targets have: where negatives
    are rarer than targets, or more popular, a model can tell them apart by popularity alone. (MovieLens-100k: uniform
    draws .36, which is raised; draws by popularity .78, DNS 1.29, the generator's 1.44.)
    """
    decoded = pa.Table.from_struct_array(samples["decoded"].combine_chunks())
    catalogue = pc.unique(train["item_id"])
    counts = np.bincount(pc.index_in(train["item_id"], catalogue).to_numpy(), minlength=len(catalogue))
    user, item = _pairs(samples["anchor_id"], decoded["negatives"])
    unique = false = popularity = None
    if len(item):
        unique = pc.count_distinct(item).as_py() / len(catalogue)
        wanted = pa.table({"user": valid["user_id"], "item": valid["item_id"]})
        hits = pa.table({"user": user, "item": item}).join(wanted, ["user", "item"], join_type="inner").num_rows
        per_user = len(valid) / max(1, pc.count_distinct(valid["user_id"]).as_py())
        false = hits / len(item) / max(1e-12, per_user / len(catalogue))
        places = pc.drop_null(pc.index_in(item, catalogue)).to_numpy()
        popularity = float(counts[places].mean() / np.average(counts, weights=counts)) if len(places) else None
    return Signs(unique, false, popularity)


def _pairs(owner: pa.ChunkedArray, lists: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The lists end to end, each value beside its owner."""
    flat = lists.combine_chunks()
    return owner.combine_chunks().take(pc.list_parent_indices(flat)), pc.list_flatten(flat)
