"""What a night tells the outside: Prometheus text files, one JSON line per night, a command or webhook on failure."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path
from typing import Any

from augment.base.errors import UsageError
from augment.base.files import write_whole
from augment.base.progress import say
from augment.contracts.result import NightFacts, NightResult, TaskResult

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
    "replica_behind": "1 while the replica lacks the current version: its storage was away.",
}
STATUSES = ("published", "rejected", "unchanged", "failed")
LAST_SUCCESS = "last_success_timestamp_seconds"
NIGHTS = 400  # kept in the log: more than a year
WEBHOOK = re.compile(r"https?://[^/\s]\S*")

Series = Mapping[tuple[str, ...], float]  # label names and values in turn → value


def export(folder: Path, recipe: str, night: NightResult) -> Path:
    """Write a night as `sparring_RECIPE.prom`, whole or not at all: node_exporter reads it at any moment.

    After a night that failed, the time of the last success stays that of the file before.
    """
    path = folder / f"sparring_{recipe}.prom"
    found = _series(night)
    if LAST_SUCCESS not in found and (before := _last_success(path)) is not None:
        found[LAST_SUCCESS] = {(): before}
    lines: list[str] = []
    for name, series in found.items():
        lines += [f"# HELP {PREFIX}{name} {HELP[name]}", f"# TYPE {PREFIX}{name} gauge"]
        for labels, value in series.items():
            pairs = {"recipe": recipe, **dict(zip(labels[::2], labels[1::2], strict=True))}
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in pairs.items())
            lines.append(f"{PREFIX}{name}{{{inner}}} {float(value)!r}")
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def _series(night: NightResult) -> dict[str, dict[tuple[str, ...], float]]:
    out: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in HELP}
    out["night_seconds"][()] = night.seconds or 0.0
    if not night.error:
        out[LAST_SUCCESS][()] = datetime.now(timezone.utc).timestamp()
    for source, taken in night.sources.items():
        out["rows_read"]["source", source] = taken["rows"]
        out["bytes_read"]["source", source] = taken["bytes"]
    for task, found in night.tasks.items():
        own = ("task", task)
        for status in STATUSES:
            out["night_status"][(*own, "status", status)] = float(status == found.status)
        if found.replica is not None or found.replica_behind is not None:
            out["replica_behind"][own] = float(found.replica_behind is not None)
        if found.status == "failed":
            continue
        out["rows_quarantined"][own] = found.quarantined
        out["samples_published"][own] = found.rows
        out["kept_share"][own] = found.kept_share
        extra = found.night or NightFacts()
        out["rows_poisoned"][own] = extra.get("poisoned", 0)
        out["generator_age_days"][own] = extra.get("generator_age_days", 0)
        out["alarms"][own] = len(found.alarms) + len(extra.get("checks", ()))
        if (hardness := extra.get("hardness_of_yesterdays_samples")) is not None:
            out["hardness_of_yesterdays_samples"][own] = hardness
        for column, index in extra.get("drift", {}).items():
            out["drift_index"][(*own, "column", column)] = index
        for metric, c in found.verdict.items():
            for arm, value in (("real", c["real"]), ("mix", c["mix"]), ("baseline", c["baseline"])):
                if value is not None:
                    out["metric"][(*own, "metric", metric, "arm", arm)] = value
    return {name: series for name, series in out.items() if series}


def _last_success(path: Path) -> float | None:
    try:
        found = re.search(rf"^{PREFIX}{LAST_SUCCESS}{{.*}} (\S+)$", path.read_text("utf-8"), re.MULTILINE)
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def log(path: Path, night: NightResult) -> None:
    """The night as the last line of a file of JSON lines, which holds the last `NIGHTS` of them."""
    stamped = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **night.as_json()}
    before = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    lines = [*before[1 - NIGHTS :], json.dumps(stamped, ensure_ascii=False)]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def check_notify(target: str) -> None:
    """Raises UsageError for what could tell nobody: a night that fails is too late to find out."""
    if target.startswith(("http://", "https://")):
        if not WEBHOOK.fullmatch(target):  # the URL stays unsaid: it may be all that a webhook's secret is
            raise UsageError("--notify: not the URL of a webhook; https://host/path")
        return
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise UsageError(f"--notify {target}: {error}") from None
    if not words:
        raise UsageError("--notify is blank; give a command, or the URL of a webhook")


def notify(target: str, night: Mapping[str, Any]) -> None:
    """Post the night as JSON to the operator's webhook, or run their command with it on its standard input.

    The command is split as a shell would, and run without one. What fails here is said, not raised.
    """
    content = json.dumps(night)
    try:
        if WEBHOOK.fullmatch(target):
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(target, content.encode(), headers)  # noqa: S310, the scheme was looked at
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
            return
        done = subprocess.run(shlex.split(target), input=content.encode(), timeout=60, capture_output=True)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[:200]
            say(f"--notify: {target.split()[0]} ended with {done.returncode}: {said}")
    except (OSError, ValueError, HTTPException, subprocess.TimeoutExpired) as error:
        say(f"--notify: {error}")


def one_line(night: NightResult) -> str:
    """The summary: what cron mails, and what a person reads first."""
    read = sum(taken["rows"] for taken in night.sources.values())
    tasks = "; ".join(f"{name} {_fate(found)}" for name, found in night.tasks.items())
    failed = f"failed: {night.error}; " if night.error else ""
    return f"night {night.day}: {failed}{read:,} new rows; {tasks}; {night.seconds or 0:.0f} s"


def _fate(task: TaskResult) -> str:
    notes = [f"version {task.version}"] if task.version is not None else []
    notes += ["replica behind"] if task.replica_behind is not None else []
    return f"{task.status} ({', '.join(notes)})" if notes else task.status
