"""Click models on samples that a teacher labels: what the label is worth, what hardness adds, what the generator adds.

python scripts/bench/taught.py --data FOLDER --set criteo --work WORK --out taught-criteo.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import arms
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from ctr import METRICS, PLAIN, SLACK, TREES, Clicks

from augment.base.progress import say
from augment.contracts.sample import weighed
from augment.contracts.tally import Tally
from augment.contracts.teacher import Teacher, build
from augment.generation.studio import Studio
from augment.judging.arms import fit_seeds
from augment.modalities.fields import Fields
from augment.runs.steps import Steps
from augment.runs.teaching import lesson, room_of
from augment.sources import demo as demo_data
from consumers import ClickModel

TEACHERS = ("boosted trees", "cross-fitted", "mean")
MEAN = {"of": "cross-fitted+boosted trees"}
Shares = Mapping[str, float]  # strategy → of the samples
RANDOM: Shares = {"masking": 0.5, "swaps": 0.5}
GENERATOR: Shares = {"gan": 1.0}
SHIPPED: Shares = {"gan": 0.5, "masking": 0.25, "swaps": 0.25}  # as `sparring init` writes, two candidates judged
BANK = {"bank": 2000, "variants": 8}  # of the generator: copies are cheap here, and it learns the more from more
MOST = 40_000  # samples for each copy of a row: as many as training rows, but no more
ATTACKED = {"attacked_rows": 10_000}  # test rows, at most: all of them
SETTINGS = {"weight": (0.3, 1.0), "size": (0.5, 1.0)}


def main() -> None:
    parser = arms.arguments(__doc__, ["movielens", "kddcup", "criteo"])
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps finished arms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.name == "movielens":
        demo_data.fetch(options.work, ["impressions"])
    bench = Taught(options)
    results = arms.run(bench.arms(options.budget), bench, options.work, singles={}, seeds=options.seeds, slack=SLACK)
    arena = bench.material.arena
    title = f"Click samples with a teacher's labels, {options.name}: {len(arena.train):,} training rows"
    arms.finish(results, METRICS, options, f"{title}, {options.seeds} seeds; teacher: {bench.chosen}")


class Taught(Clicks):
    """Mixes whose labels a teacher gives. See `arms.Bench`."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        teachers = {"teachers": list(TEACHERS), "teacher_options": {"mean": MEAN}}
        self._job.task = self._job.task.model_copy(update={**teachers, "options": ATTACKED})
        arena = self.material.arena
        self._steps = Steps(self._work / "steps")
        self._real = fit_seeds(self._job.make, [0, 1, 2], arena, None)
        said = self._work / "teacher.json"
        if not said.exists():  # the choice is a function of what is kept in steps
            found = lesson(self._job, self.material, self._real, self._steps)
            tried = {name: {**vars(one)} for name, one in found.tried.items()}
            said.write_text(json.dumps({"why": found.why, "tried": tried}), "utf-8")
        kept = json.loads(said.read_text("utf-8"))
        taken = [name for name, one in kept["tried"].items() if one["taken"]]
        self.chosen = taken[0] if taken else "none: the best on validation rows is no better than the consumer"
        gains = {name: one["metrics"]["auc"]["diff"] for name, one in kept["tried"].items() if one["metrics"]}
        self._name = taken[0] if taken else max(gains, key=lambda name: gains[name])
        say(kept["why"])

    def arms(self, budget: int) -> dict[str, arms.Arm]:
        trees = arms.draw(TREES, budget, 11)
        out = {
            "none": arms.Arm(arms.draw(PLAIN, budget, 0), "none", own=True),
            "random copies, their clicks": arms.Arm(self._mixes("click", RANDOM, 1), "none"),
            "real rows relabelled": arms.Arm(self._configs(self._relabelled(), budget), "none"),
            "random copies, taught": arms.Arm(self._mixes("taught", RANDOM, 1), "none"),
            "hardest of 4": arms.Arm(self._mixes("taught", RANDOM, 4), "none"),
            "hardest of 16": arms.Arm(self._mixes("taught", RANDOM, 16), "none"),
            "generator, 1 judged": arms.Arm(self._mixes("taught", GENERATOR, 1), "none"),
            "generator, 2 judged": arms.Arm(self._mixes("taught", GENERATOR, 2), "none"),
            "as shipped": arms.Arm(self._mixes("taught", SHIPPED, 2), "none"),
            "boosted trees": arms.Arm([{"model": "trees", **config} for config in trees], "none", own=True),
        }
        for name, shares, judged in (("random copies", RANDOM, 1), ("as shipped", SHIPPED, 2)):
            mixes = self._mixes("taught", shares, judged, copies=3)
            out[f"boosted trees, {name}, 3 a row"] = arms.Arm(mixes, "boosted trees")
        return out

    def fit(self, config: Mapping[str, Any], seed: int) -> ClickModel:
        return super().fit({**ATTACKED, **config}, seed)

    def on_valid(self, model: ClickModel) -> dict[str, float]:
        """Clean and robust metrics together."""
        found = super().on_valid(model)
        return {**found, "robust": (found["clean"] + found["robust"]) / 2}

    def _mixes(self, label: str, shares: Shares, judged: int, copies: int = 1) -> list[dict[str, Any]]:
        return self._configs(self._copies(label, shares, judged, copies), 4)

    def _configs(self, samples: pa.Table, budget: int) -> list[dict[str, Any]]:
        """Each weight and size of the samples, in an order of chance: what is cut off is any."""
        samples = samples.take(np.random.default_rng(0).permutation(len(samples)))
        return [{"mix": weighed(samples.slice(0, int(config["size"] * len(samples))), config["weight"]),
                 "mix_settings": config} for config in arms.draw(SETTINGS, budget, 98)]  # fmt: skip

    def _teacher(self) -> Teacher:
        options = {"mean": MEAN}.get(self._name, {})
        return build(self._name, options).fit(room_of(self._job, self.material.arena, self._steps, []))

    def _copies(self, label: str, shares: Shares, judged: int, copies: int = 1) -> pa.Table:
        """`copies` of each training row; of `judged` candidates of an anchor, the hardest, where a teacher labels."""
        kept = self._work / f"{label}-{'+'.join(shares)}-{judged}-{copies}.parquet"
        if not kept.exists():
            arena = self.material.arena
            wanted = copies * min(MOST, len(arena.train))
            generator = self._job.task.generator.model_copy(update={"draws": judged, "anchors": MOST, **BANK})
            order = replace(self._job.order, settings=self._job.task.model_copy(update={"generator": generator}))
            Fields.draws = judged  # of random copies
            folder = kept.with_suffix("")
            folder.mkdir(exist_ok=True)
            teacher = self._teacher() if label == "taught" else None
            studio = Studio(order, self.material.real, self._real[0], folder, (), teacher)
            tallies = [Tally() for _ in shares]
            tables = [table for i, (strategy, share) in enumerate(shares.items())
                      for table in studio.samples(strategy, round(share * wanted), tallies[i], i)]  # fmt: skip
            proposed, made = (sum(getattr(tally, n) for tally in tallies) for n in ("proposed", "kept"))
            say(f"{kept.stem}: {proposed / max(1, made):.1f} candidates judged for each of {made:,} samples")
            pq.write_table(pa.concat_tables(tables), kept)
        return pq.read_table(kept)

    def _relabelled(self) -> pa.Table:
        """Real rows with the teacher's label: distillation."""
        train, like = self.material.arena.train, self._copies("taught", RANDOM, 1)
        label = self._teacher().predict(train).astype(np.float32)  # type: ignore[attr-defined]
        names = [field.name for field in like.schema.field("decoded").type]
        columns = [train[name].combine_chunks() for name in self._real[0].values_]  # type: ignore[attr-defined]
        decoded = pa.StructArray.from_arrays(columns, names=names)
        return pa.table({"decoded": decoded, "anchor_id": train["row_id"], "label": label,
                         "weight": np.ones(len(label), np.float32)})  # fmt: skip


if __name__ == "__main__":
    main()
