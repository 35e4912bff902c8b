"""SQL of the split that a row falls into: its place in [0, 1], of which the last shares are validation and test."""

from __future__ import annotations

from collections.abc import Collection

from augment.numeric.new_users import FEW
from augment.recipes.source import Split

# SQL of a row's place among those of its partition, from the earliest, in (0, 1).
_BY_TIME = "(row_number() OVER (PARTITION BY {0} ORDER BY timestamp, row_id) - 0.5) / count(*) OVER (PARTITION BY {0})"


def cuts(split: Split) -> tuple[float, float]:
    """From where on a place is validation, and from where on test."""
    return 1 - split.test - split.valid, 1 - split.test


def place(split: Split, roles: Collection[str], seed: int, moments: tuple[int, int]) -> str:
    """SQL of the place of each row of a table with the standard columns `roles`.

    moments: by time, the last of training and of validation rows.
    """
    valid, test = cuts(split)
    by_chance, items, users = (_chance(column, seed) for column in ("row_id", "item_id", "user_id"))
    few = _chance("user_id || ':few'", seed)
    if split.by == "time":
        first, last = moments
        return f"CASE WHEN timestamp > {last} THEN 1.0 WHEN timestamp > {first} THEN {test} ELSE 0 END"
    if split.by == "user_time":
        return _BY_TIME.format("user_id")
    if split.by == "new_items":  # rows of other items by time where there is one, so that no user lacks a past
        timed = {"user_id", "timestamp"} <= set(roles)
        others = _BY_TIME.format(f"user_id, {items} >= {valid}") if timed else by_chance
        return f"CASE WHEN {items} >= {test} THEN 1.0 WHEN {items} >= {valid} THEN {valid} ELSE {others} END"
    if split.by == "new_users":  # of other users the latest rows too, as by user_time
        nth = "row_number() OVER (PARTITION BY user_id ORDER BY timestamp, row_id)"
        first_ones = f"WHEN {nth} <= 1 + floor({FEW} * {few}) THEN 0.0"
        theirs = f"{first_ones} WHEN {users} >= {test} THEN 1.0 ELSE {valid}"
        return f"CASE WHEN {users} < {valid} THEN {_BY_TIME.format('user_id')} {theirs} END"
    return by_chance


def _chance(column: str, seed: int) -> str:
    """SQL of a number in [0, 1): a hash of the id and the seed, stable whatever else the file holds."""
    return f"CAST(('0x' || substr(md5({column} || ':{seed}'), 1, 8)) AS BIGINT) / 4294967296.0"
