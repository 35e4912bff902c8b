"""Attacks on rows that hold files, pictures or clips: each is really edited, at a strength of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import pyarrow as pa

T = TypeVar("T")
STRENGTHS = (0.3, 0.9)  # from which each edit draws its own


def edited(
    rows: pa.Table, column: str, edits: Iterable[Callable[[T, np.random.Generator, float], T]],
    opened: Callable[[bytes], T], closed: Callable[[T], bytes], rng: np.random.Generator,
) -> pa.Table:  # fmt: skip
    """Each row once by each of the edits. opened, closed: what is in a file of the column, and the file of it."""
    edits = list(edits)
    wide = rows.take(pa.array(np.arange(len(rows)).repeat(len(edits))))
    files = map(opened, rows[column].to_pylist())
    made = [closed(edit(file, rng, rng.uniform(*STRENGTHS))) for file in files for edit in edits]
    return wide.set_column(wide.column_names.index(column), column, pa.array(made, pa.binary()))
