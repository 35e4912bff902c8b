"""Scores of new items by pandas: what a model says of known items, summed by the rows that were published.

    python scripts/examples/new_items/score.py sparring-out/shop/recommender scores.parquet history.parquet new.parquet

scores: user_id, item_id, score, for every known item, by any model; history: user_id, item_id, what users have.
"""

import sys

import pandas as pd

from consumers import open_mix

OWN = 6.0  # standard deviations that an item counts more to a user who has it


def new_scores(rows: pd.DataFrame, scores: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    by_user = scores.groupby("user_id")["score"]
    scores = scores.assign(z=(scores["score"] - by_user.transform("mean")) / by_user.transform("std", ddof=0))
    scores = scores.merge(history.assign(own=OWN), how="left", on=["user_id", "item_id"]).fillna({"own": 0.0})
    rows = rows[["anchor_id", "neighbour_ids", "neighbour_weights"]].explode(["neighbour_ids", "neighbour_weights"])
    met = scores.merge(rows, left_on="item_id", right_on="neighbour_ids")
    met["new_score"] = met["neighbour_weights"].astype(float) * (met["z"] + met["own"])
    return met.groupby(["user_id", "anchor_id"], as_index=False)["new_score"].sum()


if __name__ == "__main__":
    table, scores, history, out = sys.argv[1:]
    mix = open_mix(table).to_pandas()
    rows = mix[mix["strategy"] == "new-items"]
    new_scores(rows, pd.read_parquet(scores), pd.read_parquet(history)).to_parquet(out)
