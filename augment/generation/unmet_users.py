"""Rows for users without any interaction, who declared attributes: known users of like ones, and how much each counts.

How many neighbours, and how weighted, is what ranks best known users treated as unmet, under EASE; if popularity ranks
them as well, there are no rows. Training rows alone say it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.base.errors import Refused
from augment.contracts.modality import Histories
from augment.generation.catalogue import properties
from augment.generation.new_users import LEAST, Found, Judged, Near, Users, best, commonest, halves, weighed
from augment.generation.weighted import Stamp, spacing, usual
from augment.numeric.columns import whole
from augment.numeric.ease import FILTER_L2, USERS, ease
from augment.numeric.histories import binary
from augment.numeric.neighbours import Neighbours
from augment.numeric.new_items import standardised
from augment.numeric.new_users import UNMET_USERS
from augment.numeric.vectors import unit
from augment.recipes.schema import NewUsers

BY = "attributes"


def unmet(
    stamp: Stamp, wanted: NewUsers, modality: Histories, train: pa.Table, people: pa.Table, seed: int
) -> Iterator[pa.Table]:
    """Rows, in the schema of samples, for the users of `people` without training rows.

    people: prepared rows, with `user_id`, and a column for each attribute. Raises Refused where too few known users
    declared any, or where popularity ranks known users as well as neighbours do.
    """
    users, names = Users.of(train, wanted.most), whole(people["user_id"])
    declared = properties(people)
    vectors = np.zeros((len(names), 1), np.float32) if declared is None else unit(declared)
    some = np.asarray(vectors.any(axis=1))
    place = pc.fill_null(pc.index_in(users.known, names), -1).to_numpy(zero_copy_only=False)
    known = np.flatnonzero((place >= 0) & some[np.maximum(place, 0)])
    if len(known) < LEAST:
        raise Refused(
            f"{UNMET_USERS}: {len(known)} of {len(users.known):,} known users have attributes that others have too; at "
            f"least {LEAST} are needed: are their ids those of the log?"
        )
    met = pc.is_in(names, pc.unique(whole(train["user_id"]))).to_numpy(zero_copy_only=False)
    new = np.flatnonzero(~met & some)[: wanted.most]
    if not len(new):
        return
    history, like = binary(users.history[known]), vectors[place[known]]
    found = _choose(history, like, wanted, seed)
    if found.ndcg <= found.alone:
        raise Refused(
            f"{UNMET_USERS}: known users treated as unmet are ranked no better by neighbours of like attributes "
            f"(NDCG@20 {found.ndcg:.4f}) than by popularity ({found.alone:.4f})"
        )
    judged, index, usually = Judged(users, modality), Neighbours(like), spacing(like)
    for start in range(0, len(new), USERS):
        of = new[start : start + USERS]
        near = _near(index, vectors[of], found.setting.size)
        weights = weighed(near._replace(place=known[near.place]), found.setting, len(users.known))
        shown = csr_matrix((len(of), len(users.items)), dtype=np.float32)
        distance = index.search(vectors[of], 1)[0][:, 0]
        apart = distance, usual(distance, usually)
        yield judged.rows(stamp, UNMET_USERS, found.setting, names.take(pa.array(of)), shown, weights, apart)


def _choose(history: csr_matrix, like: np.ndarray, wanted: NewUsers, seed: int) -> Found:
    """By known users who show nothing; what is said without neighbours is popularity."""
    (tried, others), history = halves(history.shape[0], seed), history[:, commonest(history)]
    kept, hidden = history[others], history[tried]
    popular = standardised(kept.getnnz(axis=0)[None].astype(np.float32))
    nears = {BY: _near(Neighbours(like[others]), like[tried], wanted.neighbours)}
    nothing = csr_matrix(hidden.shape, dtype=np.float32)
    own = np.repeat(popular, len(tried), axis=0)
    return best(nears, wanted.neighbours, kept, ease(kept, None, FILTER_L2), own, nothing, hidden, (0.0,))


def _near(index: Neighbours, vectors: np.ndarray, most: int) -> Near:
    distance, place = index.search(vectors, most)
    return Near(place, np.maximum(1 - distance**2 / 2, 0))
