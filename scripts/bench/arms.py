"""What the benchmarks share: arms with equal tuning budgets, choices on validation rows, one look at the test."""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from augment.base.progress import say
from augment.contracts.values import Arena
from augment.judging.verdict import compare
from augment.numeric.measures import Measure

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """Settings to choose from, and the arm that it is compared with.

    Unless it is a consumer of its own, that arm's settings go before, so that each spends its budget on what is its
    own, and set how clean is clean enough.
    """

    configs: Sequence[Config]
    against: str
    own: bool = False


@dataclass
class Result:
    """One arm on the test rows: metric → mean over seeds, and the paired difference to the arm `against`."""

    name: str
    chosen: dict[str, Any]
    values: dict[str, float]
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0  # of one training; the processor's, where it is known
    cost: float | None = None  # training time over the reference arm's, measured in the same run
    rivals: dict[str, dict[str, Any]] = field(default_factory=dict)  # metric → the best single family, and the
    # paired difference to it
    against: str = ""


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


class Bench(Protocol):
    """What is trained and measured. Models can be kept in a folder, so that a stopped run goes on."""

    def fit(self, config: Config, seed: int) -> Any: ...

    def save(self, model: Any, folder: Path) -> None: ...

    def load(self, folder: Path) -> Any: ...

    def on_valid(self, model: Any) -> dict[str, float]:
        """Metrics `clean` and `robust`."""
        ...

    def on_test(self, model: Any) -> dict[str, Measure]: ...


def run(
    arms: Mapping[str, Arm], bench: Bench, work: Path, *, seeds: int, slack: float,
    singles: Mapping[str, Sequence[str]], draws: int = 400,
) -> list[Result]:  # fmt: skip
    """Tune each arm with the first seed, train its choice with every seed, and read the test once all are trained.

    work: keeps each arm's models. singles: metric → arms of one family each, with whose best on the test rows every mix
    of families is compared. The first arm is the reference of costs.
    """
    kept: dict[str, dict[str, Any]] = {}
    for name, arm in arms.items():
        base = {} if arm.own else kept[arm.against]
        kept[name] = _trained(arm, base, bench, work / re.sub(r"\W+", "-", name), seeds, slack)
        say(f"{name}: {kept[name]['seconds']:.1f} s a training, clean {kept[name]['clean']:.4f} on validation rows")
    measured: dict[str, list[dict[str, Measure]]] = {}
    results: list[Result] = []
    for name, arm in arms.items():
        found = kept[name]
        measured[name] = [bench.on_test(bench.load(Path(found["folder"]) / str(seed))) for seed in range(seeds)]
        values = {m: float(np.mean([one[m].value() for one in measured[name]])) for m in measured[name][0]}
        result = Result(name, found["chosen"], values, seconds=found["seconds"], against=arm.against)
        result.cost = found["seconds"] / kept[next(iter(arms))]["seconds"]
        if arm.against != name:
            plain = measured[arm.against]
            different = compare(plain, measured[name], plain, arm.against, draws=draws, confidence=0.95, seed=0)
            result.differences = {m: {"diff": c.diff, "low": c.low, "high": c.high} for m, c in different.items()}
        results.append(result)
        say(f"{name}: " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
    reference = next(iter(arms))
    mixes = [r for r in results if r.against == reference and not arms[r.name].own]
    _against_best(mixes, results, measured, singles, draws)
    return results


def _trained(arm: Arm, base: Mapping[str, Any], bench: Bench, folder: Path, seeds: int, slack: float) -> dict[str, Any]:
    """What was chosen, how clean it is on validation rows, and the folder with a model for each seed; trained once."""
    done = folder / "chosen.json"
    if not done.exists():
        configs = [{**base.get("chosen", {}), **config} for config in arm.configs]
        seconds: list[float] = []
        models = [_timed(bench, config, 0, seconds) for config in configs]
        tried = [({"number": i}, bench.on_valid(model)) for i, model in enumerate(models)]
        clean = base.get("clean", max(t[1]["clean"] for t in tried))
        best = choose(tried, clean, slack)["number"]
        bench.save(models[best], folder / "0")
        own = [seconds[best]]
        for seed in range(1, seeds):
            bench.save(_timed(bench, configs[best], seed, own), folder / str(seed))
        found = {
            "chosen": {name: value for name, value in configs[best].items() if name != "mix"},
            "seconds": float(np.median(own)),
            "clean": max(t[1]["clean"] for t in tried),
        }
        done.write_text(json.dumps(found), "utf-8")
    return {**json.loads(done.read_text("utf-8")), "folder": str(folder)}


def _timed(bench: Bench, config: Config, seed: int, seconds: list[float]) -> Any:
    started = time.process_time()
    model = bench.fit(config, seed)
    seconds.append(time.process_time() - started)
    return model


def _against_best(
    mixes: Sequence[Result],
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
        for result in mixes:
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
    """Markdown: one row per arm; bold where the interval of a difference excludes zero, "–" what cannot be measured."""
    timed = any(result.cost is not None for result in results)
    heads = [*metrics.values(), *(["training time"] if timed else [])]
    lines = ["| arm | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for result in results:
        cells = []
        for metric in metrics:
            value, d = result.values.get(metric, np.nan), result.differences.get(metric)
            cells.append(f"{value:.4f}" + (f" ({_change(d)})" if d else "") if np.isfinite(value) else "–")
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


def writing_of(options: argparse.Namespace, count: int) -> argparse.Namespace:
    """The options, with a file of its own for this number of labels."""
    out = options.out.with_name(f"{options.out.stem}-{count}.json")
    return argparse.Namespace(**{**vars(options), "out": out})


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
