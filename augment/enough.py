"""The least data that each kind of task can be run on, and a sentence that says how much is missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.ease import FOLDS as USERS
from augment.errors import BadInput
from augment.modalities.behaviour import LEAST as ITEMS
from augment.validity import FOLDS as ROWS

MORE = "give more rows, or leave more of them for training (`valid` and `test` of the source's split)"


def check(source: str, modality: str, train: pa.Table) -> None:
    """Raise BadInput where training rows are too few to judge a sample by; `source` is its name.

    Validation and test rows may be as few as one: a metric that they cannot answer is not measurable, and the verdict
    says so.
    """
    if modality == "behaviour":
        pairs = train.select(["user_id", "item_id"]).group_by(["user_id", "item_id"]).aggregate([])
        items = pc.value_counts(pairs["user_id"].combine_chunks()).field("counts").to_numpy()
        users = int((items >= ITEMS).sum())
        if users < USERS:
            raise BadInput(
                f"sources.{source}: {users} of {len(items):,} users have {ITEMS} different items among the "
                f"{len(train):,} training rows; at least {USERS} such users are needed to make samples of one and judge "
                f"them by the others: {MORE}"
            )
        return
    label = train["label"].drop_null().to_numpy()
    for which, count in (("above", int(np.sum(label > 0.5))), ("not above", int(np.sum(label <= 0.5)))):
        if count < ROWS:
            raise BadInput(
                f"sources.{source}: {count} of {len(label):,} labelled training rows have a label {which} 0.5; at least "
                f"{ROWS} are needed, since labels are judged by models of {ROWS} folds: {MORE}, or `labelled` if it is set"
            )
