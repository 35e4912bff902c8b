"""What the benchmarks of several splits share: an arm has one value a user, is kept by split, and compared by users."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import arms
import numpy as np

from augment.base.progress import say

Values = Mapping[str, list[float]]  # metric → one value for each user who has one
Made = dict[str, dict[int, Values]]  # arm → split → its values


def arguments(description: str | None, sets: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--set", choices=sets, required=True)
    for name in ("data", "demo", "cache", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser


def run(
    splits: Iterable[int], place: Callable[[int], Path], make: Callable[[int], dict[str, Any]], metrics: Iterable[str]
) -> tuple[Made, list[dict[str, Any]]]:
    """Every arm of every split, and what else was said of each; made now, or kept from before in the file at `place`.

    make: a split → "arms", whose metrics are arrays, and anything else that JSON holds.
    """
    made: Made = {}
    said = []
    for split in splits:
        kept = place(split)
        if not kept.exists():
            started = time.process_time()
            fresh = make(split)
            rounded = {n: {m: v.round(5).tolist() for m, v in arm.items()} for n, arm in fresh["arms"].items()}
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({**fresh, "arms": rounded, "seconds": time.process_time() - started}), "utf-8")
        said.append(json.loads(kept.read_text("utf-8")))
        for name, arm in said[-1]["arms"].items():
            made.setdefault(name, {})[split] = arm
            figures = (f"{m} {np.mean(arm[m]):.4f}" for m in metrics if m in arm)
            say(f"{kept.stem}: {name}: " + ", ".join(figures))
    return made, said


def finish(made: Made, metrics: Mapping[str, str], against: Callable[[str], str], title: str, out: Path) -> None:
    """Write the JSON, print the table. against: an arm → the one that it is compared with."""
    results = []
    for name, found in made.items():
        reference = against(name)
        mine = list(found.values())
        values = {m: float(np.mean([np.mean(arm[m]) for arm in mine])) for m in metrics if m in mine[0]}
        differences = {} if name == reference else combined(found, made[reference], metrics)
        results.append(arms.Result(name, {}, values, differences, against=reference))
    figures = {"title": title, "where": f"CPU, {platform.machine()}", "metrics": dict(metrics),
               "arms": [vars(one) for one in results]}  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1), "utf-8")
    print(f"### {title}\n\n{arms.table(results, metrics)}\n")


def combined(
    found: Mapping[int, Values], against: Mapping[int, Values], metrics: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Metric → mean difference over splits, and the 95% interval over users within them and over the splits."""
    out = {}
    for name in metrics:
        pairs = [np.array(arm[name]) - np.array(against[split][name]) for split, arm in found.items() if name in arm]
        if not pairs:
            continue
        means = np.array([difference.mean() for difference in pairs])
        within = np.mean([difference.var(ddof=1) / len(difference) for difference in pairs])
        error = 1.96 * ((within + (means.var(ddof=1) if len(means) > 1 else 0)) / len(means)) ** 0.5
        out[name] = {"diff": means.mean(), "low": means.mean() - error, "high": means.mean() + error}
    return out
