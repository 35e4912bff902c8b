"""The run report: one self-contained HTML file, no scripts, readable in light and dark."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path

from augment.base.files import write_whole
from augment.contracts.result import Attributed, Compared, LeftOut, Measured, RunResult, TaskResult, measured

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1d2430, #e6e9ef); --soft: light-dark(#667085, #98a2b3);
  --line: light-dark(#e4e7ec, #344054); --ground: light-dark(#ffffff, #14181f); --good: light-dark(#087443, #47cd89);
  --bad: light-dark(#b42318, #f97066); --mix: light-dark(#175cd3, #84adff); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 60rem;
  margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.6rem 0 .2rem }
h3 { font-size: .95rem; margin: 1.4rem 0 .3rem }
p { margin: .2rem 0 } .soft { color: var(--soft) }
.published, .better { color: var(--good) } .rejected, .failed, .worse { color: var(--bad) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line) }
th { font-weight: 500; color: var(--soft) }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left }
td[rowspan] { vertical-align: top }
svg { display: block; width: 100%; height: auto } svg text { fill: var(--soft); font: 11px system-ui }
.strip { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0 } img { height: 96px; margin-right: 3px }
code { font-size: .85em } .scroll { overflow-x: auto }
"""


def write(result: RunResult, path: Path) -> Path:
    """Render a run result (see `augment.runs.run.run`) to `path`, whole or not at all."""
    tasks = "".join(_task(name, task) for name, task in result.tasks.items())
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Sparring: {escape(result.status)}</title><style>{_STYLE}</style>"
        f"<h1>Sparring: does the mix help?</h1><p class=soft>run <code>{escape(result.run)}</code>, "
        f"{result.seconds:.0f} s. Each line compares the same consumer trained on real rows and on the mix, on test "
        f"rows that nothing else has read.</p>{tasks}</html>"
    )
    write_whole(path, page.encode())
    return path


def forget(output: Path, keep_last: int, keep_days: float, dry_run: bool = False) -> list[Path]:
    """Remove the pages of an output folder, but for the last few and those of the last days; which went."""
    pages = sorted(output.glob("report-*.html"), key=lambda page: page.stat().st_mtime)
    since = time.time() - keep_days * 86_400
    old = [page for page in pages[:-keep_last] if page.stat().st_mtime < since]
    for page in old if not dry_run else ():
        page.unlink()
    return old


def _task(name: str, task: TaskResult) -> str:
    version = "" if task.version is None else f" as version {task.version}"
    status = escape(task.status)
    head = f"<h2>{escape(name)}: <span class={status}>{status}{version}</span></h2><p>{escape(task.reason)}</p>"
    if status == "failed":
        return head
    return (
        head
        + (f"<p>{escape(task.labels)}.</p>" if task.labels else "")
        + (f"<p>{escape(task.advice)}.</p>" if task.advice else "")
        + "".join(
            f"<p><b>{kind}</b>: {escape(line)}.</p>"
            for kind, lines in (("Warning", task.warnings), ("Alarm", task.alarms))
            for line in lines
        )
        + f"{_forest({metric: (c, _word(c)) for metric, c in task.verdict.items() if measured(c)})}"
        f"<div class=scroll>{_verdict(task.verdict, task.seeds)}</div>"
        f"{_attribution(task.attribution, task.seeds) if task.attribution else ''}"
        f"<h3>What was made</h3><div class=scroll>{_strategies(task)}</div><p class=soft>{_fate(task)}</p>"
        f"{_examples(task)}{_teachers(task)}"
        f"<h3>How hard it is for the consumer</h3>{_histogram(task.histograms['hardness'])}"
        f"<p class=soft>Victim's loss: <span style='color:var(--soft)'>real anchors</span> and "
        f"<span style='color:var(--mix)'>samples</span>, as shares. Encoder <code>{escape(task.encoder)}</code>.</p>"
    )


def _oriented(c: Measured | LeftOut) -> tuple[float, float, float]:
    """Difference and interval, turned so that right of zero is better."""
    if c["better_is"] == "higher":
        return c["diff"], c["low"], c["high"]
    return -c["diff"], -c["high"], -c["low"]


def _word(c: Measured) -> str:
    _, low, high = _oriented(c)
    return "better" if low > 0 else "worse" if high < 0 else "same"


def _forest(answered: Mapping[str, tuple[Measured | LeftOut, str]]) -> str:
    """Differences with their intervals, in the colour of better, worse or same; right is better."""
    rows = {name: (*_oriented(c), word) for name, (c, word) in answered.items()}
    reach = max([1e-9, *(abs(v) for row in rows.values() for v in row[:3])]) * 1.08
    left, width, step = 190, 520, 24
    height = step * len(rows) + 30

    def x(value: float) -> float:
        return left + width * (value + reach) / (2 * reach)

    parts = [f"<line x1={x(0)} x2={x(0)} y1=6 y2={height - 22} stroke=var(--soft) stroke-dasharray='3 3'/>"]
    for i, (name, (diff, low, high, word)) in enumerate(rows.items()):
        y = 18 + i * step
        colour = {"better": "var(--good)", "worse": "var(--bad)", "same": "var(--soft)"}[word]
        parts.append(
            f"<text x={left - 10} y={y + 4} text-anchor=end>{escape(name)}</text>"
            f"<line x1={x(low):.1f} x2={x(high):.1f} y1={y} y2={y} stroke={colour} stroke-width=2 />"
            f"<circle cx={x(diff):.1f} cy={y} r=4 fill={colour} />"
        )
    for value, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end")):
        label = "no difference" if value == 0 else f"{value:+.3f} {'better' if value > 0 else 'worse'}"
        parts.append(f"<text x={x(value):.1f} y={height - 6} text-anchor={anchor}>{label}</text>")
    return f"<svg viewBox='0 0 {left + width + 10} {height}' role=img aria-label='differences'>{''.join(parts)}</svg>"


def _verdict(verdict: dict[str, Compared], seeds: int) -> str:
    head = "<tr><th>metric<th>real<th>mix<th>mix − real<th>95% interval<th><th>strongest plain baseline</tr>"
    body = "".join(
        f"<tr><td>{escape(name)}<td>{_n(c['real'])}<td>{_n(c['mix'])}{_difference(c)}"
        f"<td>{_n(c['baseline'])} {escape(c['baseline_name'])}</tr>"
        for name, c in verdict.items()
    )
    note = f"Means over {seeds} seeds; paired intervals by the choice of test rows, or of users, and of seeds."
    return f"<table>{head}{body}</table><p class=soft>{note}</p>"


def _difference(c: Compared) -> str:
    if not measured(c):
        return "<td colspan=3 class=soft>not measurable on these test rows"
    interval = f"{_n(c['low'], '+')} … {_n(c['high'], '+')}"
    return f"<td>{_n(c['diff'], '+')}<td>{interval}<td class={_word(c)}>{_word(c)}"


def _attribution(attribution: dict[str, Attributed], seeds: int) -> str:
    """What each strategy brings: the mix, less the mix without its samples."""
    title = "<h3>Which strategy did it</h3>"
    if len(attribution) == 1:
        return f"{title}<p>Every sample is of {escape(', '.join(attribution))}: the verdict says what it brings.</p>"
    pairs = [(name, metric, c) for name, found in attribution.items() for metric, c in found["metrics"].items()]
    head = "<tr><th>strategy<th>metric<th>mix<th>without it<th>mix − without<th>95% interval<th>its samples</tr>"
    rows = []
    for name, found in attribution.items():
        share = f"{found['share']:.0%} of the samples<br>{found['weight_share']:.0%} of the weight"
        rows.append(
            f"<tr><td rowspan={len(found['metrics']) + 1}>{escape(name)}<br><span class=soft>{share}</span></tr>"
        )
        rows += [
            f"<tr><td>{escape(metric)}<td>{_n(c['mix'])}<td>{_n(c['without'])}<td>{_n(c['diff'], '+')}"
            f"<td>{_n(c['low'], '+')} … {_n(c['high'], '+')}<td class={_shown(c)}>{c['effect']}</tr>"
            for metric, c in found["metrics"].items()
        ]
    note = (
        f"The consumer trained on the mix, against itself trained without one strategy's samples and nothing in their "
        f"place: right of zero the samples help. Means over {seeds} seeds, paired intervals; what helps or hurts is "
        f"Holm-corrected over these {len(pairs)} comparisons; where it says may, the interval is beyond zero, as "
        f"one of so many may be by chance: more seeds would tell. The verdict came first and is not changed by it."
    )
    forest = _forest({f"{name}: {metric}": (c, _shown(c)) for name, metric, c in pairs})
    return f"{title}{forest}<div class=scroll><table>{head}{''.join(rows)}</table></div><p class=soft>{note}</p>"


def _shown(c: LeftOut) -> str:
    return {"helps": "better", "hurts": "worse"}.get(c["effect"], "same")


def _strategies(task: TaskResult) -> str:
    head = "<tr><th>strategy<th>wanted<th>proposed<th>kept<th>median hardness<th>median novelty<th>refused</tr>"
    body = "".join(
        f"<tr><td>{escape(name)}<td>{s.get('wanted', s['kept']):,}<td>{s['proposed']:,}<td>{s['kept']:,}"
        f"<td>{_n(s['hardness_median'])}<td>{_n(s['novelty_median'])}<td>{escape(s.get('fate', ''))}</tr>"
        for name, s in task.strategies.items()
    )
    return f"<table>{head}{body}</table>"


def _examples(task: TaskResult) -> str:
    """Samples that are pictures, each beside the row that it was made of."""
    if not task.examples:
        return ""
    pairs = "".join(
        f"<figure>{_picture(one['before'], 'before')}{_picture(one['after'], 'after')}"
        f"<figcaption class=soft>{escape(one['strategy'])}</figcaption></figure>"
        for one in task.examples
    )
    return f"<h3>Before and after</h3><div class=strip>{pairs}</div>"


def _picture(content: str, what: str) -> str:
    return f"<img src='data:image/jpeg;base64,{escape(content)}' alt={what}>"


def _teachers(task: TaskResult) -> str:
    """Every teacher that was tried, beside the consumer on rows that neither saw."""
    if not task.teachers:
        return ""
    rows = []
    for name, one in task.teachers.items():
        metrics = "; ".join(
            f"{metric} {_n(c['teacher'])} ({', '.join(_n(c[part], '+') for part in ('diff', 'low', 'high'))})"
            for metric, c in one["metrics"].items()
        )
        fate = "<span class=better>it labels</span>" if one["taken"] else escape(one["reason"] or "another gains more")
        rows.append(f"<tr><td>{escape(name)}<td>{one['rows']:,}<td>{metrics}<td>{fate}</tr>")
    head = "<tr><th>teacher<th>rows<th>its metrics (difference to the consumer, and its interval)<th></tr>"
    return f"<h3>Who could label</h3><div class=scroll><table>{head}{''.join(rows)}</table></div>"


def _fate(task: TaskResult) -> str:
    """What gates refused and what was quarantined, in words."""
    gates = ", ".join(f"{escape(gate)} {count:,}" for gate, count in sorted(task.gates.items(), key=lambda g: -g[1]))
    bad = ", ".join(f"{escape(reason)} {count:,}" for reason, count in task.quarantine.items())
    read = ", ".join(f"{escape(split)} {count:,}" for split, count in task.real_rows.items())
    return f"Refused by the gates: {gates or 'none'}. Real rows: {read}. Quarantined: {bad or 'none'}."


def _histogram(histogram: dict[str, list[float]]) -> str:
    edges, tallest = histogram["edges"], max(1e-9, *histogram["real"], *histogram["mix"])
    width, height = 720, 110
    bar = width / (len(edges) - 1)
    parts = []
    for name, colour, opacity in (("real", "var(--soft)", 0.45), ("mix", "var(--mix)", 0.6)):
        for i, share in enumerate(histogram[name]):
            tall = share / tallest * height
            parts.append(
                f"<rect x={i * bar:.1f} y={height - tall:.1f} width={bar - 1:.1f} height={tall:.1f} fill={colour} "
                f"fill-opacity={opacity} />"
            )
    axis = f"<text x=0 y={height + 14}>0</text><text x={width} y={height + 14} text-anchor=end>{edges[-1]:.2f}</text>"
    return f"<svg viewBox='0 0 {width} {height + 18}' role=img aria-label='hardness'>{''.join(parts)}{axis}</svg>"


def _n(value: float | None, sign: str = "") -> str:
    return "–" if value is None else format(value, f"{sign}.4f")
