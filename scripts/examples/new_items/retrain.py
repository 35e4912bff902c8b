"""New items for those who can only train: the published rows become pairs of users and items to train on.

    python scripts/examples/new_items/retrain.py sparring-out/shop/recommender history.parquet pairs.parquet out.parquet

history: user_id, item_id, what users have. The model here is EASE (Steck, 2019), which is trained twice: on the log,
to say who would want each new item, then with the pairs as targets beside it. out: user_id,
item_id, score, of new items.
"""

import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from consumers import new_item_pairs, open_mix

L2 = 200.0


def ease(shown: csr_matrix, wanted: csr_matrix) -> np.ndarray:
    """float32[I, J]: what each of I items shown says of J wanted, of which the first I are the same items."""
    gram, items = (shown.T @ shown).toarray(), shown.shape[1]
    inverse = np.linalg.inv(gram + L2 * np.eye(items))
    weights = inverse @ (shown.T @ wanted).toarray()
    own = np.arange(items)
    weights[:, own] -= inverse * (weights[own, own] / np.diag(inverse))  # no item says anything of itself
    return weights.astype(np.float32)


def retrained(mix: pa.Table, log: pd.DataFrame) -> tuple[pd.DataFrame, list[str], np.ndarray, list[str]]:
    """The pairs, the users, their scores float32[U, J] of known and new items, and the J names."""
    users, items = log["user_id"].astype("category"), log["item_id"].astype("category")
    names = [*map(str, items.cat.categories)]
    shown = csr_matrix((np.ones(len(log), np.float32), (users.cat.codes, items.cat.codes)))
    shown.data[:] = 1
    people = [*map(str, users.cat.categories)]
    pairs = new_item_pairs(mix, names, people, shown @ ease(shown, shown), shown).to_pandas()
    every = names + sorted(set(pairs["item_id"]) - set(names))
    place = (pd.Index(people).get_indexer(pairs["user_id"]), pd.Index(every).get_indexer(pairs["item_id"]))
    wanted = csr_matrix((pairs["weight"], place), shape=(len(people), len(every)))
    wanted = wanted.maximum(csr_matrix((shown.data, shown.indices, shown.indptr), shape=wanted.shape))
    return pairs, people, shown @ ease(shown, wanted), every


if __name__ == "__main__":
    table, history, to, out = sys.argv[1:]
    pairs, users, scores, items = retrained(open_mix(table).to_table(), pd.read_parquet(history))
    pairs.to_parquet(to)
    new = np.isin(items, pairs["item_id"])
    columns = [np.repeat(users, new.sum()), np.tile(np.array(items)[new], len(users)), scores[:, new].ravel()]
    pq.write_table(pa.table(columns, names=["user_id", "item_id", "score"]), out)
