"""A recipe from TOML, with every mistake in one line; and what `sparring init --explain` prints."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from augment.base.errors import UsageError, suggest
from augment.recipes.schema import Gates, Generator, Limit, Nightly, Recipe, Task, VerdictSettings
from augment.recipes.source import Columns, Section, Source, Split

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


NAMED: dict[str, type[Section]] = {"sources": Source, "tasks": Task, "checks": Limit}  # tables of sections by name


def shipped() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(
        f.name.removesuffix(".toml") for f in files("augment").joinpath("recipes").iterdir() if f.name.endswith(".toml")
    )


def load(name: str) -> Recipe:
    """A shipped recipe by name, or the TOML file at a path.

    Raises UsageError, in one line, for a file that is missing, not TOML or not a recipe.
    """
    if name in shipped():
        text, file = files("augment").joinpath("recipes").joinpath(f"{name}.toml").read_text("utf-8"), name
    else:
        path = Path(name)
        if path.suffix != ".toml" and not os.path.exists(path):
            raise UsageError(f"no recipe '{name}'{suggest(name, shipped())} (or give the path of a .toml file)")
        try:
            text, file = path.read_text("utf-8"), os.path.realpath(path)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: cannot be read as text: {error}") from None
    recipe = parse(text, name)
    recipe._file = file
    return recipe


def parse(text: str, name: str) -> Recipe:
    """The recipe in TOML `text`; `name` is what errors call it."""
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise UsageError(f"{name}: " + "; ".join(_problems(error.errors()[:3]))) from None
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and brackets within brackets
        raise UsageError(f"{name}: not valid TOML: {error}") from None


def _problems(errors: list[Any]) -> list[str]:
    """In words; which keys a section knows is said once."""
    found: list[str] = []
    said: set[str] = set()
    for error in errors:
        problem, known, keys = _problem(error).partition("; known: ")
        found.append(problem if keys in said else problem + known + keys)
        said.add(keys)
    return found


def _problem(error: Any) -> str:
    """One pydantic error as `where: what is wrong`, with the nearest known key for an unknown one."""
    *parents, key = error["loc"] or ("recipe",)
    where = ".".join(str(part) for part in parents)
    if error["type"] == "extra_forbidden":
        known = list(_section(parents).model_fields)
        unknown = f"unknown key '{key}'{suggest(str(key), known)}"
        return f"[{where}] {unknown}" if where else unknown
    message = error["msg"].removeprefix("Value error, ")
    return f"{where + '.' if where else ''}{key}: {message[0].lower() + message[1:]}"


def _section(path: list[Any]) -> type[Section]:
    """The model that the keys at `path` of a recipe belong to."""
    model: type[Section] = Recipe
    for key in path:
        if key in NAMED and key in model.model_fields:
            model = NAMED[key]
        elif isinstance(key, str) and key in model.model_fields:
            found = model.model_fields[key].annotation
            if isinstance(found, type) and issubclass(found, Section):
                model = found
    return model


def explain() -> str:
    """Every field of a recipe: where it goes, what it means, and its default."""
    lines: list[str] = []
    places: list[tuple[str, type[Section]]] = [
        ("", Recipe),
        ("sources.NAME", Source),
        ("sources.NAME.columns", Columns),
        ("sources.NAME.split", Split),
        ("tasks.NAME", Task),
        ("tasks.NAME.gates", Gates),
        ("tasks.NAME.generator", Generator),
        ("tasks.NAME.verdict", VerdictSettings),
        ("nightly", Nightly),
        ("nightly.checks.NAME", Limit),
    ]
    for place, model in places:
        lines += [f"[{place}]" if place else "(top of the file)", f"# {model.__doc__}"]
        for key, info in model.model_fields.items():
            inner = info.annotation
            if isinstance(inner, type) and issubclass(inner, Section):
                continue
            default = "" if info.is_required() else f" Default: {info.default!r}."
            lines.append(f"  {key}: {info.description}{default}")
        lines.append("")
    return "\n".join(lines)
