"""Users of few interactions, and of none, in a mix, for a consumer that scores items for users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.new_items import rows_of, weights_of
from augment.numeric.new_users import FEW, NEW_USERS, UNMET_USERS
from consumers.data import storage


@dataclass(frozen=True)
class NewUsers:
    """names: their ids; places: int64[N], where each is among a consumer's users, −1 for one that it has not met.

    weights: float32[N, U] of the users whom it has met.
    """

    names: pa.Array
    places: np.ndarray
    weights: csr_matrix

    @classmethod
    def of(cls, mix: pa.Table | None, users: pa.Array) -> NewUsers:
        """Those of published samples: of few interactions if `users` holds them, of none if it does not."""
        if mix is None:
            return cls(pa.array([], pa.string()), np.empty(0, np.int64), csr_matrix((0, len(users)), dtype=np.float32))
        few, none = (rows_of(mix, strategy) for strategy in (NEW_USERS, UNMET_USERS))
        few = few.filter(pc.is_in(few["anchor_id"], users))
        none = none.filter(pc.invert(pc.is_in(none["anchor_id"], users)))
        rows = pa.concat_tables([few, none])
        names = rows["anchor_id"].combine_chunks()
        places = pc.fill_null(pc.index_in(names, users), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return cls(names, places, weights_of(rows, users))

    def among(self, users: np.ndarray, history: csr_matrix) -> tuple[np.ndarray, csr_matrix]:
        """Which of the users at int64[n] have a row, int64[m], and its weights float32[m, U].

        history: [U, I], what users show by now: who shows more than a few items is no new user any more.
        """
        met = np.flatnonzero(self.places >= 0)
        few = met[history[self.places[met]].getnnz(axis=1) <= FEW]
        row = np.full(history.shape[0], -1)
        row[self.places[few]] = few
        which = np.flatnonzero(row[users] >= 0)
        return which, self.weights[row[users[which]]]

    def unmet(self, names: pa.Array) -> tuple[np.ndarray, csr_matrix]:
        """Which of the names of users not met have a row, int64[m], and its weights float32[m, U]."""
        row = pc.fill_null(pc.index_in(names, self.names), -1).to_numpy(zero_copy_only=False)
        which = np.flatnonzero(row >= 0)
        return which, self.weights[row[which]]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"new_users.places": self.places} | storage.sparse("new_users", self.weights)

    @classmethod
    def stored(cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], users: int) -> NewUsers:
        """Those of a saved model, taken out of its arrays; none of one of before there were any."""
        if "new_users.places" not in arrays:
            return cls.of(None, pa.nulls(users, pa.string()))
        names, places = pa.array(settings["new_users"], pa.string()), arrays.pop("new_users.places")
        return cls(names, places, storage.take_sparse(arrays, "new_users", users))
