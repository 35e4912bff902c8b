"""Scores of new users by pandas: what a model says to the users it knows, summed by the rows that were published.

    python scripts/examples/new_users/score.py sparring-out/shop/recommender scores.parquet history.parquet new.parquet

scores: user_id, item_id, score, for every user and item, by any model; history: user_id, item_id, what users have.
Items that a new user has are to be left out afterwards.
"""

import sys

import pandas as pd

from consumers import open_mix

HAS = 10.0  # standard deviations that an item counts more where a neighbour has it


def new_scores(rows: pd.DataFrame, scores: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    by_user = scores.groupby("user_id")["score"]
    scores = scores.assign(z=(scores["score"] - by_user.transform("mean")) / by_user.transform("std", ddof=0))
    scores = scores.merge(history.assign(has=HAS), how="left", on=["user_id", "item_id"]).fillna({"has": 0.0})
    rows = rows[["anchor_id", "neighbour_ids", "neighbour_weights"]].explode(["neighbour_ids", "neighbour_weights"])
    met = scores.merge(rows, left_on="user_id", right_on="neighbour_ids")
    met["new_score"] = met["neighbour_weights"].astype(float) * (met["z"] + met["has"])
    return met.groupby(["anchor_id", "item_id"], as_index=False)["new_score"].sum()


if __name__ == "__main__":
    table, scores, history, out = sys.argv[1:]
    mix = open_mix(table).to_pandas()
    rows = mix[mix["strategy"] == "new-users"]
    new_scores(rows, pd.read_parquet(scores), pd.read_parquet(history)).to_parquet(out)
