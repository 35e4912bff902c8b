"""What a night tells the outside: Prometheus text files, one JSON line per night, a command on failure."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from augment.files import write_whole
from augment.progress import say

PREFIX = "sparring_"
HELP = {
    "night_status": "1 for the status that the last night of the task ended in.",
    "night_seconds": "Seconds the last night took.",
    "last_success_timestamp_seconds": "When a night last ended without an error.",
    "rows_read": "Rows the night took in.",
    "bytes_read": "Bytes the night read of its sources.",
    "rows_quarantined": "Bad rows of the window.",
    "rows_poisoned": "Rows of the window by fake users or review floods.",
    "samples_published": "Samples the night made.",
    "kept_share": "Share of proposals that passed the gates.",
    "drift_index": "Population stability index since the generator was fitted.",
    "generator_age_days": "Days since the generator was fitted.",
    "hardness_of_yesterdays_samples": "Victim's mean loss on yesterday's samples: falling means it learns from them.",
    "metric": "A metric of the verdict, by arm.",
    "alarms": "Alarms and checks that were raised.",
}
STATUSES = ("published", "rejected", "unchanged", "failed")

Series = Mapping[tuple[str, ...], float]  # label names and values in turn → value


def export(folder: Path, recipe: str, night: Mapping[str, Any]) -> Path:
    """Write a night as `sparring_RECIPE.prom`, whole or not at all: node_exporter reads it at any moment."""
    lines: list[str] = []
    for name, series in _series(night).items():
        lines += [f"# HELP {PREFIX}{name} {HELP[name]}", f"# TYPE {PREFIX}{name} gauge"]
        for labels, value in series.items():
            pairs = {"recipe": recipe, **dict(zip(labels[::2], labels[1::2], strict=True))}
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in pairs.items())
            lines.append(f"{PREFIX}{name}{{{inner}}} {float(value)!r}")
    path = folder / f"sparring_{recipe}.prom"
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def _series(night: Mapping[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
    out: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in HELP}
    out["night_seconds"][()] = night["seconds"]
    if not night.get("error"):
        out["last_success_timestamp_seconds"][()] = datetime.now(timezone.utc).timestamp()
    for source, taken in night.get("sources", {}).items():
        out["rows_read"]["source", source] = taken["rows"]
        out["bytes_read"]["source", source] = taken["bytes"]
    for task, found in night.get("tasks", {}).items():
        own = ("task", task)
        for status in STATUSES:
            out["night_status"][(*own, "status", status)] = float(status == found["status"])
        out["rows_quarantined"][own] = found["quarantined"]
        out["samples_published"][own] = found["rows"]
        out["kept_share"][own] = found["kept_share"]
        extra = found.get("night", {})
        out["rows_poisoned"][own] = extra.get("poisoned", 0)
        out["generator_age_days"][own] = extra.get("generator_age_days", 0)
        out["alarms"][own] = len(found["alarms"]) + len(extra.get("checks", ()))
        if extra.get("hardness_of_yesterdays_samples") is not None:
            out["hardness_of_yesterdays_samples"][own] = extra["hardness_of_yesterdays_samples"]
        for column, index in extra.get("drift", {}).items():
            out["drift_index"][(*own, "column", column)] = index
        for metric, c in found["verdict"].items():
            for arm in ("real", "mix", "baseline"):
                if c[arm] is not None:
                    out["metric"][(*own, "metric", metric, "arm", arm)] = c[arm]
    return {name: series for name, series in out.items() if series}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def log(path: Path, night: Mapping[str, Any]) -> None:
    """Append the night as one line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stamped = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **night}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(stamped, ensure_ascii=False) + "\n")


def notify(command: str, night: Mapping[str, Any]) -> None:
    """Run the operator's command with the night as JSON on its standard input; its failure is said, not raised.

    The command is split as a shell would, and run without one.
    """
    try:
        done = subprocess.run(shlex.split(command), input=json.dumps(night), text=True, timeout=60, capture_output=True)
        if done.returncode:
            say(f"--notify: {command.split()[0]} ended with {done.returncode}: {done.stderr.strip()[:200]}")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        say(f"--notify: {error}")


def one_line(night: Mapping[str, Any]) -> str:
    """The summary: what cron mails, and what a person reads first."""
    if night.get("error"):
        return f"night {night['day']}: failed: {night['error']}"
    read = sum(taken["rows"] for taken in night["sources"].values())
    tasks = "; ".join(
        f"{name} {found['status']}" + (f" (version {found['version']})" if found.get("version") is not None else "")
        for name, found in night["tasks"].items()
    )
    return f"night {night['day']}: {read:,} new rows; {tasks}; {night['seconds']:.0f} s"
