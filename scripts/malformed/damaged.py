"""Malformed inputs from good ones: damaged slices of real files, mutated recipes."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from malformed.generated import KINDS, SUFFIXES, Case, compressed, encoded, expanded, recipe_for


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flip(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 20])):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def insert(content: bytes, chance: random.Random) -> bytes:
    place = chance.choice([0, len(content), chance.randrange(len(content))])
    return content[:place] + chance.randbytes(chance.choice([1, 10, 3000])) + content[place:]


def cut_out(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + content[place + chance.choice([1, 10, 1000]) :]


def overwrite(content: bytes, chance: random.Random) -> bytes:
    place, odd_byte = chance.randrange(len(content)), chance.choice([b"\x00", b"\xff", b'"', b"\n", b"\r", b","])
    length = chance.choice([1, 4, 200])
    return content[:place] + odd_byte * length + content[place + length :]


WHOLE: dict[str, Callable[[bytes, random.Random], bytes]] = {  # of the file as it lies on disk
    "truncated": truncate,
    "bits flipped": flip,
    "garbage inserted": insert,
    "bytes cut out": cut_out,
    "bytes overwritten": overwrite,
    "twice over": lambda content, chance: content * 2,
    "only garbage": lambda content, chance: chance.randbytes(chance.choice([1, 100, 5000])),
    "garbage in gzip": lambda content, chance: gzip.compress(chance.randbytes(2000)),
    "zero bytes": lambda content, chance: b"",
    "blank": lambda content, chance: chance.choice([b"\n", b" ", b"\r\n" * 50, b"\x00" * 500, b"\xef\xbb\xbf", b"{}"]),
    "gzip in gzip": lambda content, chance: gzip.compress(content),
}


def recoded(encoding: str) -> Callable[[bytes, random.Random], bytes]:
    return lambda content, chance: content.decode().replace("a", "é").encode(encoding, "replace")


def quotes(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    for _ in range(chance.choice([1, 5])):
        place = chance.randrange(len(lines))
        at = chance.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:at] + chance.choice([b'"', b'""', b"'", b"\\", b'\\"']) + lines[place][at:]
    return b"\n".join(lines)


def lines_lost(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    for _ in range(chance.choice([1, 8])):
        place = chance.randrange(len(lines))
        odd_line = [
            b"",
            b"null",
            b"5",
            b"[1, 2]",
            b"{",
            b'{"user_id": {"a": [1]}}',
            b",,,,,,,,,,,,,,,",
            b"\x00",
            b"# no",
        ]
        lines[place] = chance.choice([lines[place][: len(lines[place]) // 2], lines[place] * 2, *odd_line])
    return b"\n".join(lines)


def one_long_line(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = chance.randrange(len(lines))
    lines[place] = lines[place][:-2] + b"x" * chance.choice([70_000, 3_000_000]) + lines[place][-2:]
    return b"\n".join(lines)


TEXTS: dict[str, Callable[[bytes, random.Random], bytes]] = {  # of text, before it is compressed
    "latin-1": recoded("latin-1"),
    "UTF-16": recoded("utf-16"),
    "UTF-16 without mark": recoded("utf-16-le"),
    "UTF-32": recoded("utf-32"),
    "byte order mark": lambda content, chance: b"\xef\xbb\xbf" + content,
    "CRLF": lambda content, chance: content.replace(b"\n", b"\r\n"),
    "CR": lambda content, chance: content.replace(b"\n", b"\r"),
    "quotes": quotes,
    "lines": lines_lost,
    "long line": one_long_line,
    "no header": lambda content, chance: content.partition(b"\n")[2],
    "no line ends": lambda content, chance: content.replace(b"\n", b""),
    "other delimiter": lambda content, chance: content.replace(b",", chance.choice([b";", b"|", b"\t", b"\x01"])),
    "truncated inside": truncate,
    "bits flipped inside": flip,
}


def other_columns(table: pa.Table, chance: random.Random) -> tuple[pa.Table, str]:
    """Schema drift: columns dropped, renamed, retyped, added or in another order."""
    at = chance.randrange(table.num_columns)
    name, how = table.column_names[at], chance.choice(["dropped", "renamed", "retyped", "added", "shuffled", "nulls"])
    if how == "dropped":
        return table.drop_columns([name]), how
    if how == "renamed":
        names = list(table.column_names)
        names[at] = chance.choice([name.upper(), name + "_", name[1:], "x", name.replace("_", "")])
        return table.rename_columns(names), how
    if how == "added":
        return table.append_column(chance.choice(["extra", "__row", name.upper()]), table[at]), how
    if how == "shuffled":
        names = list(table.column_names)
        chance.shuffle(names)
        return table.select(names), how
    values = table[at].to_pylist()
    if how == "nulls":
        return table.set_column(at, name, pa.nulls(len(table), chance.choice([pa.null(), pa.string()]))), how
    retyped: list[Callable[[Any], Any]] = [
        lambda v: f"{name} {v}", lambda v: [v], lambda v: {"value": v}, lambda v: str(v).encode(), lambda v: None,
        lambda v: float("nan"), lambda v: len(str(v)) > 2, lambda v: date(2020, 1, 1 + len(str(v)) % 28),
        lambda v: datetime(2020, 1, 1, len(str(v)) % 24), lambda v: Decimal(len(str(v))), lambda v: "",
        lambda v: 10.0**300,
    ]  # fmt: skip
    change = chance.choice(retyped)
    return table.set_column(at, name, pa.array([change(v) for v in values])), f"retyped {retyped.index(change)}"


def in_its_place(how: str, path: Path) -> None:
    """Something that is no file where the file should be."""
    if how == "directory":
        path.mkdir()
    elif how == "symlink loop":
        path.symlink_to(path.name)
    elif how == "dangling symlink":
        path.symlink_to("nowhere")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "unreadable":
        path.touch(mode=0o000)


PLACES = ["directory", "symlink loop", "dangling symlink", "pipe", "nothing"] + (["unreadable"] if os.getuid() else [])


def mutated(tables: dict[str, pa.Table], folder: Path, chance: random.Random) -> Case:
    """A slice of a real file, damaged."""
    kind, suffix = chance.choice(sorted(tables)), chance.choice(SUFFIXES)
    table = tables[kind].slice(chance.randrange(len(tables[kind]) - 300), 300)
    changes: dict[str, Any] = {"max_bad_share": chance.choice([0.05, 1.0])}
    sort = chance.choices(["whole", "text", "columns", "place", "suffix"], [10, 8, 8, 1, 1])[0]
    refused, written = False, suffix
    if sort == "columns":
        table, how = other_columns(table, chance)
        refused = how == "dropped" and not set(KINDS[kind].names()) <= set(table.column_names)
    content = encoded(table.to_pylist(), table.column_names, suffix)
    if sort == "suffix":
        written = chance.choice([s for s in [*SUFFIXES, ".txt", "", ".parquet.gz", ".xlsx", ".CSV"] if s != suffix])
        how = f"suffix {written}"
    elif sort == "place":
        how, refused = chance.choice(PLACES), True
    elif sort == "whole" or (sort == "text" and suffix == ".parquet"):
        how = chance.choice(sorted(WHOLE))
        content = WHOLE[how](content, chance)
        refused = how in ("zero bytes", "only garbage", "garbage in gzip", "blank") or (
            suffix.endswith((".gz", ".zst")) and how == "truncated"
        )
    elif sort == "text":
        how = chance.choice(sorted(TEXTS))
        content = compressed(TEXTS[how](expanded(content, suffix), chance), suffix)
    path = folder / f"logs{written}"
    if sort == "place":
        in_its_place(how, path)
    else:
        path.write_bytes(content)
    (folder / "recipe.toml").write_text(recipe_for(kind, str(path), folder / "out", **changes), "utf-8")
    return Case(kind, f"{suffix} {how}", folder / "recipe.toml", refused)


# -- recipes ---------------------------------------------------------------------------------------


def in_place_of(old: str, new: str) -> Callable[[str, random.Random], str]:
    return lambda recipe, chance: recipe.replace(old, new, 1)


def anywhere(recipe: str, chance: random.Random) -> str:
    """Any character lost, doubled or another; what comes out may still be a recipe."""
    for _ in range(chance.choice([1, 2, 10])):
        at = chance.randrange(len(recipe))
        new = chance.choice(["", recipe[at] * 2, chance.choice("\0\x1b\n\"'=[]{}#,.-e9 é\u202e\ufeff")])
        recipe = recipe[:at] + new + recipe[at + 1 :]
    return recipe


def any_value(recipe: str, chance: random.Random) -> str:
    """Any one value of another type or an absurd one."""
    lines = recipe.split("\n")
    at = chance.choice([n for n, line in enumerate(lines) if " = " in line])
    key = lines[at].partition(" = ")[0]
    odd_values = ["nan", "inf", "-inf", "-1", "0", "1e400", "9" * 50, "true", '""', '"x"', "[]", "{}", "[[1]]",
                  "1979-05-27", '"a\\u0000b"', "{ a = { b = 1 } }", '["", 1]', "07:32:00",
                  '"' + "y" * 900 + '"', "0.5"]  # fmt: skip
    lines[at] = f"{key} = {chance.choice(odd_values)}"
    return "\n".join(lines)


def any_line(recipe: str, chance: random.Random) -> str:
    """Lines lost, doubled or swapped."""
    lines = recipe.split("\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    how = chance.choice(["lost", "doubled", "swapped"])
    if how == "swapped":
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at : at + 1] = [] if how == "lost" else [lines[at]] * 2
    return "\n".join(lines)


BROKEN: dict[str, Callable[[str, random.Random], str]] = {  # none of these is a recipe
    "unknown key": in_place_of("samples =", "sample ="),
    "no tasks": lambda recipe, chance: recipe.partition("[tasks")[0],
    "no sources": in_place_of("[sources.behaviour]", "[source.behaviour]"),
    "a word for a number": in_place_of("samples = 12000", 'samples = "many"'),
    "a share above 1": in_place_of("test = 0.2", "test = 1.2"),
    "nothing to train on": in_place_of("valid = 0.1, test = 0.2", "valid = 0.5, test = 0.5"),
    "not a number": in_place_of("test = 0.2", "test = nan"),
    "key twice": in_place_of("seed = 42", "seed = 42\nseed = 43"),
    "table twice": lambda recipe, chance: recipe + "\n[tasks.ctr]\n",
    "deep nesting": lambda recipe, chance: recipe.replace("seed = 42", "seed = " + "[" * 5000 + "]" * 5000),
    "deep table": lambda recipe, chance: recipe + "[" + ".".join("a" * 3000) + "]\n",
    "absurd number": lambda recipe, chance: recipe.replace("seed = 42", "seed = " + "9" * 6000),
    "absurd seed": lambda recipe, chance: recipe.replace("seed = 42", "seed = " + "9" * 40),
    "NUL in path": in_place_of('path = "', 'path = "*\\u0000'),
    "NUL in output": in_place_of('output = "', 'output = "\\u0000'),
    "empty path": lambda recipe, chance: "\n".join('path = ""' if "path =" in x else x for x in recipe.split("\n")),
    "no paths": lambda recipe, chance: "\n".join("path = []" if "path =" in x else x for x in recipe.split("\n")),
    "no such source": in_place_of('source = "behaviour"', 'source = "behavior"'),
    "no such consumer": in_place_of('consumer = "ctr"', 'consumer = "cta"'),
    "no such strategy": in_place_of("noise = 0.7", "nose = 0.7"),
    "no such metric": in_place_of('"coverage"', '"cover"'),
    "no such option": in_place_of("variants = 6", "variant = 6"),
    "folder as a name": in_place_of("[tasks.ctr]", '[tasks."../ctr"]'),
    "same column twice": in_place_of('"genre", ', '"Genre", "genre", '),
    "column of a role": in_place_of('"genre", ', '"LABEL", '),
    "truncated": lambda recipe, chance: recipe[: chance.randrange(1, recipe.index("[tasks.reviews]"))],
    "UTF-16": lambda recipe, chance: recipe.encode("utf-16").decode("latin-1"),
    "JSON": lambda recipe, chance: json.dumps({"name": "x", "sources": {}}),
    "empty": lambda recipe, chance: "",
}
BENT = {"characters": anywhere, "values": any_value, "lines": any_line}


def mutated_recipe(tables: dict[str, pa.Table], folder: Path, chance: random.Random) -> Case:
    """The shipped demo recipe, mutated; its data are small good files."""
    recipe = files("augment").joinpath("recipes/demo.toml").read_text("utf-8")
    for kind, table in tables.items():
        path = folder / f"{kind}.parquet"
        pq.write_table(table.slice(0, 100), path)
        recipe = recipe.replace(f"sparring-data/{kind}.parquet", str(path))
    recipe = recipe.replace("sparring-out/demo", str(folder / "out"))
    how = chance.choice([*sorted(BROKEN), *sorted(BENT) * 8])
    content = {**BROKEN, **BENT}[how](recipe, chance)
    raw = content.encode("latin-1", "replace") if how in ("UTF-16",) or chance.random() < 0.02 else content.encode()
    (folder / "recipe.toml").write_bytes(raw)
    return Case("recipe", f"recipe: {how}", folder / "recipe.toml", how in BROKEN)
