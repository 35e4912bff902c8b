"""New users: published rows under two models, beside popularity, their blend, user neighbours and pseudo-histories.

    python scripts/bench/new_users.py --data FOLDER --demo FOLDER --set retail --cache CACHE --out new-users-retail.json

Of a tenth of users the first one, two or three rows alone are trained on and the rest is validation, of another tenth
the test; of the others each one's latest rows are, as `split = { by = "new_users" }` does. Metrics are of new users
alone. `--set unmet` is MovieLens once more, where new users of the test have no rows to train on, but an age, a gender
and an occupation. Whatever an arm can choose it chooses on validation's new users, but for the published rows, which
never see them. Paired over users, and over the splits' differences too. A run that was stopped goes on from its cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import splits
import torch
from scipy.sparse import csr_matrix

from augment.base.files import digest
from augment.base.progress import say
from augment.generation import new_users
from augment.generation.unmet_users import unmet
from augment.generation.weighted import Stamp
from augment.modalities.behaviour import Behaviour
from augment.numeric import measures
from augment.numeric.histories import binary, minus, ordered
from augment.numeric.new_items import standardised
from augment.numeric.new_users import FEW
from augment.recipes.schema import NewUsers
from augment.recipes.source import Source
from augment.sources.prepare import prepare
from consumers import Recommender
from consumers.data.new_users import NewUsers as Rows
from consumers.scoring import ranking

SETS = {  # rows, users at most, l2 of EASE and of MF as in new_items.py
    "movielens": (
        "SELECT user_id, item_id, timestamp FROM '{demo}/behaviour.parquet' WHERE rating >= 4", 10_000, 200.0, 1.0,
    ),
    "retail": (
        "SELECT user_id, item_id, timestamp FROM '{data}/rec_uci_online_retail_ii.parquet' "
        "WHERE user_id IS NOT NULL AND quantity > 0",
        2_000, 200.0, 0.1,
    ),
    "beauty": (  # of whom 2,600 are left by the core
        "SELECT user_id, item_id, TIMESTAMP '2014-01-01' + to_days(position) AS timestamp "
        "FROM '{data}/rec_amazon_beauty_5core_seq.parquet'",
        8_000, 400.0, 0.1,
    ),
}  # fmt: skip
SETS["unmet"] = SETS["movielens"]
PEOPLE = (
    "SELECT CAST(user_id AS VARCHAR) AS user_id, any_value('q' || age // 6) AS age, any_value(gender) AS gender, "
    "any_value(occupation) AS occupation FROM '{demo}/impressions.parquet' GROUP BY 1 ORDER BY 1"
)
CORE, SPLITS = 5, (0, 1, 2)
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # of what is blended with a model's scores
RIDGES = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)
LIKELY = (20, 100)  # items put into a pseudo-history
AGAINST = ("EASE tuned for new users", "MF", "MF: popularity", "EASE", "EASE: popularity")
METRICS = {"ndcg": "NDCG@20", "recall": "recall@20", **{f"ndcg_{n}": f"NDCG@20, {n} shown" for n in range(1, FEW + 1)}}

STAMP = Stamp("bench", "bench", "all", 1.0)

Scores = Callable[[csr_matrix, np.ndarray], np.ndarray]  # of what all users show, and places of some of them


class Split:
    """One split of one set: its rows, its new users, the models."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        rows, users, self.l2, self.factors = SETS[options.set]
        self.seed, folder = seed, options.cache / f"{options.set}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as db:
            db.execute(f"SET threads = 1; CREATE TABLE every AS {rows.format(data=options.data, demo=options.demo)}")
            # By another hash than the split's.
            few = f"SELECT user_id FROM every GROUP BY 1 ORDER BY md5('{seed}:' || user_id) LIMIT {users}"
            db.execute(f"COPY (SELECT * FROM every WHERE user_id IN ({few})) TO '{folder}/rows.parquet'")
        columns = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
        split = {"by": "new_users", "valid": 0.1, "test": 0.1, "core": CORE}
        source = Source(path=f"{folder}/rows.parquet", columns=columns, split=split, max_per_minute=10**6)
        found = prepare("rows", source, "behaviour", folder / "splits", seed)
        self.train, self.valid, self.test = (pq.read_table(p) for p in (found.train, found.valid, found.test))
        self.ease, self.mf = self.fitted("ease", self.l2), self.fitted("mf", self.factors)
        history, seen = self.ease.history_, self.ease.seen_
        self.asked: dict[str, tuple[Any, np.ndarray, Any]] = {}  # what is shown, by whom, and what is wanted
        for name, rows in (("valid", self.valid), ("test", self.test)):
            wanted = minus(binary(ordered(rows, self.ease.users_, self.ease.items_)), history)
            shown = history if name == "valid" else minus(seen, wanted)
            new: np.ndarray = np.flatnonzero((wanted.getnnz(axis=1) > 0) & (shown.getnnz(axis=1) <= FEW))
            self.asked[name] = shown, new, wanted[new]
        self.popularity = standardised(history.getnnz(axis=0)[None].astype(np.float32))

    def fitted(self, model: str, l2: float, train: pa.Table | None = None) -> Recommender:
        recency = {"recency": 0.0} if model == "ease" else {}
        return Recommender(model=model, l2=l2, seed=self.seed, **recency).fit(train or self.train, self.valid)

    def rows(self) -> pa.Table:
        """What the product publishes."""
        modality = Behaviour(self.ease.tables(), self.train)
        return pa.concat_tables(new_users.made(STAMP, NewUsers(), modality, self.train, self.seed))

    def measured(self, score: Scores, part: str = "test") -> dict[str, np.ndarray]:
        """Metric → one value per new user who has one."""
        shown, users, wanted = self.asked[part]
        hit = ranking.hits(ranking.top(score(shown, users), shown[users], ranking.K), wanted)
        relevant, size = wanted.getnnz(axis=1), shown[users].getnnz(axis=1)
        ndcg = measures.ndcg(hit, relevant)
        slices = {f"ndcg_{n}": ndcg[size == n] for n in range(1, FEW + 1)}
        return {"ndcg": ndcg, "recall": ranking.recall(hit, relevant), **slices}

    def best(self, scores: Sequence[Scores]) -> dict[str, np.ndarray]:
        """The one of best validation NDCG, on the test."""
        return self.measured(max(scores, key=lambda score: self.measured(score, "valid")["ndcg"].mean()))


def arms_of(split: Split) -> dict[str, dict[str, np.ndarray]]:
    tuned = max((split.fitted("ease", l2) for l2 in RIDGES), key=lambda model: _on_valid(split, model))
    say(f"EASE tuned for new users: l2 {tuned.l2_:g}")
    rows, found = split.rows(), {}
    say(f"{len(rows):,} rows, neighbours by {rows['label_source'][0].as_py()}")
    found["popularity"] = split.measured(lambda shown, users: np.repeat(split.popularity, len(users), axis=0))
    for name, model in (("EASE", split.ease), ("EASE tuned for new users", tuned), ("MF", split.mf)):
        found[name] = split.measured(model._scores)
        found[f"{name} and popularity"] = split.best([_blended(split, model, share) for share in SHARES])
        model.few_ = Rows.of(rows, model.users_)
        found[f"{name}, published rows"] = split.measured(_published(model))
        theirs: Any = model.evaluate(split.test, {})["ndcg_new_users@20"]
        assert abs(found[f"{name}, published rows"]["ndcg"].mean() - theirs.values.mean()) < 1e-6
    found["EASE, pseudo-histories"] = split.best(
        [_pseudo(split.ease, count, share) for count in LIKELY for share in (0.1, 0.3, 1.0, 3.0)]
    )
    found["user neighbours"] = split.best([_neighbours(split.ease, size) for size in (30, 100, 300)])
    return found


def unmet_arms(split: Split, demo: Path) -> dict[str, dict[str, np.ndarray]]:
    """New users of the test give all their rows to it; only NDCG is measured."""
    with duckdb.connect() as db:
        people = db.sql(PEOPLE.format(demo=demo)).to_arrow_table()
    users = split.asked["test"][1]
    gone = pc.is_in(split.train["user_id"], split.ease.users_.take(pa.array(users)))
    train, moved = split.train.filter(pc.invert(gone)), split.train.filter(gone)
    test, found = pa.concat_tables([split.test, moved]), {}
    for name, kind, l2 in (("EASE", "ease", split.l2), ("MF", "mf", split.factors)):
        model = split.fitted(kind, l2, train)
        modality = Behaviour(model.tables(), train)
        rows = pa.concat_tables(unmet(STAMP, NewUsers(), modality, train, people, split.seed))
        for arm, mix in ((f"{name}: popularity", None), (f"{name}, published rows", rows)):
            model.few_ = Rows.of(mix, model.users_)
            theirs: Any = model.evaluate(test, {})["ndcg_unmet_users@20"]
            found[arm] = {"ndcg": theirs.values}
    return found


def _on_valid(split: Split, model: Recommender) -> float:
    return float(split.measured(model._scores, "valid")["ndcg"].mean())


def _blended(split: Split, model: Recommender, share: float) -> Scores:
    def score(shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        return (1 - share) * standardised(model._scores(shown, users)) + share * split.popularity

    return score


def _published(model: Recommender) -> Scores:
    def score(shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        scores = model._scores(shown, users)
        which, said = model._of_few(shown, users)
        scores[which] = said
        return scores

    return score


def _pseudo(model: Recommender, count: int, share: float) -> Scores:
    """The history, and the likeliest items beside it, each as likely as it is and `share` in all but the likeliest."""

    def score(shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        once = model._scores(shown, users)
        likely = np.maximum(once, 0)
        likely[shown[users].nonzero()] = 0
        least = np.partition(likely, -count, axis=1)[:, [-count]]
        likely[likely < least] = 0
        return once + share * (likely / np.maximum(likely.max(axis=1, keepdims=True), 1e-9)) @ model.state_["items"]

    return score


def _neighbours(model: Recommender, size: int) -> Scores:
    """How many of the known users of the nearest_edits histories have each item."""

    def score(shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        known = np.flatnonzero(shown.getnnz(axis=1) > FEW)
        near = new_users.LIKENESS["items"](binary(shown[users]), binary(shown[known]), size)
        weights = new_users.weighed(near, new_users.Setting("items", size, 1, 0.0), len(known))
        return np.asarray((weights @ binary(shown[known])).todense(), np.float32)

    return score


def main() -> None:
    options = splits.arguments(__doc__, SETS).parse_args()
    torch.set_num_threads(1)
    unmet = options.set == "unmet"
    metrics = {"ndcg": METRICS["ndcg"]} if unmet else METRICS

    def make(seed: int) -> dict[str, Any]:
        split = Split(options, seed)
        return {"arms": unmet_arms(split, options.demo) if unmet else arms_of(split)}

    def reference(name: str) -> str:
        return next((kind for kind in AGAINST if kind in made and name.startswith(kind.partition(":")[0])), "EASE")

    made, _ = splits.run(
        SPLITS, lambda seed: options.cache / f"users-{options.set}-{seed}-{digest(SETS[options.set])[:8]}.json", make,
        metrics,
    )  # fmt: skip
    splits.finish(made, metrics, reference, f"New users, {options.set}: {len(SPLITS)} splits", options.out)


if __name__ == "__main__":
    main()
