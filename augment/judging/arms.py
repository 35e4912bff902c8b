"""Before and after: the same consumer trained on real rows and on the mix, and the strongest plain model beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from augment.base.errors import UsageError, suggest
from augment.base.progress import say, track
from augment.contracts.consumer import Consumer, options_of
from augment.contracts.engine import Map
from augment.contracts.values import Arena
from augment.judging.verdict import Measures, Verdict, compare, decide
from augment.recipes.schema import VerdictSettings

TOLERANCE = 0.01  # of a consumer that names none


def tolerance_of(consumer: type[Consumer], settings: VerdictSettings) -> float:
    """What the recipe says, else what suits the consumer."""
    return settings.tolerance if settings.tolerance is not None else getattr(consumer, "tolerance", TOLERANCE)


def check_metrics(consumer: type[Consumer], settings: VerdictSettings, where: str) -> None:
    """Raise UsageError for a metric that the recipe names and the consumer does not have.

    Says so where every metric to improve is one that samples are made to pass: nothing could be published.
    """
    known = [metric for group in consumer.metrics.values() for metric in group]
    for metric in (*settings.clean, *settings.improve):
        if metric not in known:
            raise UsageError(f"{where}.verdict: unknown metric '{metric}'{suggest(metric, known)}")
    rehearsed = getattr(consumer, "rehearsed", ())
    if set(settings.improve) <= set(rehearsed):
        others = [m for m in consumer.metrics["robust"] if m not in rehearsed]
        say(f"{where}.verdict: samples are made of every attack in `improve`, and a gain there alone publishes "
            f"nothing: name another, such as {' or '.join(others)}")  # fmt: skip


def robustness(model: Consumer, arena: Arena, settings: VerdictSettings) -> float:
    """Mean of the metrics to improve, on validation rows and attacks on them; higher is better.

    Where none of them can be had there (by held-out attacks nothing is chosen), of all robust metrics that can.
    """
    measures = model.evaluate(arena.valid, arena.attacked_valid)
    signed = {name: m.value() * (1 if m.better_is == "higher" else -1) for name, m in measures.items()}
    for names in (settings.improve, model.metrics["robust"]):
        if found := [signed[name] for name in names if np.isfinite(signed.get(name, np.nan))]:
            return float(np.mean(found))
    return 0.0


def fit_seeds(
    make: Callable[[int], Consumer], seeds: list[int], arena: Arena, mix: pa.Table | None, mapped: Map = map
) -> list[Consumer]:
    """A model for each seed; the same one for all, where it has no chance in it."""
    return for_seeds(make, seeds, lambda seed: make(seed).fit(arena.train, arena.valid, mix), mapped)


def for_seeds(
    make: Callable[[int], Consumer], seeds: list[int], fitted: Callable[[int], Consumer], mapped: Map = map
) -> list[Consumer]:
    """`fitted` of each seed, or of the first alone for all, where `make` makes a model that has no chance in it.

    mapped: an engine's `map`.
    """
    differ = differing(make, seeds)
    models = list(track(mapped(fitted, differ), "training", "model", len(differ)))
    return models * (len(seeds) // len(models))


def differing(make: Callable[[int], Consumer], seeds: list[int]) -> list[int]:
    """The seeds whose models differ: the first alone, where `make` makes a model that has no chance in it."""
    return seeds[:1] if getattr(make(seeds[0]), "deterministic", False) else seeds


def on_test(models: Sequence[Consumer], arena: Arena) -> list[Measures]:
    """Each model's evaluation on the test rows; one that is there of all seeds, or of two arms, is looked at once."""
    different = {id(model): model for model in models}
    looked = track(different.items(), "evaluating", "model", len(different))
    found = {key: model.evaluate(arena.test, arena.attacked) for key, model in looked}
    return [found[id(model)] for model in models]


def strongest_baseline(
    consumer: type[Consumer], seeds: list[int], arena: Arena, device: str, mapped: Map = map,
    real: Sequence[Consumer] = (), plain: Sequence[Consumer] = (),
) -> tuple[str, list[Consumer]]:  # fmt: skip
    """The plain model with the best primary clean metric on validation rows, trained once per seed.

    All candidates are tried with the first seed; the choice never sees a test row. real: the consumer as the recipe
    has it, trained on the same rows by each seed; plain: others that were, by the first seed. Of these a candidate is
    not trained again.
    """
    primary = consumer.metrics["clean"][0]
    candidates = consumer.baselines(seeds[0], device)

    def trained(name: str, seed: int) -> Consumer:
        wanted = consumer.baselines(seed, device)[name]
        known = [*zip(seeds, real, strict=False), *((seeds[0], model) for model in plain)]
        same = (model for one, model in known if one == seed and _alike(model, wanted))
        return next(same, None) or wanted.fit(arena.train, arena.valid)

    def on_valid(model: Consumer) -> float:
        measure = model.evaluate(arena.valid, {})[primary]
        value = measure.value() if measure.better_is == "higher" else -measure.value()
        return value if np.isfinite(value) else -np.inf  # validation rows of one class tell nothing apart

    best, first, highest = "", None, -np.inf
    models = mapped(lambda name: trained(name, seeds[0]), candidates)
    for name, model in zip(candidates, track(models, "baselines", "model", len(candidates)), strict=True):
        value = on_valid(model)
        if first is None or value > highest:  # one of them is held at a time, beside the one just trained
            best, first, highest = name, model, value

    def again(seed: int) -> Consumer:
        return first if first is not None and seed == seeds[0] else trained(best, seed)

    return best, for_seeds(lambda seed: consumer.baselines(seed, device)[best], seeds, again, mapped)


def _alike(model: Consumer, other: Consumer) -> bool:
    """Whether both are what one constructor makes of the same options."""
    names = ["mutable", "device", *(option.name for option in options_of(type(other), vars(other)))]
    nothing = object()
    return type(model) is type(other) and all(
        getattr(model, name, nothing) == getattr(other, name, nothing) for name in names
    )


def judge(
    real: list[Consumer],
    mix: list[Consumer],
    baseline: tuple[str, list[Consumer]],
    arena: Arena,
    settings: VerdictSettings,
    seed: int,
) -> Verdict:
    """Evaluate every model once on the test rows and decide by the recipe's rule."""
    consumer, (name, plain) = type(real[0]), baseline
    measured = on_test([*real, *mix, *plain], arena)
    ours, mixed, theirs = measured[: len(real)], measured[len(real) : -len(plain)], measured[-len(plain) :]
    paired = partial(compare, draws=settings.draws, confidence=settings.confidence, seed=seed)
    verdict = decide(
        paired(ours, mixed, theirs, name),
        settings.clean,
        settings.improve,
        tolerance=tolerance_of(consumer, settings),
        confidence=settings.confidence,
        rehearsed=getattr(consumer, "rehearsed", ()),
    )
    verdict = replace(verdict, mix=mixed)
    primary = consumer.metrics["clean"][0]
    before, after = ([{primary: one[primary]} for one in arm] for arm in (ours, theirs))
    stronger = paired(before, after, after, name)[primary]
    if stronger.measured and stronger.gain("worst") > 0:
        return replace(verdict, advice=_advice(real[0], name, plain[0], f"{primary} {stronger.diff:+.4f}"))
    return verdict


def _advice(own: Consumer, name: str, plain: Consumer, by: str) -> str:
    """One line on a plain model that is stronger than the consumer itself, and the options that make it the consumer's.

    Consumers keep each under its own name; see `Consumer`.
    """
    said = f"{name} is stronger than this consumer on real rows ({by})"
    options = options_of(type(plain), vars(plain))
    unlike = {o.name: value for o in options if (value := getattr(plain, o.name)) != getattr(own, o.name, o.default)}
    if type(plain) is not type(own) or not unlike:
        return said
    return f"{said}: options = {{ {', '.join(f'{n} = {json.dumps(v)}' for n, v in unlike.items())} }}"
