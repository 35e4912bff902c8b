"""Users of few interactions under any model that scores items for the users it knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from augment.numeric.new_items import rows_of, weights_of
from augment.numeric.new_users import NEW_USERS, said_by


def new_user_scores(
    mix: pa.Table, users: Sequence[str], scores: np.ndarray, history: csr_matrix
) -> tuple[list[str], np.ndarray]:
    """Ids of a mix's new users, and their scores float32[N, I]; what they have is to be left out, as for others.

    mix: `open_mix(...).to_table()`. users: the ids of U users of a model, the new ones among them; scores: float32[U,
    I], what it says of its items to them; history: [U, I], what each has. Nothing about the model changes.
    """
    rows = rows_of(mix, NEW_USERS)
    weights = weights_of(rows, pa.array(users, pa.string()))
    return rows["anchor_id"].to_pylist(), np.asarray(weights @ said_by(scores, history), np.float32)
