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
TIMED = 5  # times a cost is measured


@dataclass
class Result:
    """One arm on the test rows: metric → mean over seeds, and the paired difference to the reference arm."""

    name: str
    chosen: dict[str, Any]
    values: dict[str, float]
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0  # of one training
    cost: float | None = None  # training time over the reference arm's, measured in the same run
    rivals: dict[str, dict[str, Any]] = field(default_factory=dict)  # metric → the best single family, and the
    # paired difference to it


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
    fit: Callable[[Config, int], Any],
    on_valid: Callable[[Any], dict[str, float]],
    on_test: Callable[[Any], dict[str, Measure]],
    *,
    seconds: Callable[[Config], float],
    reference: str,
    seeds: int,
    slack: float,
    singles: Mapping[str, Sequence[str]],
    draws: int = 1000,
) -> list[Result]:
    """Tune each arm with the first seed, train its choice with every seed, and read the test once.

    seconds: of a short training with some settings; an arm's cost is its ratio to the reference arm's, in turns.
    singles: metric → arms of one family each, with whose best on the test rows every mix of families is compared.
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
        tried = [(config, on_valid(fit(config, 0))) for config in configs]
        clean = max(t[1]["clean"] for t in tried) if name == reference else clean
        chosen = choose(tried, clean, slack)
        inherited = dict(chosen) if name == reference else inherited
        measured[name] = [on_test(fit(chosen, seed)) for seed in range(seeds)]
        values = {m: float(np.mean([one[m].value() for one in measured[name]])) for m in measured[name][0]}
        ratios = [seconds(chosen) / seconds(inherited) for _ in range(TIMED)]
        result = Result(name, {k: v for k, v in chosen.items() if k != "mix"}, values, cost=float(np.median(ratios)))
        if results:
            found = compare(measured[reference], measured[name], measured[reference], reference,
                            draws=draws, confidence=0.95, seed=0)  # fmt: skip
            result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in found.items()}
        results.append(result)
        say(f"{name}: {time.monotonic() - started:.0f} s, " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
    _against_best(results, measured, singles, draws)
    return results


def _against_best(
    results: Sequence[Result],
    measured: Mapping[str, Sequence[Mapping[str, Measure]]],
    singles: Mapping[str, Sequence[str]],
    draws: int,
) -> None:
    """Give each mix of families its paired difference to the single family that is best on the test rows."""
    for metric, names in singles.items():
        alone = [result for result in results if result.name in names]
        if not alone:
            continue
        best = max(alone, key=lambda result: result.values[metric]).name
        theirs = [{metric: found[metric]} for found in measured[best]]
        for result in results[1:]:
            if result.name not in names:
                mine = [{metric: found[metric]} for found in measured[result.name]]
                c = compare(theirs, mine, theirs, best, draws=draws, confidence=0.95, seed=0)[metric]
                result.rivals[metric] = {"name": best, "diff": c.diff, "low": c.low, "high": c.high}


def rivals_table(results: Sequence[Result], metrics: Mapping[str, str]) -> str:
    """Markdown: mixes of families against the best single one; "" without any."""
    mixed = [result for result in results if result.rivals]
    if not mixed:
        return ""
    names = list(mixed[0].rivals)
    heads = [f"{metrics[m]}: to {mixed[0].rivals[m]['name']}" for m in names]
    lines = ["| difference to the best single family | " + " | ".join(heads) + " |", "| --- " * (len(names) + 1) + "|"]
    lines += [f"| {result.name} | " + " | ".join(_change(result.rivals[m]) for m in names) + " |" for result in mixed]
    return "\n\n" + "\n".join(lines)


def _change(difference: Mapping[str, float]) -> str:
    clear = difference["low"] > 0 or difference["high"] < 0
    change = f"{difference['diff']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return f"**{change}**" if clear else change


def table(results: Sequence[Result], metrics: Mapping[str, str]) -> str:
    """Markdown: one row per arm; bold where the interval of the difference to the first arm excludes zero."""
    timed = any(result.cost is not None for result in results)
    heads = [*metrics.values(), *(["training time"] if timed else [])]
    lines = ["| arm | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for result in results:
        cells = []
        for metric in metrics:
            d = result.differences.get(metric)
            cells.append(f"{result.values[metric]:.4f}" + (f" ({_change(d)})" if d else ""))
        if timed:
            cells.append(f"{result.cost:.1f}×")
        lines.append(f"| {result.name} | " + " | ".join(cells) + " |")
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
    options.out.write_text(json.dumps(content, indent=1), "utf-8")
    print(f"### {title}\n\n{table(results, metrics)}{rivals_table(results, metrics)}\n")
