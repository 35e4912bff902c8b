"""Recommenders: strong plain baselines, losses and samplers, and the published samples mixed into the best of them.

    python scripts/bench/recommender.py --data FOLDER --set retail --out recommender-retail.json

Full ranking over each user's last fifth. Every arm tries as many settings on validation rows and keeps the one with the
best tail recall within 2% of its own best NDCG@20; the test is read once. --development leaves each user's last fifth
out and tests on the fifth before it: for choosing what this file fixes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import arms
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import torch

from augment import alarms, demo_data, recipe
from augment.job import Job, read
from augment.measures import Measure
from augment.pipeline import generate_only
from augment.progress import say
from augment.search import weighed
from augment.study import Arena
from augment.verdict import compare
from consumers import Recommender

SETS = {  # rows, core, users at most
    "movielens": ("SELECT user_id, item_id, timestamp FROM '{demo}/behaviour.parquet' WHERE rating >= 4", 10, 10_000),
    "beauty": (
        "SELECT user_id, item_id, TIMESTAMP '2014-01-01' + to_days(position) AS timestamp "
        "FROM '{data}/rec_amazon_beauty_5core_seq.parquet'",
        5,
        8_000,
    ),
    "retail": (
        "SELECT user_id, item_id, timestamp, description AS text FROM '{data}/rec_uci_online_retail_ii.parquet' "
        "WHERE user_id IS NOT NULL",
        10,
        2_500,
    ),
}
RECIPE = """
name = "bench"
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ id = "id", user = "user_id", item = "item_id", timestamp = "timestamp"{text} }}
max_per_minute = 100000
split = {{ by = "user_time", valid = 0.1, test = 0.2, core = {core} }}
[tasks.recommender]
consumer = "recommender"
source = "rows"
samples = {samples}
strategies = {{ {strategies} }}
gates = {{ band = [-4.0, 4.0] }}
generator = {{ draws = 4 }}
verdict = {{ clean = ["ndcg@20"], improve = ["tail_recall@20"] }}
"""
METRICS = {"ndcg@20": "NDCG@20", "recall@20": "recall@20", "tail_recall@20": "tail recall@20", "coverage": "coverage",
           "mean_popularity": "mean popularity", "target_hit@50": "target hit@50",
           "target_lift@50": "… by the attack"}  # fmt: skip
NEAR_BEST = 0.98
REFERENCE = "EASE"
PORTFOLIO = {"gan": 1.0, "noise": 1.0, "pseudo-interactions": 4.0}  # shares of the samples
COPIES = 6  # samples per training user
L2 = (50.0, 100.0, 200.0, 300.0, 400.0, 600.0, 800.0, 1200.0)
NEURAL = {"l2": (0.0, 0.1, 1.0, 10.0), "lr": (0.01, 0.02), "epochs": (25, 40)}
CATALOGUE = {**NEURAL, "temperature": (0.1, 0.15, 0.2)}
FILTER = {"filter_share": (0.02, 0.05, 0.1)}
RADII = {"radius": (0.02, 0.05, 0.1, 0.2), "adv_weight": (0.5, 1.0)}
Space = Mapping[str, Sequence[Any]]


def _spaces() -> dict[str, Space]:
    """Arm → settings to draw from; a setting of one value is the arm's own."""
    pairs = {"model": ("mf",), "loss": ("bpr",)}
    samplers: dict[str, Space] = {
        "BPR": {**NEURAL, **pairs},
        "DNS": {**NEURAL, **pairs, "sampler": ("dns",), "pool": (4, 16)},
        "DNS(M, N)": {**NEURAL, **pairs, "sampler": ("dns-mn",), "pool": (16, 32), "nearest": (4, 8)},
        "MixGCF": {**NEURAL, **pairs, "model": ("lightgcn",), "sampler": ("mixgcf",), "pool": (4, 16)},
        "APR on BPR": {**NEURAL, **pairs, "adversarial": ("apr",), **RADII},
    }
    spaces: dict[str, Space] = {
        REFERENCE: {"l2": L2},
        "popularity": {"model": ("popular",), "l2": (0.0,)},
        "EASE, masked (EDLAE)": {"l2": L2, "dropout": (0.1, 0.2, 0.35, 0.5)},
        "EASE, inverse propensity": {"l2": L2, "propensity": (0.1, 0.2, 0.3)},
        "EASE, inverse propensity, suspects": {"l2": L2, "propensity": (0.1, 0.2, 0.3), "suspects": (0.05,)},
        "SL": {**CATALOGUE, "model": ("mf",)},
        "SL@K": {**CATALOGUE, "model": ("mf",), "loss": ("sl@k",)},
        "APR on SL": {**CATALOGUE, "model": ("mf",), "adversarial": ("apr",), **RADII},
        "SL, distilled from EASE": {**CATALOGUE, "model": ("mf",), "distill": (0.3, 1.0, 3.0)},
    }
    for name, space in samplers.items():
        spaces[name] = space
        spaces[f"{name}, filtered"] = {**space, **FILTER}
    return spaces


def main() -> None:
    parser = arms.arguments(__doc__ or "", list(SETS))
    parser.add_argument("--users", type=int, help="at most this many (default: what a quarter of an hour allows)")
    parser.add_argument("--quick", action="store_true", help="two settings per arm, one seed: does it run?")
    parser.add_argument("--development", action="store_true", help="test on the fifth before each user's last fifth")
    parser.add_argument("--only", nargs="*", help="arms to run, besides the reference and the mixes")
    parser.set_defaults(seeds=3, budget=6)
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.budget = 1, 2
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(options, Path(work))
        spaces = {n: s for n, s in _spaces().items() if not options.only or n in (REFERENCE, *options.only)}
        for number, (name, space) in enumerate(spaces.items()):
            bench.run(name, arms.draw(space, options.budget, number))
        mixes = bench.mixes()
        neural = max(
            (n for n in spaces if "model" in spaces[n] and n != "popularity"), key=bench.valid_ndcg, default=""
        )
        best = {name: values for name, values in bench.chosen.items() if name in (REFERENCE, neural)}
        for number, (name, chosen) in enumerate(best.items()):
            space = {**{k: (v,) for k, v in chosen.items()}, **mixes, "l2": spaces[name]["l2"]}
            bench.run(f"{name} + published samples", arms.draw(space, options.budget, 100 + number), against=name)
        for number, texts in enumerate((True, False) if bench.texts else (False,)):
            kind = f"pseudo-interactions by {'texts' if texts else 'item vectors'}"
            space = {**bench.mixes(kind, {"pseudo-interactions": 1.0}, texts), "l2": L2}
            bench.run(f"EASE + {kind}", arms.draw(space, options.budget, 103 + number))
        extra = {"propensity": (0.1, 0.2), "suspects": (0.05,)}
        space = {**mixes, **extra, "l2": L2}
        bench.run("EASE, inverse propensity, suspects + published samples", arms.draw(space, options.budget, 102))
        bench.finish()


class Bench:
    """One set: its rows, and what the arms measured so far."""

    def __init__(self, options: Any, work: Path) -> None:
        self._options, self._work = options, work
        query, core, users = SETS[options.name]
        rows = _write(options, query, options.users or users, work / "rows.parquet")
        self._samples = COPIES * pa.compute.count_distinct(rows["user_id"]).as_py()
        self._core, self.texts = core, "text" in rows.column_names  # whether items have texts
        self.arena: Arena = read(Job(self._recipe(PORTFOLIO, True), "recommender", options.device), work).arena
        self._attacked = {"shilling": self.arena.attacked["shilling"]}
        sizes = [len(x) for x in (self.arena.train, self.arena.valid, self.arena.test)]
        users, items = (pa.compute.count_distinct(self.arena.train[c]).as_py() for c in ("user_id", "item_id"))
        self._title = f"Recommender, {options.name}{' (development)' if options.development else ''}: {users:,} users, "
        self._title += f"{items:,} items, {sizes[0]:,} training, {sizes[1]:,} validation, {sizes[2]:,} test rows"
        say(self._title)
        self._measured: dict[str, list[Mapping[str, Measure]]] = {}
        self._valid: dict[str, float] = {}
        self._results: list[arms.Result] = []
        self._mixes: dict[tuple[str, int], pa.Table] = {}
        self.chosen: dict[str, dict[str, Any]] = {}

    def valid_ndcg(self, name: str) -> float:
        return self._valid[name]

    def _recipe(self, shares: Mapping[str, float], texts: bool) -> recipe.Recipe:
        strategies = ", ".join(f"{name} = {share}" for name, share in shares.items())
        text = ', text = "text"' if texts and self.texts else ""
        filled = RECIPE.format(output=self._work / "out", path=self._work / "rows.parquet", core=self._core,
                               samples=self._samples, strategies=strategies, text=text)  # fmt: skip
        return recipe.parse(filled, "bench")

    def mixes(self, kind: str = "published", shares: Mapping[str, float] = PORTFOLIO, texts: bool = True) -> Space:
        """Publish samples, and the settings of a mix: copies per user, and their weight."""
        folder, started = self._work / kind, time.monotonic()
        found = generate_only(self._recipe(shares, texts), "recommender", folder, device=self._options.device)
        pool = ds.dataset(folder).to_table()
        pool = pool.take(pa.array(np.random.default_rng(0).permutation(len(pool))))
        sizes = {copies: round(len(pool) * copies / COPIES) for copies in (2, 4, COPIES)}
        self._mixes |= {(kind, copies): pool.slice(0, size) for copies, size in sizes.items()}
        kept = {name: tally["kept"] for name, tally in found["strategies"].items()}
        say(f"{kind}: {len(pool):,} samples in {time.monotonic() - started:.0f} s: {kept}")
        say(f"{kind}: {alarms.signs(pool, self.arena.train, self.arena.valid)}")
        return {"kind": (kind,), "copies": tuple(sizes), "weight": (0.25, 0.5, 1.0)}

    def run(self, name: str, configs: Sequence[arms.Config], against: str = REFERENCE) -> None:
        """Tune an arm on validation rows, train its choice with every seed, and read the test once."""
        started = time.monotonic()
        tried = [(config, self._fit(config, 0)) for config in configs]
        on_valid = [(c, model.evaluate(self.arena.valid, {})) for c, model in tried]
        values = [(c, m["ndcg@20"].value(), m["tail_recall@20"].value()) for c, m in on_valid]
        self._valid[name] = max(ndcg for _, ndcg, _ in values)
        able = [v for v in values if v[1] >= NEAR_BEST * self._valid[name]]
        self.chosen[name] = chosen = dict(max(able, key=lambda v: v[2])[0])
        began = time.monotonic()
        seeds = range(self._options.seeds if "model" in chosen and name != "popularity" else 1)  # EASE has no chance
        measured = [self._fit(chosen, seed).evaluate(self.arena.test, self._attacked) for seed in seeds]
        seconds = (time.monotonic() - began) / len(measured)
        self._measured[name] = measured * (self._options.seeds // len(measured))
        self._results.append(self._result(name, chosen, against, seconds))
        shown = ", ".join(f"{k} {v:.4f}" for k, v in self._results[-1].values.items() if k in METRICS)
        say(f"{name}: {time.monotonic() - started:.0f} s, {chosen}, {shown}")

    def _result(self, name: str, chosen: arms.Config, against: str, seconds: float) -> arms.Result:
        measured = self._measured[name]
        values = {m: float(np.mean([one[m].value() for one in measured])) for m in measured[0]}
        result = arms.Result(name, dict(chosen), values, seconds=seconds)
        result.cost = seconds / self._results[0].seconds if self._results else 1.0
        if name != against:
            plain = self._measured[against]
            found = compare(plain, measured, plain, against, draws=500, confidence=0.95, seed=0)
            result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in found.items()}
            if against != REFERENCE:
                result.name = f"{name} (differences: to {against})"
        return result

    def _fit(self, config: arms.Config, seed: int) -> Recommender:
        settings = {k: v for k, v in config.items() if k not in ("kind", "copies", "weight")}
        mix = weighed(self._mixes[config["kind"], config["copies"]], config["weight"]) if "kind" in config else None
        model = Recommender(**settings, seed=seed, device=self._options.device)
        return model.fit(self.arena.train, self.arena.valid, mix)

    def finish(self) -> None:
        seeds, budget = self._options.seeds, self._options.budget
        title = f"{self._title}; {seeds} seeds, {budget} settings tried per arm; time with the attack's retraining"
        arms.finish(self._results, METRICS, self._options, title)


def _write(options: Any, query: str, users: int, path: Path) -> pa.Table:
    """Each user's items in the order of their first time, of `users` users chosen by a hash.

    Ids are those that a source without texts would give: with texts, too, the split is the same.
    """
    if options.name == "movielens":
        demo_data.fetch(path.parent, ["behaviour"])
    rows = query.format(data=options.data, demo=path.parent)
    text = ", min(text) AS text" if "AS text" in query else ""
    share = 0.8 if options.development else 1.0
    with duckdb.connect() as db:
        db.execute("SET threads = 1")
        db.execute(
            f"""CREATE TABLE first AS SELECT CAST(user_id AS VARCHAR) AS user_id, CAST(item_id AS VARCHAR) AS item_id,
            min(CAST(CASE WHEN typeof(timestamp) IN ('BIGINT', 'INTEGER') THEN make_timestamp(CAST(timestamp AS VARCHAR)
            ::BIGINT * 1000000) ELSE CAST(timestamp AS VARCHAR)::TIMESTAMP END AS TIMESTAMP)) AS timestamp
            {text} FROM ({rows}) GROUP BY user_id, item_id"""
        )
        db.execute(
            f"""COPY (SELECT * EXCLUDE (place, number, draw),
            md5(concat_ws(chr(31), user_id, item_id, epoch_us(timestamp))) AS id FROM (SELECT *,
            row_number() OVER (PARTITION BY user_id ORDER BY timestamp, item_id) - 0.5 AS place,
            count(*) OVER (PARTITION BY user_id) AS number,
            dense_rank() OVER (ORDER BY md5(user_id)) AS draw FROM first)
            WHERE draw <= {users} AND place < {share} * number ORDER BY user_id, timestamp, item_id)
            TO '{path}' (FORMAT parquet)"""
        )
        return db.sql(f"SELECT * FROM '{path}'").to_arrow_table()


if __name__ == "__main__":
    main()
