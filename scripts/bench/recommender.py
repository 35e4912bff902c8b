"""Recommenders: strong plain baselines, losses and samplers, and the published samples mixed into the best of them.

    python scripts/bench/recommender.py --data FOLDER --set retail --cache CACHE --out recommender-retail.json

Full ranking over each user's last fifth. Every arm tries as many settings on validation rows, its l2 and recency
beside, and keeps the one with the best tail recall within 2% of its own best NDCG@20; the test is read once.
--development leaves each user's last fifth out and tests on the fifth before it: for choosing what this file fixes. A
run that was stopped goes on from the arms in its cache, and there is no table before all of them are there.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import arms
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import torch

from augment.base.files import digest
from augment.base.progress import say
from augment.contracts.values import Arena
from augment.judging.verdict import compare
from augment.numeric.measures import Mean, Measure
from augment.recipes import loading
from augment.recipes import schema as recipe
from augment.runs.rows import read
from augment.runs.single import generate_only
from augment.runs.task import Job
from augment.search.pools import weighed
from augment.sources import demo as demo_data
from augment.watch import alarms
from consumers import Recommender
from consumers.scoring.ranking import Coverage

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
{task}
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
REFERENCE, RETRIEVAL, FOLDED = "EASE, recency", "SL", "SL, folded in"
PORTFOLIO = {"gan": 1.0, "noise": 1.0, "pseudo-interactions": 4.0}  # shares of the samples
TAUGHT, VECTORS = {"gan": 1.0, "item-drop": 1.0}, 'options = { model = "mf" }'
FOLDED_VECTORS = 'options = { model = "mf", fold_in = 1.0 }'
BESIDE = 'teachers = ["ease"]\nteacher_options = { ease = { of = "EASE beside MF, inverse propensity" } }'
COPIES = 6  # samples per training user
ALS = {"model": ("als",), "unobserved": (0.05, 0.1, 0.3)}
SL = {"model": ("mf",), "l2": (0.0, 0.1, 1.0, 10.0), "lr": (0.01, 0.02), "epochs": (25, 40),
      "temperature": (0.1, 0.15, 0.2)}  # fmt: skip
PROPENSITY = (0.1, 0.2, 0.3)
# Arm → settings to draw from; a setting of one value is the arm's own. `Recommender` tunes the l2 of each draw, and its
# recency where the model reads a history, on validation rows, unless the draw says otherwise.
SPACES: dict[str, Mapping[str, Sequence[Any]]] = {
    REFERENCE: {},
    "EASE": {"recency": (0.0,)},
    "popularity": {"model": ("popular",)},
    "item neighbours, recency": {"model": ("neighbours",), "neighbours": (50, 100, 400)},
    "transitions, recency": {"model": ("transitions",)},
    "ALS": {**ALS, "recency": (0.0,)},
    "ALS, recency": ALS,
    "EASE beside SL, inverse propensity": {"model": ("blend",), "propensity": PROPENSITY},
    RETRIEVAL: SL,
    FOLDED: {**SL, "fold_in": (0.5, 1.0, 2.0)},
    "SL, distilled from EASE, recency": {**SL, "distill": (0.3, 1.0, 3.0)},
    "EASE, recency, inverse propensity": {"propensity": PROPENSITY},
    "EASE, recency, inverse propensity, suspects": {"propensity": PROPENSITY, "suspects": (0.05,)},
}


class Mix(NamedTuple):
    of: str  # the arm without the samples
    shares: Mapping[str, float]  # of strategies
    texts: bool = True  # whether items alike are found by them
    task: str = ""  # more of the task that makes them


MIXES = {
    "EASE, recency + published samples": Mix(REFERENCE, PORTFOLIO),
    "ALS, recency + published samples": Mix("ALS, recency", PORTFOLIO),
    "EASE, recency + pseudo-interactions by texts": Mix(REFERENCE, {"pseudo-interactions": 1.0}),
    "EASE, recency + pseudo-interactions by item vectors": Mix(REFERENCE, {"pseudo-interactions": 1.0}, texts=False),
    "SL + samples with their own targets": Mix(RETRIEVAL, TAUGHT, False, VECTORS),
    "SL + samples with EASE's targets": Mix(RETRIEVAL, TAUGHT, False, f'{VECTORS}\nteachers = ["ease"]'),
    "SL, folded in + samples with EASE's targets": Mix(FOLDED, TAUGHT, False, f'{FOLDED_VECTORS}\nteachers = ["ease"]'),
    "SL, folded in + samples with both's targets": Mix(FOLDED, TAUGHT, False, f"{FOLDED_VECTORS}\n{BESIDE}"),
}


GROUPS = {  # tables
    "all": [*SPACES, *MIXES],
    "taught": [
        REFERENCE,
        "EASE beside SL, inverse propensity",
        RETRIEVAL,
        FOLDED,
        "SL, distilled from EASE, recency",
        *(n for n in MIXES if n.startswith("SL")),
    ],
}


def main() -> None:
    parser = arms.arguments(__doc__ or "", list(SETS))
    parser.add_argument("--users", type=int, help="at most this many (default: what a quarter of an hour allows)")
    parser.add_argument("--quick", action="store_true", help="one setting per arm, one seed: does it run?")
    parser.add_argument("--development", action="store_true", help="test on the fifth before each user's last fifth")
    parser.add_argument("--group", choices=GROUPS, default="all", help="whose table; taught: what a teacher brings")
    parser.add_argument("--only", nargs="*", help="arms to run; there is no table before all are there")
    parser.add_argument("--cache", type=Path, required=True, help="folder of finished arms, from which a run goes on")
    parser.set_defaults(seeds=3, budget=3)
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.budget = 1, 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(options, Path(work))
        mixes = {name: mix for name, mix in MIXES.items() if bench.texts or not name.endswith("texts")}
        names = [name for name in GROUPS[options.group] if name in SPACES or name in mixes]
        for name in names:
            if options.only and name not in options.only:
                continue
            if name in SPACES:
                bench.run(name, SPACES[name])
            else:
                bench.run(name, mix=mixes[name])
        bench.finish(names)


class Bench:
    """One set: its rows, and what the arms measured so far."""

    def __init__(self, options: Any, work: Path) -> None:
        self._options, self._work = options, work
        query, core, users = SETS[options.name]
        rows = _write(options, query, options.users or users, work / "rows.parquet")
        self._samples = COPIES * pa.compute.count_distinct(rows["user_id"]).as_py()
        self._core, self.texts = core, "text" in rows.column_names  # whether items have texts
        self.arena: Arena = read(
            Job(self._recipe(Mix(REFERENCE, PORTFOLIO)), "recommender", options.device), work
        ).arena
        self._attacked = {"shilling": self.arena.attacked["shilling"]}
        sizes = [len(x) for x in (self.arena.train, self.arena.valid, self.arena.test)]
        users, items = (pa.compute.count_distinct(self.arena.train[c]).as_py() for c in ("user_id", "item_id"))
        self._title = f"Recommender, {options.name}{' (development)' if options.development else ''}: {users:,} users, "
        self._title += f"{items:,} items, {sizes[0]:,} training, {sizes[1]:,} validation, {sizes[2]:,} test rows"
        say(self._title)
        made_of = digest([self._title, options.seeds, options.budget])
        self._cache = options.cache / f"{options.name}-{made_of}"
        self._mixes: dict[tuple[str, int], pa.Table] = {}

    def _recipe(self, mix: Mix) -> recipe.Recipe:
        strategies = ", ".join(f"{name} = {share}" for name, share in mix.shares.items())
        text = ', text = "text"' if mix.texts and self.texts else ""
        filled = RECIPE.format(output=self._work / "out", path=self._work / "rows.parquet", core=self._core,
                               samples=self._samples, strategies=strategies, text=text, task=mix.task)  # fmt: skip
        return loading.parse(filled, "bench")

    def _mix(self, mix: Mix) -> Mapping[str, Sequence[Any]]:
        """Publish samples, and the settings of a mix: copies per user, and their weight."""
        kind = f"{'+'.join(mix.shares)}{'-by-texts' if mix.texts and self.texts else ''}"
        kind += f"-{digest(mix.task)[:8]}" if mix.task else ""
        folder, started = self._cache / kind, time.monotonic()
        if not folder.exists():
            made = self._work / kind
            found = generate_only(self._recipe(mix), "recommender", made, device=self._options.device)
            shutil.copytree(made, folder.with_suffix(".tmp"), dirs_exist_ok=True)
            folder.with_suffix(".tmp").rename(folder)
            kept = {name: tally["kept"] for name, tally in found["strategies"].items()}
            say(f"{kind}: {time.monotonic() - started:.0f} s: {kept}")
        pool = ds.dataset(folder).to_table()
        pool = pool.take(pa.array(np.random.default_rng(0).permutation(len(pool))))
        say(f"{kind}: {len(pool):,} samples: {alarms.signs(pool, self.arena.train, self.arena.valid)}")
        sizes = {copies: round(len(pool) * copies / COPIES) for copies in (2, 4, COPIES)}
        self._mixes |= {(kind, copies): pool.slice(0, size) for copies, size in sizes.items()}
        return {"kind": (kind,), "copies": tuple(sizes), "weight": (0.1, 0.25, 0.5, 1.0)}

    def run(self, name: str, space: Mapping[str, Sequence[Any]] | None = None, mix: Mix | None = None) -> None:
        """Tune an arm on validation rows, train its choice with every seed, read the test once; keep what it gave.

        space: to draw from; with a mix, it is the choice of another arm, trained on the samples too.
        """
        if self._place(name).exists():
            return
        started = time.monotonic()
        if mix is not None:
            own = _kept(self._place(mix.of), 1)[0]
            settings = {**own["chosen"], **({"l2": own["l2"]} if "model" in own["chosen"] else {})}  # ALS takes long
            space = {**{option: (value,) for option, value in settings.items()}, **self._mix(mix)}
        tried = [(config, self._fit(config, 0)) for config in arms.draw(space or {}, self._options.budget, seed=0)]
        on_valid = [(c, model, model.evaluate(self.arena.valid, {})) for c, model in tried]
        values = [(c, model, m["ndcg@20"].value(), m["tail_recall@20"].value()) for c, model, m in on_valid]
        able = [v for v in values if v[2] >= NEAR_BEST * max(ndcg for _, _, ndcg, _ in values)]
        chosen, model, _, _ = max(able, key=lambda v: v[3])
        began = time.process_time()
        models = [model] if model.deterministic else self._seeds(chosen, model)
        measured = [model.evaluate(self.arena.test, self._attacked) for model in models]
        about = {"chosen": chosen, "l2": model.l2_, "recency": model.recency_}
        about["seconds"] = (time.process_time() - began) / len(models)
        _keep(self._place(name), about, measured)
        shown = ", ".join(f"{m} {np.mean([one[m].value() for one in measured]):.4f}" for m in METRICS)
        say(f"{name}: {time.monotonic() - started:.0f} s, {about}, {shown}")

    def _seeds(self, chosen: arms.Config, first: Recommender) -> list[Recommender]:
        """The choice with every seed, at what the first was tuned to."""
        recency = dict(zip(("recency", "recency_floor"), first.recency_, strict=True)) if first.recency_[0] else {}
        fixed = {**chosen, "l2": first.l2_, **recency}
        return [first, *(self._fit(fixed, seed) for seed in range(1, self._options.seeds))]

    def _place(self, name: str) -> Path:
        return self._cache / f"{re.sub(r'[^a-z]+', '-', name.lower())}.npz"

    def _fit(self, config: arms.Config, seed: int) -> Recommender:
        settings = {k: v for k, v in config.items() if k not in ("kind", "copies", "weight")}
        mix = weighed(self._mixes[config["kind"], config["copies"]], config["weight"]) if "kind" in config else None
        model = Recommender(**settings, seed=seed, device=self._options.device)
        return model.fit(self.arena.train, self.arena.valid, mix)

    def finish(self, names: Sequence[str]) -> None:
        """Write the table, once every arm is there."""
        if missing := [name for name in names if not self._place(name).exists()]:
            raise SystemExit(f"not done: {', '.join(missing)}")
        seeds, budget = self._options.seeds, self._options.budget
        found = {name: _kept(self._place(name), seeds) for name in names}
        results = []
        for name, (about, measured) in found.items():
            values = {m: float(np.mean([one[m].value() for one in measured])) for m in METRICS}
            tuned = {"l2": about["l2"], "recency": about["recency"]}
            result = arms.Result(name, {**about["chosen"], **tuned}, values, seconds=about["seconds"])
            result.cost = about["seconds"] / found[REFERENCE][0]["seconds"]
            if name != REFERENCE:
                against = MIXES[name].of if name in MIXES else REFERENCE
                plain = found[against][1]
                paired = compare(plain, measured, plain, against, draws=500, confidence=0.95, seed=0)
                result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in paired.items()}
                if against != REFERENCE:
                    result.name = f"{name} (differences: to {against})"
            results.append(result)
        title = (
            f"{self._title}; {seeds} seeds, {budget} settings tried per arm beside l2 and recency; time of the test, "
        )
        title += "with the attack's retraining"
        arms.finish(results, METRICS, self._options, title)


def _keep(path: Path, about: Mapping[str, Any], measured: Sequence[Mapping[str, Measure]]) -> None:
    """What an arm chose and measured, the latter unit by unit."""
    arrays = {f"{seed}|{m}": one[m].lists if m == "coverage" else one[m].values  # type: ignore[attr-defined]
              for seed, one in enumerate(measured) for m in METRICS}  # fmt: skip
    items = measured[0]["coverage"].items  # type: ignore[attr-defined]
    better = {m: measured[0][m].better_is for m in METRICS}
    said = json.dumps({**about, "items": items, "better": better, "fitted": len(measured)})
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path.with_suffix(".tmp.npz"), about=np.array(said), **arrays)
    path.with_suffix(".tmp.npz").rename(path)


def _kept(path: Path, seeds: int) -> tuple[dict[str, Any], list[dict[str, Measure]]]:
    with np.load(path) as found:
        about = json.loads(str(found["about"]))
        measured: list[dict[str, Measure]] = [
            {
                m: Coverage(found[f"{seed}|{m}"], about["items"])
                if m == "coverage"
                else Mean(found[f"{seed}|{m}"], about["better"][m])
                for m in METRICS
            }
            for seed in range(about["fitted"])
        ]
    return about, measured * (seeds // len(measured))


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
