"""Categories of pictures with few labels: really edited pictures against tuned logistic regression and RandAugment.

python scripts/bench/images.py --data FOLDER --set clothing --out images-clothing.json

Every arm's predictions are kept beside the figures, so a benchmark that was stopped goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import arms
import numpy as np
import pyarrow as pa
import torch

from augment.base.progress import say
from augment.contracts.values import Arena
from augment.generation.studio import Studio
from augment.judging.verdict import compare
from augment.numeric.columns import labels_of
from augment.numeric.measures import Mean, Measure
from augment.pictures.decoding import as_jpeg, decoded
from augment.recipes import loading
from augment.runs.rows import Material, read
from augment.runs.task import Job
from augment.search.pools import Pools
from augment.search.space import Choice
from consumers import Image
from consumers.image import LAST_BLOCK
from consumers.models.many_classes import GRID
from consumers.scoring.pixels import right_under_pixels

SETS = {  # file, columns
    "clothing": ("img_clothing_small_10cls.parquet", 'image = "image_jpeg", label = "label"'),
    "fashion": ("img_fashion_products_20types.parquet", 'image = "image_jpeg", label = "article_type"'),
}
RECIPE = """
name = "bench"
seed = 0
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ {columns} }}
classes = {classes}
split = {{ valid = 0.12, test = 0.3 }}
valid_rows = 300
test_rows = 1000
labelled = 2500
unlabelled = 0
[tasks.pictures]
consumer = "image"
source = "rows"
encoder = "efficientnet-lite0"
options = {{ attacked_rows = {attacked} }}
samples = {samples}
strategies = {{ noise = 1.0, gan = 1.0, self-training = 1.0 }}
generator = {{ bank = 100, variants = 4 }}
gates = {{ band = [-6.0, 6.0], min_label_agreement = 0.5, min_plausibility = 0.05 }}
verdict = {{ clean = ["accuracy"], improve = ["accuracy_unseen"] }}
"""
METRICS = {
    "accuracy": "accuracy",
    "accuracy_unseen": "right under all 6 held-out corruptions",
    "accuracy_unseen_mean": "under one of these",
    "accuracy_pool": "right under all 8 edits",
    "accuracy_pixels": "PGD on pixels, 2/255",
    "logloss": "log loss",
}
LABELS = (10, 30, 100)  # a class
UNLABELLED = 1000
SLACK = 0.01
WEIGHTS = (0.1, 0.3, 1.0)
ATTACKED = 20  # rows whose pixels are attacked
PLAIN, ROBUST, MIXUP = "logistic, tuned", "logistic, tuned for robustness", "MLP with mixup"
LAST = "last block, tuned"
RANDOM, SELF, EDITS, GAN = "RandAugment", "self-training", "real edits + self-training", "GAN + self-training"


def main() -> None:
    parser = arms.arguments(__doc__, list(SETS))
    parser.add_argument("--labels", type=int, nargs="*", default=LABELS)
    parser.add_argument("--attacked", type=int, default=120, help="test rows under corruptions")
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument(
        "--arms", nargs="*", help="these alone, by their names; the robust logistic regression among them"
    )
    parser.set_defaults(seeds=3, budget=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        job, material = open_set(options, Path(work))
        for count in options.labels:
            measured: dict[str, list[dict[str, Measure]]] = {}
            chosen: dict[str, Any] = {}
            for seed in range(options.seeds):
                for name, config, found in Arms(job, material, count, seed, options).all():
                    measured.setdefault(name, []).append(found)
                    chosen[f"{name}, seed {seed}"] = config
                    say(f"n = {count}, seed {seed}, {name}: "
                        + ", ".join(f"{m} {found[m].value():.4f}" for m in METRICS))  # fmt: skip
            title = f"Pictures, {options.name}, {count} labels a class, {options.seeds} seeds"
            arms.finish(compared(measured, chosen), METRICS, arms.writing_of(options, count), title)


def open_set(options: Any, work: Path) -> tuple[Job, Material]:
    import pyarrow.parquet as pq

    file, columns = SETS[options.name]
    label = columns.split('"')[-2]
    classes = sorted(set(pq.read_table(options.data / file, columns=[label])[label].to_pylist()))
    text = RECIPE.format(output=options.out.parent / f"work-{options.name}", path=options.data / file, columns=columns,
                         classes=json.dumps(classes), attacked=options.attacked, samples=options.samples)  # fmt: skip
    job = Job(loading.parse(text, "bench"), "pictures", options.device)
    material = read(job, work)
    say(f"{len(material.arena.train)} training rows; encoding the attacks")
    material.arena.attacked  # noqa: B018
    return job, material


class Arms:
    """Each arm's choice and what it measures, for one set of labelled rows."""

    def __init__(self, job: Job, material: Material, count: int, seed: int, options: Any) -> None:
        self._material, self._budget, self._seed = material, options.budget, seed
        self.arena, unlabelled = with_labels(material.arena, count, seed)
        self._few = replace(material, arena=self.arena, unlabelled=unlabelled)
        self._job = Job(job.recipe.model_copy(update={"seed": seed}), job.name, job.device)
        self._kept = options.out.parent / f"work-{options.name}" / "arms" / f"{count}-{seed}"
        self._wanted = options.arms
        self._samples = options.samples

    def all(self) -> Iterator[tuple[str, Any, dict[str, Measure]]]:
        """Name, settings and measures."""
        grid = {"C": GRID[1:], "balanced": (False, True)}
        small = {"C": (3.0, 10.0, 30.0, 100.0), "balanced": (False,), "weight": WEIGHTS}
        spaces: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
            PLAIN: (grid, {}, 0.0),
            ROBUST: (grid, {}, SLACK),
            MIXUP: ({"C": (3.0, 10.0, 30.0, 100.0)}, {"model": "mlp", "adversarial": "mixup"}, SLACK),
            # Its start is tuned by itself; pixels are attacked below.
            LAST: ({"C": (0.0,)}, {"model": LAST_BLOCK, "encoder": self._job.task.encoder}, 0.0),
            RANDOM: (small, {}, SLACK),
            SELF: (small, {}, SLACK),
            EDITS: (small, {}, SLACK),
            GAN: (small, {}, SLACK),
        }
        for name in self._wanted or spaces:
            space, extra, slack = spaces[name]
            place = self._kept / "".join(c if c.isalnum() else "-" for c in name.lower())
            if not (place / "chosen.json").exists():
                found, model = self._tuned(name, space, extra, slack)
                model.save(place)
                (place / "chosen.json").write_text(json.dumps(found), "utf-8")
            model = Image.load(place)
            yield name, json.loads((place / "chosen.json").read_text("utf-8")), self._measures(model, place)

    def _tuned(self, name: str, space: dict[str, Any], extra: dict[str, Any], slack: float) -> tuple[Any, Image]:
        tried = []
        for config in arms.draw(space, self._budget, 1):
            options = {**extra, **{k: v for k, v in config.items() if k != "weight"}}
            model = Image(**{**self._job.task.options, **options}, seed=self._seed)
            model.fit(self.arena.train, self.arena.valid, self._mix(name, config.get("weight", 1.0)))
            found = model.evaluate(self.arena.valid, self._attacked_valid)
            values = {"clean": found["accuracy"].value(), "robust": found["accuracy_pool"].value()}
            tried.append(({"config": config, "model": model}, values))
        clean = max(values["clean"] for _, values in tried)
        best = arms.choose(tried, clean, slack)
        return best["config"], best["model"]

    def _mix(self, name: str, weight: float) -> pa.Table | None:
        both = lambda first: Choice({first: 0.5, SELF: 0.5}, size=1.0, weight=weight)  # noqa: E731
        if name == SELF:
            return self._pools.mix(Choice({SELF: 1.0}, size=0.5, weight=weight))
        if name in (EDITS, GAN):
            return self._pools.mix(both("noise" if name == EDITS else "gan"))
        if name == RANDOM:
            column = pa.array(np.full(len(self._randaugment), weight, np.float32))
            return self._randaugment.append_column("weight", column)
        return None

    @cached_property
    def _attacked_valid(self) -> Mapping[str, pa.Table]:
        """Of validation rows, by the edits that samples are made of: the held-out ones are never tuned on."""
        small = Image(attacked_rows=80, held_out=0)
        pool = small.attacks(self.arena.valid, 1)["pool"]
        return {"pool": self._material.prepared.attach(pool)}

    @cached_property
    def _pools(self) -> Pools:
        victim = Image().fit(self.arena.train, self.arena.valid)
        with tempfile.TemporaryDirectory() as folder:
            return Pools(self._job, Studio(self._job.order, self._few.real, victim, Path(folder)), strengths=(1.0,))

    @cached_property
    def _randaugment(self) -> pa.Table:
        """As many copies as the other arms have samples, each by RandAugment at its defaults (Cubuk et al., 2020)."""
        from torchvision.transforms import v2

        change = v2.RandAugment()
        place = np.random.default_rng(self._seed).integers(len(self.arena.train), size=self._samples // 2)
        rows = self.arena.train.take(pa.array(place)).select(["image", "label"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            made = [as_jpeg(change(decoded(content))) for content in rows["image"].to_pylist()]
        rows = rows.set_column(0, "image", pa.array(made, pa.binary()))
        return self._material.prepared.attach(rows)

    def _measures(self, model: Image, place: Path) -> dict[str, Measure]:
        test, attacked = self.arena.test, self._material.arena.attacked
        found = model.evaluate(test, attacked)
        kept = place / "pixels.npy"
        if not kept.exists():
            rows, encoder = test.slice(0, ATTACKED), self._material.prepared.model  # type: ignore[attr-defined]
            pictures, label = rows["image"].to_pylist(), labels_of(rows["label"])
            logit = model.logits_of_pixels(encoder)
            np.save(kept, right_under_pixels(encoder, logit, pictures, label), allow_pickle=False)
        found["accuracy_pixels"] = Mean(np.load(kept, allow_pickle=False))
        return {name: found[name] for name in METRICS}


def with_labels(arena: Arena, count: int, seed: int) -> tuple[Arena, pa.Table]:
    """`count` training rows of each class with their labels, and others, at most `UNLABELLED`, without."""
    order = np.random.default_rng(seed).permutation(len(arena.train))
    kind = labels_of(arena.train["label"]).argmax(axis=1)[order]
    first = np.array([np.sum(kind[:i] == one) < count for i, one in enumerate(kind)])
    labelled, others = (arena.train.take(pa.array(part)) for part in (order[first], order[~first][:UNLABELLED]))
    nothing = pa.nulls(len(others), others["label"].type)
    return replace(arena, train=labelled), others.set_column(others.column_names.index("label"), "label", nothing)


def compared(measured: dict[str, list[dict[str, Measure]]], chosen: dict[str, Any]) -> list[arms.Result]:
    """Differences to the plain model that is tuned for robustness, and the generator's to the same without it."""
    results = []
    for name, found in measured.items():
        mine = {k: v for k, v in chosen.items() if k.startswith(f"{name}, seed")}
        result = arms.Result(name, mine, {m: float(np.mean([one[m].value() for one in found])) for m in METRICS})
        if name != ROBUST:
            result.differences = _difference(measured[ROBUST], found)
        results.append(result)
    for result in (result for result in results if result.name == GAN and EDITS in measured):
        against = _difference(measured[EDITS], measured[GAN])
        result.rivals = {m: {"name": EDITS, **d} for m, d in against.items()}
    return results


def _difference(theirs: list[dict[str, Measure]], mine: list[dict[str, Measure]]) -> dict[str, dict[str, float]]:
    found = compare(theirs, mine, theirs, "", draws=1000, confidence=0.95, seed=0)
    return {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in found.items()}


if __name__ == "__main__":
    main()
