"""Attacks on a recommender's log, fake users who push items and interactions replaced at random; and a defence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from augment.numeric.columns import whole
from augment.watch.fake_users import coherence

KINDS = ("random", "average", "bandwagon")  # of fake users (Lam & Riedl, 2004; Mobasher et al., 2007)
FAKE_SHARE, FAKE_TARGETS = 0.01, 5
POPULAR = 10  # items that every bandwagon profile holds
FLIPPED = 0.1  # of each user's positives


def attacks(test: pa.Table, seed: int) -> dict[str, pa.Table]:
    """Tables by name; see `fake_users` and `flips`.

    "shilling" holds every fake user, "shilling-KIND" those of one kind, "flips" the seed of the flips.
    """
    fakes = fake_users(test, seed)
    kinds = {f"shilling-{kind}": fakes.filter(pc.equal(fakes["profile"], kind)) for kind in KINDS}
    return {"shilling": fakes, **kinds, "flips": pa.table({"seed": [seed]})}


def fake_users(test: pa.Table, seed: int) -> pa.Table:
    """Users pushing five unpopular items among the test's (fewer, of less than ten), a third of them of each kind.

    Columns `user_id`, `item_id`, `kind` ("filler" or "target") and `profile`, the kind of fake user.
    """
    rng = np.random.default_rng(seed)
    counts = pc.value_counts(whole(test["item_id"])).flatten()
    items, popularity = counts[0].to_numpy(zero_copy_only=False), counts[1].to_numpy()
    order = np.lexsort((items.astype(str), popularity))
    items, popularity = items[order], popularity[order]
    rare = max(1, len(items) // 2)
    targets = rng.choice(items[:rare], min(FAKE_TARGETS, rare), replace=False)
    users = pc.count_distinct(test["user_id"]).as_py()
    fillers = max(POPULAR, len(test) // users * 4)
    chances = {"random": None, "average": popularity / popularity.sum()}
    rows: dict[str, list[str]] = {"user_id": [], "item_id": [], "kind": [], "profile": []}
    for number in range(max(len(KINDS), round(FAKE_SHARE * users))):
        kind = KINDS[number % len(KINDS)]
        if kind == "bandwagon":
            more = rng.choice(items, min(fillers - POPULAR or 1, len(items)), replace=False)
            profile = np.concatenate([items[-POPULAR:], more])
        else:
            profile = rng.choice(items, min(fillers, len(items)), replace=False, p=chances[kind])
        everything = [*profile.tolist(), *targets.tolist()]
        rows["user_id"] += [f"fake-{number}"] * len(everything)
        rows["item_id"] += everything
        rows["kind"] += ["filler"] * len(profile) + ["target"] * len(targets)
        rows["profile"] += [kind] * len(everything)
    return pa.table(rows)


def flips(history: csr_matrix, seed: int) -> csr_matrix:
    """int32[U, I]: for `FLIPPED` of each user's entries, 1 + the random item, not the user's, in its place."""
    rng = np.random.default_rng(seed)
    new = np.zeros(history.nnz, np.int32)
    for start, stop in zip(history.indptr[:-1], history.indptr[1:], strict=True):
        own = history.indices[start:stop]
        count = min(round(FLIPPED * len(own)), history.shape[1] - len(own))
        if count:
            place = start + rng.choice(stop - start, count, replace=False)
            # Enough draws to find `count` new ones: own items are at most all that were drawn beside them.
            drawn = rng.choice(history.shape[1], count + len(own), replace=False)
            new[place] = 1 + drawn[~np.isin(drawn, own)][:count]
    return csr_matrix((new, history.indices, history.indptr), shape=history.shape)


def suspects(history: csr_matrix, share: float) -> np.ndarray:
    """bool[U]: the `share` of users whose items others would not expect of them.

    A user's items are ranked by a model that never saw the user; in a real history each goes with the others, in a
    fabricated one the fillers go with nothing.
    """
    expected = coherence(history, 0)
    found = np.zeros(len(expected), bool)
    found[np.argsort(expected, kind="stable")[: round(share * len(expected))]] = True
    return found
