"""How often the verdict errs when there is nothing to find: both arms differ by noise alone.

    python scripts/bench/false_positives.py --out scripts/bench/results/false-positives.json

Every case goes through the real `compare` and `decide`, with a tolerance that refuses nothing, so that only chance
stands between the null and a version. Two figures for each, in percent: intervals that exclude zero, and versions
published. Both should be at most 5.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from augment.base.progress import say
from augment.judging.verdict import compare, decide
from augment.numeric.measures import Auc, Clustered, Mean, Measure

METRICS = ("clean", "seen", "unseen")  # one that must not get worse, and two that are to improve
NOISES = ("rows", "users", "seeds", "users and seeds")  # without seeds, every training ends the same
USERS = {  # rows of each user of the test
    "1,000 single rows": lambda rng: np.ones(1000, np.int64),
    "50 users of 40 rows": lambda rng: np.full(50, 40),
    "500 users of 8 rows": lambda rng: np.full(500, 8),
    "200 users, heavy-tailed": lambda rng: np.minimum(np.ceil(rng.pareto(1.2, 200)), 300).astype(np.int64),
    "200 users, 3% clicks": lambda rng: np.full(200, 10),
}


@dataclass(frozen=True)
class Case:
    shape: str  # one of USERS, or RANKING
    noise: str
    seeds: int


RANKING = "300 users' NDCG"


def cases(seeds: Sequence[int]) -> list[Case]:
    """One seed is enough where every training ends the same."""
    return [
        Case(shape, noise, s)
        for shape in (*USERS, RANKING)
        for noise in NOISES
        for s in (seeds if "seeds" in noise else (1,))
    ]


def simulate(case: Case, draws: int, trial: int) -> tuple[list[bool], bool]:
    """Whether each metric's interval excludes zero, and whether a version is published."""
    rng = np.random.default_rng([trial, case.seeds, *case.shape.encode(), *case.noise.encode()])
    real, mix = _arms(case, rng)
    found = compare(real, mix, real, "same", draws=draws, confidence=0.95, seed=trial)
    verdict = decide(found, METRICS[:1], METRICS[1:], tolerance=np.inf, confidence=0.95)
    return [c.low > 0 or c.high < 0 for c in found.values()], verdict.accepted


def _arms(case: Case, rng: np.random.Generator) -> tuple[list[dict[str, Measure]], list[dict[str, Measure]]]:
    make = _ranking if case.shape == RANKING else _clicks
    arms: tuple[list[dict[str, Measure]], ...] = tuple([{} for _ in range(case.seeds)] for _ in range(2))
    for metric in METRICS:
        for arm, measures in zip(arms, make(case, rng), strict=True):
            for seed, measure in enumerate(measures):
                arm[seed][metric] = measure
    return arms[0], arms[1]


def _clicks(case: Case, rng: np.random.Generator) -> list[list[Measure]]:
    """The AUC of both arms by seed. Users differ in what they click, and a model knows it up to noise."""
    sizes = USERS[case.shape](rng)
    user = np.repeat(np.arange(len(sizes)), sizes)
    true = rng.standard_normal(len(sizes))[user] + rng.standard_normal(len(user))
    bar = 4.0 if "3%" in case.shape else 0.5
    label = (rng.random(len(user)) < 1 / (1 + np.exp(bar - true))).astype(np.float64)

    def arm() -> list[Measure]:
        score = true.copy()
        if "users" in case.noise:
            score += 0.5 * rng.standard_normal(len(sizes))[user]
        if "rows" in case.noise:
            score += 0.5 * rng.standard_normal(len(user))
        # A training moves every row, and some trainings are luckier than others.
        luck = rng.lognormal(-0.7, 0.5, case.seeds) if "seeds" in case.noise else np.zeros(case.seeds)
        noise = luck[:, None] * rng.standard_normal((case.seeds, len(user)))
        return [Clustered(Auc(label, score + one), user) for one in noise]

    return [arm(), arm()]


def _ranking(case: Case, rng: np.random.Generator, users: int = 300) -> list[list[Measure]]:
    """NDCG per user of both arms by seed: most users' lists miss, so values are skewed."""
    skill = rng.beta(0.4, 1.6, users)

    def arm() -> list[Measure]:
        scale, luck, noise = np.ones(users), np.zeros(case.seeds), np.zeros((case.seeds, users))
        if case.noise != "seeds":
            scale += 0.3 * rng.standard_normal(users)
        if "seeds" in case.noise:
            luck, noise = 0.02 * rng.standard_normal(case.seeds), 0.3 * rng.standard_normal((case.seeds, users))
        return [Mean(np.clip(skill * (scale + one), 0, 1) + by) for one, by in zip(noise, luck, strict=True)]

    return [arm(), arm()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=600, help="of each case; four times as many of one seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5], help="trainings of each arm")
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="JSON with every figure")
    options = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(options.workers) as pool:
        for case in cases(options.seeds):
            trials = range(options.trials * (1 if case.seeds > 1 else 4))  # one training is soon simulated
            found = list(pool.map(partial(simulate, case, options.draws), trials, chunksize=20))
            excluded, published = (100 * float(np.mean([one[i] for one in found])) for i in range(2))
            rows.append({**asdict(case), "trials": len(trials), "excluded": excluded, "published": published})
            say(f"{case}: {excluded:.1f}% of intervals exclude zero, {published:.1f}% of versions are published")
    content = {"title": "The verdict where there is nothing to find", "draws": options.draws, "cases": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(table(content))


def table(content: dict[str, Any]) -> str:
    """Markdown of the JSON that `main` writes."""
    lines = ["| test | arms differ by | seeds | trials | intervals without zero | published |", "| --- " * 6 + "|"]
    for row in content["cases"]:
        shares = f"{row['excluded']:.1f}% | {row['published']:.1f}%"
        lines.append(f"| {row['shape']} | {row['noise']} | {row['seeds']} | {row['trials']} | {shares} |")
    title = f"**{content['title']}** (three intervals and one verdict a trial, {content['draws']} draws)"
    return "\n\n".join([title, "\n".join(lines)])


if __name__ == "__main__":
    main()
