"""The commands that look after published tables: ls, show, verify, rollback, gc."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from augment.base.errors import BadInput, UsageError
from augment.cli.terminal import F, attribution_table, json_option, verdict_table

if TYPE_CHECKING:
    from augment.publishing.dataset import Dataset
    from augment.publishing.manifest import Version


def output_argument(command: F) -> F:
    return click.argument("output", type=click.Path(path_type=Path))(command)


@click.command()
@output_argument
@json_option
def ls(output: Path, as_json: bool) -> None:
    """List the versions and rejected runs of every task in OUTPUT."""
    found = {dataset.root.name: [_version(v) for v in dataset.versions()] for dataset in _datasets(output)}
    if as_json:
        click.echo(json.dumps(found))
        return
    for task, versions in found.items():
        for v in versions:
            number = "-" if v["version"] is None else v["version"]
            click.echo(
                f"{task:16}{number!s:>4}  {v['status']:10}{v['rows']:>8,} rows  {v['created']}  {v['run']}"
                f"  {v['reason']}"
            )


@click.command()
@output_argument
@click.argument("version", default="current")
@json_option
def show(output: Path, version: str, as_json: bool) -> None:
    """Show the manifest of a VERSION (number, run digest or current) of the task table OUTPUT."""
    from augment.contracts.result import TaskResult

    dataset = _one_dataset(output)
    found = dataset.find(version) or dataset.version(version)
    if as_json:
        click.echo(found.manifest.dump().decode())
        return
    result = TaskResult.stored(found.manifest.result)
    click.echo(
        f"{dataset.root} {found.status}, run {found.run}, {found.created}\nencoder {', '.join(found.manifest.encoders)}"
    )
    for path, digest in found.manifest.inputs.items():
        click.echo(f"input {path} sha256 {digest[:16]}")
    click.echo(verdict_table(result.verdict))
    if result.attribution:
        click.echo(attribution_table(result.attribution))
    click.echo(result.reason)


@click.command()
@click.argument("output")
@click.argument("version", default="current")
@json_option
def verify(output: str, version: str, as_json: bool) -> None:
    """Recompute every checksum of a VERSION and re-read every row's invariants; exit code 5 when something is wrong.

    OUTPUT may be the URL of a task's replica, s3://bucket/prefix: there, checksums only.
    """
    if "://" in output:
        from augment.publishing.replica import verify_replica

        problems = {output: verify_replica(output, version)}
    else:
        tables = [dataset for dataset in _datasets(Path(output)) if dataset.current() is not None]
        problems = {dataset.root.name: dataset.verify(version) for dataset in tables}
    if not problems:
        raise UsageError(f"{output}: nothing is published here")
    if as_json:
        click.echo(json.dumps({"ok": not any(problems.values()), "tasks": problems}))
    for task, found in problems.items() if not as_json else ():
        click.echo("\n".join([f"{task}: {'whole' if not found else f'{len(found)} problems'}", *found]))
    if any(problems.values()):
        sys.exit(BadInput.exit_code)


@click.command()
@output_argument
@click.argument("version", type=int)
@json_option
def rollback(output: Path, version: int, as_json: bool) -> None:
    """Make an older VERSION of the task table OUTPUT current again, by a new commit."""
    from augment.publishing.lock import locked

    dataset = _one_dataset(output)
    with locked(dataset.root.parent):
        number = dataset.rollback(version)
    click.echo(
        json.dumps({"version": number, "content_of": version}) if as_json else f"version {number} = version {version}"
    )


@click.command()
@output_argument
@click.option("--keep-last", type=click.IntRange(1), default=5, show_default=True, help="Versions whose files stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def gc(output: Path, keep_last: int, dry_run: bool, as_json: bool) -> None:
    """Remove files that no kept version needs, old rejected runs, pages and orphans; never what is current."""
    from augment.judging import report
    from augment.publishing.lock import locked

    datasets = _datasets(output)
    with locked(datasets[0].root.parent):
        removed = [path for dataset in datasets for path in dataset.gc(keep_last, dry_run)]
        if datasets[0].root.parent == Path(os.path.abspath(output)):  # not of one task alone
            removed += report.forget(datasets[0].root.parent, keep_last, 0, dry_run)
    click.echo(
        json.dumps({"removed": [*map(str, removed)], "dry_run": dry_run})
        if as_json
        else "\n".join([*map(str, removed), f"{len(removed)} files"])
    )


def _datasets(output: Path) -> list[Dataset]:
    """The tables under an output folder, or the one at it.

    By their whole paths, or "." would have no parent to lock; not resolved, as the lock is beside a link to a table.
    """
    from augment.publishing.dataset import STATE, Dataset

    output = Path(os.path.abspath(output))
    roots = [output, *sorted(p for p in output.glob("[!.]*") if p.is_dir())]
    found = [Dataset(root) for root in roots if (root / "_delta_log").is_dir() or (root / STATE).is_dir()]
    if not found:
        raise UsageError(f"{output}: no published data here; `sparring run` makes some")
    return found


def _one_dataset(output: Path) -> Dataset:
    found = _datasets(output)
    if len(found) > 1:
        raise UsageError(f"{output} holds several tasks; name one: {', '.join(str(d.root) for d in found)}")
    return found[0]


def _version(v: Version) -> dict[str, Any]:
    return {
        "version": v.version,
        "status": v.status,
        "run": v.run,
        "rows": v.rows,
        "created": v.created,
        "reason": v.manifest.result.get("reason", ""),
    }
