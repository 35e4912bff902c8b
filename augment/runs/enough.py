"""The least data that each kind of task can be run on, and a sentence that says how much is missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import BadInput
from augment.gates.labels import FOLDS as ROWS
from augment.modalities.behaviour import LEAST as ITEMS
from augment.numeric.ease import FOLDS as USERS

MORE = "give more rows, at night by a longer `window_days`, or leave less of them to `valid` and `test` of the split"


def check(source: str, modality: str, train: pa.Table) -> None:
    """Raise BadInput where the training rows of the source of that name are too few to judge a sample by.

    Validation and test rows may be as few as one: a metric that they cannot answer is not measurable, and the verdict
    says so.
    """
    if modality == "behaviour":
        _users(source, train)
    else:
        _classes(source, train)


def _users(source: str, train: pa.Table) -> None:
    pairs = train.group_by(["user_id", "item_id"]).aggregate([])
    items = pc.value_counts(pairs["user_id"].combine_chunks()).field("counts").to_numpy()
    able = int((items >= ITEMS).sum())
    if able < USERS:
        raise BadInput(
            f"sources.{source}: {able} of {len(items):,} users have {ITEMS} different items in {len(train):,} training "
            f"rows; {USERS} such users are needed, to make samples of one and judge them by the other: {MORE}"
        )


def _classes(source: str, train: pa.Table) -> None:
    label = train["label"].drop_null().to_numpy()
    for side, count in (("above 0.5", np.sum(label > 0.5)), ("of at most 0.5", np.sum(label <= 0.5))):
        if count < ROWS:
            raise BadInput(
                f"sources.{source}: {count} of {len(label):,} labelled training rows have a label {side}; {ROWS} are "
                f"needed, since labels are judged by models of {ROWS} folds: {MORE} (and raise `labelled` if it is set)"
            )
