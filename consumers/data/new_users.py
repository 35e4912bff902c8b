"""Users of few interactions in a mix, for a consumer that scores items for users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.new_items import rows_of, weights_of
from augment.numeric.new_users import FEW, NEW_USERS
from consumers.data import storage


@dataclass(frozen=True)
class NewUsers:
    """places: int64[N], where each is among a consumer's users; weights: float32[N, U] of these users."""

    places: np.ndarray
    weights: csr_matrix

    @classmethod
    def of(cls, mix: pa.Table | None, users: pa.Array) -> NewUsers:
        """Those of published samples that `users` holds."""
        if mix is None:
            return cls(np.empty(0, np.int64), csr_matrix((0, len(users)), dtype=np.float32))
        rows = rows_of(mix, NEW_USERS)
        rows = rows.filter(pc.is_in(rows["anchor_id"], users))
        places = pc.index_in(rows["anchor_id"].combine_chunks(), users).to_numpy(zero_copy_only=False)
        return cls(places.astype(np.int64), weights_of(rows, users))

    def among(self, users: np.ndarray, history: csr_matrix) -> tuple[np.ndarray, csr_matrix]:
        """Which of the users at int64[n] have a row, int64[m], and its weights float32[m, U].

        history: [U, I], what users show by now: who shows more than a few items is no new user any more.
        """
        few = history[self.places].getnnz(axis=1) <= FEW
        row = np.full(history.shape[0], -1)
        row[self.places[few]] = np.flatnonzero(few)
        which = np.flatnonzero(row[users] >= 0)
        return which, self.weights[row[users[which]]]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"new_users.places": self.places} | storage.sparse("new_users", self.weights)

    @classmethod
    def stored(cls, arrays: dict[str, np.ndarray], users: int) -> NewUsers:
        """Those of a saved model, taken out of its arrays; none of one of before there were any."""
        if "new_users.places" not in arrays:
            return cls(np.empty(0, np.int64), csr_matrix((0, users), dtype=np.float32))
        return cls(arrays.pop("new_users.places"), storage.take_sparse(arrays, "new_users", users))
