"""Click models: the portfolio against each single family, every arm with the same tuning budget.

python scripts/bench/ctr.py --data FOLDER --set movielens --out ctr-movielens.json
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import arms
import pyarrow as pa
import torch

from augment import demo_data, recipe
from augment.generate import Tally
from augment.job import Job, Material, read
from augment.search import weighed
from augment.studio import Studio
from consumers import ClickModel

SETS = {
    "movielens": """
path = "impressions.parquet"
columns = { user = "user_id", item = "item_id", timestamp = "timestamp", label = "label", fields = [
    "gender", "occupation", "zip3", "genre", "hour", "weekday"], numbers = ["age", "year"] }
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
METRICS = {"auc": "AUC", "auc_swapped": "worst of 16 swaps", "auc_masked_ids": "user, item masked",
           "auc_rare": "rare ids", "auc_pgd": "PGD", "auc_apgd": "Auto-PGD", "auc_masked": "30% missing",
           "logloss": "log loss"}  # fmt: skip
ROBUST = ("auc_swapped", "auc_masked_ids", "auc_rare", "auc_pgd")  # what every arm is tuned for, and judged on
PLAIN = {"weight_decay": (0.001, 0.03, 0.3), "lr": (1e-3, 2e-3, 4e-3), "dim": (4, 8, 16)}
EXTRA = {"adv_share": (0.5, 1.0), "adv_weight": (0.25, 0.5, 1.0, 2.0)}
RADII = {"radius": (0.05, 0.1, 0.2, 0.3)}
SINGLES = {"masking": {}, "swaps": {}, "mixup": {}, "FGM": RADII, "PGD": RADII, "VAT": RADII}
MIXES = {"masking+swaps+FGM": RADII, "masking+swaps+live": RADII, "masking+swaps+FGM+live": RADII}
SLACK = 0.001  # of clean validation AUC


def main() -> None:
    parser = arms.arguments(__doc__, list(SETS))
    parser.add_argument("--arms", nargs="*", help="only these, and `none`")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        if options.name == "movielens":
            demo_data.fetch(Path(work), ["impressions"])
        job, material = _open(options, Path(work))
        arena = material.arena
        tried = {"none": arms.draw(PLAIN, options.budget, 0)}
        for i, (families, radii) in enumerate((SINGLES | MIXES).items()):
            configs = arms.draw(EXTRA | radii, options.budget, i + 1)
            tried[families] = [{**config, "adversarial": families.lower()} for config in configs]
        published = list(_published(job, material, Path(work), options.budget))
        tried["published: gan+masking+swaps"] = published
        for families in ("FGM", *MIXES):
            more = arms.draw(EXTRA | RADII, options.budget, 99)
            tried[f"published, and {families}"] = [
                {**config, **own, "adversarial": families.lower()} for config, own in zip(published, more, strict=True)
            ]
        if options.arms:
            tried = {name: configs for name, configs in tried.items() if name in ("none", *options.arms)}
        attacked = {"valid": arena.attacked_valid, "test": arena.attacked}
        results = arms.run(
            tried,
            lambda config, seed: _fit(config, seed, material, options.device),
            lambda model: _on_valid(model, arena.valid, attacked["valid"]),
            lambda model: model.evaluate(arena.test, attacked["test"]),
            seconds=lambda config: _seconds(config, material, options.device),
            singles=dict.fromkeys(ROBUST, tuple(SINGLES)),
            reference="none", seeds=options.seeds, slack=SLACK,
        )  # fmt: skip
    title = f"CTR, {options.name}: {len(arena.train):,} training and {len(arena.test):,} test rows"
    arms.finish(results, METRICS, options, f"{title}, {options.seeds} seeds, {options.budget} settings tried per arm")


def _open(options: Any, work: Path) -> tuple[Job, Material]:
    folder = work if options.name == "movielens" else options.data
    source = SETS[options.name].replace('path = "', f'path = "{folder}/')
    samples = {"movielens": 30_000, "kddcup": 12_000, "criteo": 4_000}[options.name]
    text = RECIPE.format(output=work / "out", source=source, samples=samples)
    job = Job(recipe.parse(text, "bench"), "ctr", options.device)
    material = read(job, work)
    return job, replace(material, arena=arms.development(material.arena)) if options.dev else material


def _published(job: Job, material: Material, work: Path, budget: int) -> Iterator[dict[str, Any]]:
    """Settings that train on a mix as the service publishes it: decoded rows, in equal shares."""
    victim = ClickModel(seed=0, device=job.device).fit(material.arena.train, material.arena.valid)
    studio = Studio(job, material, victim, work)
    wanted = job.task.samples // 3
    pools = [
        pa.concat_tables(studio.samples(name, wanted, Tally(), i)) for i, name in enumerate(("gan", "masking", "swaps"))
    ]
    for config in arms.draw({"size": (0.1, 0.3, 1.0), "weight": (0.1, 0.25, 0.5, 1.0)}, budget, 98):
        weight, size = config.pop("weight"), config.pop("size")
        mix = pa.concat_tables([pool.slice(0, int(size * wanted)) for pool in pools])
        yield {**config, "mix": weighed(mix, weight)}


def _fit(config: arms.Config, seed: int, material: Material, device: str, **more: Any) -> ClickModel:
    settings = {k: v for k, v in config.items() if k != "mix"}
    model = ClickModel(**settings, **more, seed=seed, device=device)
    return model.fit(material.arena.train, material.arena.valid, config.get("mix"))


def _seconds(config: arms.Config, material: Material, device: str) -> float:
    """Of two epochs: a whole training also depends on when it stops."""
    started = time.monotonic()
    _fit(config, 0, material, device, epochs=2)
    return time.monotonic() - started


def _on_valid(model: ClickModel, valid: pa.Table, attacked: Any) -> dict[str, float]:
    measures = model.evaluate(valid, attacked)
    return {"clean": measures["auc"].value(), "robust": sum(measures[m].value() for m in ROBUST) / len(ROBUST)}


if __name__ == "__main__":
    main()
