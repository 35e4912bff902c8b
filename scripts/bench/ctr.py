"""Click models, plain, trained adversarially and on published samples, every arm with the same tuning budget.

python scripts/bench/ctr.py --data FOLDER --set movielens --budget 4 --work WORK --out ctr-movielens.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import arms
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from augment.generation.maker import Tally
from augment.generation.studio import Studio
from augment.numeric.measures import Measure
from augment.recipes import loading
from augment.runs.rows import Material, read
from augment.runs.task import Job
from augment.search.pools import weighed
from augment.sources import demo as demo_data
from consumers import ClickModel

SETS = {
    "movielens": """
path = "impressions.parquet"
columns = { user = "user_id", item = "item_id", timestamp = "timestamp", label = "label", fields = [
    "gender", "occupation", "zip3", "genre", "hour", "weekday"], numbers = ["age", "year"], mutable = [
    "hour", "weekday"] }
split = { by = "time", valid = 0.1, test = 0.2 }
""",
    "kddcup": """
path = "ctr_kddcup12_click_small_40k.parquet"
columns = { user = "user_id", item = "ad_id", label = "label", fields = [
    "advertiser_id", "depth", "position", "query_id", "keyword_id", "title_id", "description_id"] }
split = { by = "random", valid = 0.15, test = 0.25 }
""",
    "criteo": """
path = "ctr_criteo_small_8k.parquet"
columns = { label = "label", fields = [
    "C1", "C2", "C5", "C6", "C8", "C9", "C14", "C17", "C18", "C20", "C22", "C23", "C25"], numbers = [
    "I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13"] }
split = { by = "random", valid = 0.15, test = 0.3 }
""",
}
RECIPE = """
name = "bench"
seed = 0
output = "{output}"
[sources.rows]
{source}
[tasks.ctr]
consumer = "ctr"
source = "rows"
samples = {samples}
strategies = {{ gan = 1.0, masking = 1.0, swaps = 1.0 }}
gates = {{ band = [-4.0, 4.0] }}
generator = {{ draws = 4 }}
verdict = {{ clean = ["auc"], improve = ["auc_masked"] }}
"""
METRICS = {"auc": "AUC", "logloss": "log loss", "auc_rare": "rare ids", "auc_masked": "30% missing",
           "auc_masked_ids": "user, item masked", "auc_swapped": "worst of 16 swaps", "auc_pgd": "PGD",
           "auc_off_bin": "a bin off", "auc_stale": "stale profile", "auc_renamed": "category renamed",
           "auc_newest": "newest users, items"}  # fmt: skip
ROBUST = ("auc_swapped", "auc_masked_ids", "auc_rare", "auc_pgd")  # what every arm is tuned for, and judged on
Space = Mapping[str, Sequence[Any]]
PLAIN: Space = {"weight_decay": (0.001, 0.03, 0.3), "lr": (1e-3, 2e-3, 4e-3), "dim": (4, 8, 16)}
TREES: Space = {"leaves": (4, 8, 16, 32), "min_count": (1, 2, 5)}
EXTRA: Space = {"adv_share": (0.5, 1.0), "adv_weight": (0.25, 0.5, 1.0, 2.0)}
RADII: Space = {"radius": (0.05, 0.1, 0.2, 0.3)}
SINGLES: dict[str, Space] = {"masking": {}, "FGM": RADII}
MIXES: dict[str, Space] = {"masking+swaps+FGM": RADII}
STRONGER: dict[str, dict[str, Any]] = {
    "DCNv2 on target statistics": {"target_statistics": True},
    "boosted trees": {"model": "trees"},
}
SAMPLES = ("gan", "masking", "swaps")  # strategies, in equal shares
SLACK = 0.001  # of clean validation AUC


def main() -> None:
    parser = arms.arguments(__doc__, list(SETS))
    parser.add_argument(
        "--work", type=Path, required=True, help="folder that keeps finished arms: a stopped run goes on"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.name == "movielens":
        demo_data.fetch(options.work, ["impressions"])
    bench = Clicks(options)
    results = arms.run(
        _arms(bench, options.budget), bench, options.work,
        singles=dict.fromkeys(ROBUST, tuple(SINGLES)), seeds=options.seeds, slack=SLACK,
    )  # fmt: skip
    arena = bench.material.arena
    title = f"CTR, {options.name}: {len(arena.train):,} training and {len(arena.test):,} test rows"
    arms.finish(results, METRICS, options, f"{title}, {options.seeds} seeds, {options.budget} settings tried per arm")


def _arms(bench: Clicks, budget: int) -> dict[str, arms.Arm]:
    """Each consumer plain and on samples made for it; DCNv2, the reference, trained adversarially too."""
    out = {"none": arms.Arm(arms.draw(PLAIN, budget, 0), "none", own=True)}
    for i, (families, radii) in enumerate((SINGLES | MIXES).items()):
        configs = arms.draw({**EXTRA, **radii}, budget, i + 1)
        out[families] = arms.Arm([{**config, "adversarial": families.lower()} for config in configs], "none")
    out["published"] = arms.Arm(bench.mixes({}, budget), "none")
    for i, (name, given) in enumerate(STRONGER.items()):
        space = TREES if "model" in given else PLAIN
        out[name] = arms.Arm([{**given, **config} for config in arms.draw(space, budget, 10 + i)], "none", own=True)
        out[f"{name}, published"] = arms.Arm(bench.mixes(given, budget), name)
    return out


class Clicks:
    """Click models on one set. See `arms.Bench`."""

    def __init__(self, options: Any) -> None:
        self._work = options.work
        self._job, self.material = _open(options, options.work)
        self._device = options.device

    def mixes(self, given: arms.Config, budget: int) -> list[dict[str, Any]]:
        """Settings of a mix as the service publishes it: decoded rows, made for the consumer with `given` options."""
        pools = [self._pool(name, given) for name in SAMPLES]
        wanted, out = self._job.task.samples // len(SAMPLES), []
        for config in arms.draw({"size": (0.1, 0.3, 1.0), "weight": (0.1, 0.25, 0.5, 1.0)}, budget, 98):
            mix = pa.concat_tables([pool.slice(0, int(config["size"] * wanted)) for pool in pools])
            out.append({"mix": weighed(mix, config["weight"]), "mix_settings": config})
        return out

    def _pool(self, name: str, given: arms.Config) -> pa.Table:
        kept = self._work / f"{name}-{'-'.join(given) or 'none'}.parquet"
        if not kept.exists():
            arena = self.material.arena
            victim = ClickModel(**given, seed=0, device=self._device).fit(arena.train, arena.valid)
            checkpoints = kept.with_suffix("")
            checkpoints.mkdir(exist_ok=True)
            studio = Studio(self._job.order, self.material.real, victim, checkpoints)
            for i, strategy in enumerate(SAMPLES):
                made = studio.samples(strategy, self._job.task.samples // len(SAMPLES), Tally(), i)
                path = self._work / f"{strategy}-{'-'.join(given) or 'none'}.parquet"
                pq.write_table(pa.concat_tables(made), path)
        return pq.read_table(kept)

    def fit(self, config: arms.Config, seed: int) -> ClickModel:
        settings = {name: value for name, value in config.items() if not name.startswith("mix")}
        arena = self.material.arena
        return ClickModel(**settings, seed=seed, device=self._device).fit(arena.train, arena.valid, config.get("mix"))

    def save(self, model: ClickModel, folder: Path) -> None:
        model.save(folder)

    def load(self, folder: Path) -> ClickModel:
        return ClickModel.load(folder, self._device)

    def on_valid(self, model: ClickModel) -> dict[str, float]:
        measures = model.evaluate(self.material.arena.valid, self.material.arena.attacked_valid)
        return {"clean": measures["auc"].value(), "robust": sum(measures[m].value() for m in ROBUST) / len(ROBUST)}

    def on_test(self, model: ClickModel) -> dict[str, Measure]:
        return model.evaluate(self.material.arena.test, self.material.arena.attacked)


def _open(options: Any, work: Path) -> tuple[Job, Material]:
    folder = work if options.name == "movielens" else options.data
    source = SETS[options.name].replace('path = "', f'path = "{folder}/')
    samples = {"movielens": 12_000, "kddcup": 12_000, "criteo": 4_000}[options.name]
    text = RECIPE.format(output=work / "out", source=source, samples=samples)
    job = Job(loading.parse(text, "bench"), "ctr", options.device)
    material = read(job, work)
    return job, replace(material, arena=arms.development(material.arena)) if options.dev else material


if __name__ == "__main__":
    main()
