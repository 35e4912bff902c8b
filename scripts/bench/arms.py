"""What the benchmarks share: arms with equal tuning budgets, choices on validation rows, one look at the test."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.measures import Measure
from augment.progress import say
from augment.study import Arena
from augment.verdict import compare

Config = Mapping[str, Any]
Fitted = tuple[Any, float]  # a model, and the seconds of one training


@dataclass
class Result:
    """One arm on the test rows: metric → mean over seeds, and the paired difference to the reference arm."""

    name: str
    chosen: dict[str, Any]
    values: dict[str, float]
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0  # of one training
    cost: float = 1.0  # training time over the reference arm's, measured in the same run


def draw(space: Mapping[str, Sequence[Any]], budget: int, seed: int) -> list[dict[str, Any]]:
    """`budget` different random settings of a space, or all of it when it is smaller."""
    total = int(np.prod([len(values) for values in space.values()]))
    places = np.random.default_rng(seed).choice(total, min(budget, total), replace=False)
    shape = [len(values) for values in space.values()]
    return [
        {name: values[i] for (name, values), i in zip(space.items(), np.unravel_index(place, shape), strict=True)}
        for place in places
    ]


def choose(tried: Sequence[tuple[Config, dict[str, float]]], clean: float, slack: float) -> Config:
    """The most robust of the settings whose clean validation metric is within `slack` of `clean`; else the cleanest."""
    able = [t for t in tried if t[1]["clean"] >= clean - slack]
    return max(able, key=lambda t: t[1]["robust"])[0] if able else max(tried, key=lambda t: t[1]["clean"])[0]


def run(
    arms: Mapping[str, Sequence[Config]],
    fit: Callable[[Config, int], Fitted],
    on_valid: Callable[[Any], dict[str, float]],
    on_test: Callable[[Any], dict[str, Measure]],
    *,
    reference: str,
    seeds: int,
    slack: float,
    draws: int = 1000,
) -> list[Result]:
    """Tune each arm with the first seed, train its choice with every seed, and read the test once.

    reference: the arm that the others are compared with. It sets how clean is clean enough, and the others inherit
    the settings it chose, so that each spends its budget on what is its own.
    """
    order = [reference, *(name for name in arms if name != reference)]
    measured: dict[str, list[dict[str, Measure]]] = {}
    results: list[Result] = []
    clean, inherited = -np.inf, dict[str, Any]()
    for name in order:
        started = time.monotonic()
        configs = [{**inherited, **config} for config in arms[name]]
        tried = [(config, on_valid(fit(config, 0)[0])) for config in configs]
        clean = max(t[1]["clean"] for t in tried) if name == reference else clean
        chosen = choose(tried, clean, slack)
        inherited = dict(chosen) if name == reference else inherited
        fitted = [fit(chosen, seed) for seed in range(seeds)]
        measured[name] = [on_test(model) for model, _ in fitted]
        values = {m: float(np.mean([one[m].value() for one in measured[name]])) for m in measured[name][0]}
        seconds = float(np.median([s for _, s in fitted]))
        result = Result(name, {k: v for k, v in chosen.items() if k != "mix"}, values, seconds=seconds)
        result.cost = seconds / results[0].seconds if results else 1.0
        if results:
            found = compare(measured[reference], measured[name], measured[reference], reference,
                            draws=draws, confidence=0.95, seed=0)  # fmt: skip
            result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in found.items()}
        results.append(result)
        say(f"{name}: {time.monotonic() - started:.0f} s, " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
    return results


def table(results: Sequence[Result], metrics: Mapping[str, str]) -> str:
    """Markdown: one row per arm; bold where the interval of the difference to the first arm excludes zero."""
    lines = ["| arm | " + " | ".join(metrics.values()) + " | training time |", "| --- " * (len(metrics) + 2) + "|"]
    for result in results:
        cells = []
        for metric in metrics:
            shown = f"{result.values[metric]:.4f}"
            d = result.differences.get(metric)
            if d:
                clear = d["low"] > 0 or d["high"] < 0
                change = f"{d['diff']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
                shown += f" ({'**' + change + '**' if clear else change})"
            cells.append(shown)
        lines.append(f"| {result.name} | " + " | ".join(cells) + f" | {result.cost:.1f}× |")
    return "\n".join(lines)


def arguments(description: str, sets: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmark's Parquet files")
    parser.add_argument("--set", dest="name", choices=sets, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=8, help="settings tried per arm")
    parser.add_argument("--out", type=Path, required=True, help="JSON with every figure")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dev", action="store_true", help="test on validation rows: to choose what is benchmarked")
    return parser


def development(arena: Arena) -> Arena:
    """The arena one step earlier: its validation rows are the test, its last training rows the validation."""
    train = arena.train.sort_by("timestamp") if "timestamp" in arena.train.column_names else arena.train
    cut = int(0.85 * len(train))
    return replace(arena, train=train.slice(0, cut), valid=train.slice(cut), test=arena.valid)


def finish(results: Sequence[Result], metrics: Mapping[str, str], options: argparse.Namespace, title: str) -> None:
    """Write the JSON, print the table."""
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, {platform.machine()}"
    content = {"title": title, "where": where, "seeds": options.seeds, "budget": options.budget,
               "metrics": dict(metrics), "arms": [asdict(result) for result in results]}  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1))
    print(f"### {title}\n\n{table(results, metrics)}\n")
