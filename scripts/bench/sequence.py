"""Sequences: tuned SASRec beside itself with samples of each family, of the generator, and with a teacher's targets.

    python scripts/bench/sequence.py --data FOLDER --set movielens --work WORK --out sequence-movielens.json

Next item over all items, full ranking, after all that the user did before. Arms are chosen by validation NDCG@20, the
test is read once; a run that was stopped goes on from the arms in its work folder. Sets are cut to `--users`, by a hash
of the user: a training takes seconds, and one set a quarter of an hour on a core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import arms
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from augment.base.progress import say
from augment.contracts.sample import weighed
from augment.contracts.tally import Tally
from augment.contracts.teacher import build
from augment.generation.studio import Studio
from augment.numeric.measures import Measure
from augment.recipes import loading
from augment.runs.rows import read
from augment.runs.steps import Steps
from augment.runs.task import Job
from augment.runs.teaching import room_of
from augment.sources import demo as demo_data
from consumers import NextItem

SETS = {  # rows, core, users
    "movielens": ("SELECT user_id, item_id, timestamp FROM '{demo}/behaviour.parquet'", 5, 150),
    "beauty": (
        "SELECT user_id, item_id, TIMESTAMP '2014-01-01' + to_days(position) AS timestamp "
        "FROM '{data}/rec_amazon_beauty_5core_seq.parquet'",
        3,
        1_500,
    ),
    "retailrocket": (
        # The first view of each item in a session, of the items that most sessions view: a small part of the sessions
        # would otherwise hold little but repeats.
        "SELECT session_id AS user_id, item_id, TIMESTAMP '2014-01-01' + to_days(min(position)) AS timestamp "
        "FROM '{data}/rec_retailrocket_sessions.parquet' WHERE item_id IN (SELECT item_id FROM "
        "'{data}/rec_retailrocket_sessions.parquet' GROUP BY 1 ORDER BY count(DISTINCT session_id) DESC, 1 LIMIT 3000) "
        "GROUP BY 1, 2 QUALIFY count(*) OVER (PARTITION BY session_id) >= 5",
        3,
        1_200,
    ),
}
RECIPE = """
name = "bench"
output = "{work}/out"
[sources.rows]
path = "{work}/rows.parquet"
columns = {{ user = "user_id", item = "item_id", timestamp = "timestamp" }}
max_per_minute = 100000
split = {{ by = "user_time", valid = 0.15, test = 0.15, core = {core} }}
[tasks.sequence]
consumer = "sequence"
source = "rows"
teachers = ["next-items"]
samples = 1000
strategies = {{ crop = 1.0, gan = 1.0 }}
gates = {{ band = [-4.0, 4.0] }}
generator = {{ draws = 4 }}
verdict = {{ clean = ["ndcg@20"], improve = ["tail_recall@20"] }}
"""
METRICS = {"ndcg@20": "NDCG@20", "recall@20": "recall@20", "tail_recall@20": "tail recall@20", "coverage": "coverage",
           "ndcg_misclicks@20": "misclicks", "ndcg_dropped@20": "last dropped", "ndcg_shuffled@20": "shuffled",
           "mean_popularity": "mean popularity"}  # fmt: skip
FAMILIES = ("crop", "mask", "insert", "substitute", "reorder")
COPIES = 3  # samples per training user
COPY = "copy"  # what editing is worth beside: the last item weighs more in unedited copies too
WEIGHTS = (0.3, 1.0)
SPACE = {"dropout": (0.2, 0.4, 0.5), "lr": (0.003, 0.006)}
PLAIN = {"popularity": "popular", "transitions": "transitions", "EASE, recency": "ease",
         "session neighbours": "session-neighbours"}  # fmt: skip
REFERENCE = "SASRec"


def main() -> None:
    parser = arms.arguments(__doc__ or "", list(SETS))
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps finished arms")
    parser.add_argument("--users", type=int, help="at most this many")
    parser.add_argument("--only", nargs="*", help="arms beside SASRec, by name; all by default")
    parser.set_defaults(seeds=3, budget=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Sequences(options)
    every = bench.arms(options.budget)
    wanted = {name: arm for name, arm in every.items() if name in [REFERENCE, *(options.only or every)]}
    results = arms.run(wanted, bench, options.work, singles={}, seeds=options.seeds, slack=0.0)
    arms.finish(results, METRICS, options, f"{bench.title}; {options.seeds} seeds, {options.budget} settings per arm")


class Sequences:
    """One set: its rows, its samples, and how an arm is trained. See `arms.Bench`."""

    def __init__(self, options: Any) -> None:
        self._options, self._work = options, options.work.resolve()
        self._work.mkdir(parents=True, exist_ok=True)
        query, core, users = SETS[options.name]
        _write(options, query, options.users or users, self._work)
        recipe = loading.parse(RECIPE.format(work=self._work, core=core), "bench")
        self._job = Job(recipe, "sequence", options.device)
        self._material = read(self._job, self._work / "rows")
        self.arena = self._material.arena
        sizes = [len(x) for x in (self.arena.train, self.arena.valid, self.arena.test)]
        users, items = (pa.compute.count_distinct(self.arena.train[c]).as_py() for c in ("user_id", "item_id"))
        self.title = f"Sequences, {options.name}: {users:,} users, {items:,} items, {sizes[0]:,} training, "
        self.title += f"{sizes[1]:,} validation, {sizes[2]:,} test rows"
        say(self.title)
        self._each = COPIES * users
        self._victim: NextItem | None = None

    def arms(self, budget: int) -> dict[str, arms.Arm]:
        """Samples are made when the arm that needs them is trained: those of finished arms are not made again."""
        plain = arms.draw(SPACE, budget, 0)
        gru = [{"model": "gru4rec", **config} for config in arms.draw(SPACE, budget, 1)]
        out = {REFERENCE: arms.Arm(plain, REFERENCE, own=True)}
        out |= {name: arms.Arm([{"model": model}], REFERENCE, own=True) for name, model in PLAIN.items()}
        out["GRU4Rec"] = arms.Arm(gru, REFERENCE, own=True)
        mixes: dict[str, tuple[tuple[str, ...], bool]] = {"SASRec + unedited copies": ((COPY,), False)}
        mixes |= {"SASRec + all families": (FAMILIES, False), "SASRec + gan": (("gan",), False)}
        mixes |= {"SASRec + all families, taught": (FAMILIES, True), "SASRec + gan, taught": (("gan",), True)}
        mixes |= {f"SASRec + {family}": ((family,), False) for family in FAMILIES}
        for name, (kinds, taught) in mixes.items():
            out[name] = arms.Arm([{"mix": (kinds, taught), "weight": weight} for weight in WEIGHTS], REFERENCE)
        return out

    def fit(self, config: Mapping[str, Any], seed: int) -> NextItem:
        settings, mix = dict(config), None
        if "mix" in settings:
            kinds, taught = settings.pop("mix")
            mix = weighed(self._samples(kinds, taught), settings.pop("weight"))
        model = NextItem(**settings, seed=seed, device=self._options.device)
        return model.fit(self.arena.train, self.arena.valid, mix)

    def save(self, model: NextItem, folder: Path) -> None:
        model.save(folder)

    def load(self, folder: Path) -> NextItem:
        return NextItem.load(folder, self._options.device)

    def on_valid(self, model: NextItem) -> dict[str, float]:
        found = model.evaluate(self.arena.valid, {})["ndcg@20"].value()
        return {"clean": found, "robust": found}

    def on_test(self, model: NextItem) -> dict[str, Measure]:
        found = model.evaluate(self.arena.test, self.arena.attacked)
        return {name: found[name] for name in METRICS}

    def _samples(self, kinds: tuple[str, ...], taught: bool) -> pa.Table:
        """As many for each user, whatever the number of families."""
        if kinds == (COPY,):
            order = replace(self._job.order, settings=self._job.task)
            studio = Studio(order, self._material.real, self._sparred(), self._work)
            rows = studio.anchors.rows.take(pa.array(np.tile(np.arange(len(studio.anchors)), COPIES)))
            weight = np.ones(len(rows), np.float32)
            strategy = pa.array([COPY] * len(rows))
            return pa.table({"decoded": studio.modality.as_decoded(rows), "weight": weight, "strategy": strategy})
        kept = self._work / f"{'+'.join(kinds)}{'-taught' if taught else ''}.parquet"
        if not kept.exists():
            order = replace(self._job.order, settings=self._job.task)
            room = room_of(self._job, self.arena, self._steps(), [])
            teacher = build("next-items", {}).fit(room) if taught else None
            studio = Studio(order, self._material.real, self._sparred(), self._work, (), teacher)
            tallies = [Tally() for _ in kinds]
            tables = [table for i, kind in enumerate(kinds)
                      for table in studio.samples(kind, self._each // len(kinds), tallies[i], i)]  # fmt: skip
            made = pa.concat_tables([studio.nothing(), *tables])
            say(f"{kept.stem}: {len(made):,} samples: {[tally.summary(self._job.task.gates) for tally in tallies]}")
            pq.write_table(made, kept.with_suffix(".tmp"))
            kept.with_suffix(".tmp").rename(kept)
        return pq.read_table(kept)

    def _sparred(self) -> NextItem:
        """The tuned plain model of the first seed."""
        return self.load(self._work / REFERENCE / "0")

    def _steps(self) -> Steps:
        return Steps(self._work / "steps")


def _write(options: Any, query: str, users: int, work: Path) -> None:
    """Rows in order of time, of `users` users chosen by a hash."""
    path = work / "rows.parquet"
    if path.exists():
        return
    if options.name == "movielens":
        demo_data.fetch(work, ["behaviour"])
    rows = query.format(data=options.data, demo=work)
    with duckdb.connect() as db:
        db.execute("SET threads = 1")
        db.execute(
            f"""COPY (SELECT * EXCLUDE (draw) FROM (SELECT CAST(user_id AS VARCHAR) AS user_id,
            CAST(item_id AS VARCHAR) AS item_id, timestamp, dense_rank() OVER (ORDER BY md5(CAST(user_id AS VARCHAR)))
            AS draw FROM ({rows})) WHERE draw <= {users} ORDER BY user_id, timestamp, item_id)
            TO '{path}' (FORMAT parquet)"""
        )


if __name__ == "__main__":
    main()
