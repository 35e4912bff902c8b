"""How far a window's rows have moved from those that the generator was fitted on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.numeric.columns import is_listed, labels_of

TOP = 20  # values of a column that count one by one; the rest together
LEAST = 1e-4  # share that an unseen value is taken to have

Profile = dict[str, dict[str, float]]  # column → value → share of rows


def profile(rows: pa.Table) -> Profile:
    """Shares of each column's commonest values, of labels in tenths or by class, of texts and files by length."""
    found: Profile = {}
    for name in rows.column_names:
        if name in ("row_id", "timestamp", "embedding", "user_id"):  # new users are no drift
            continue
        column = rows[name]
        if name == "text" or pa.types.is_binary(column.type):
            length = pc.utf8_length(column) if name == "text" else pc.binary_length(column)
            column = pc.cast(pc.floor(pc.log2(pc.add(length, 1))), pa.string())
        elif is_listed(column.type):
            label = labels_of(column)
            column = pa.array(label.argmax(axis=1), mask=np.isnan(label).any(axis=1))
        elif pa.types.is_floating(column.type):
            column = pc.cast(pc.round(column, 1), pa.string())
        counts = {str(c["values"]): c["counts"] for c in pc.value_counts(column).to_pylist()}
        common = dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:TOP])
        total = max(1, len(rows))
        found[name] = {value: count / total for value, count in sorted(common.items())}
        found[name]["…"] = 1 - sum(found[name].values())
    return found


def stability(before: Profile, after: Profile) -> Mapping[str, float]:
    """Column → population stability index, Σ (a − b) ln(a / b) (Siddiqi, 2006): above .1 some drift, above .25 much."""
    out = {}
    for name in before.keys() & after.keys():
        values = sorted(before[name].keys() | after[name].keys())
        b, a = (np.maximum([shares.get(v, 0.0) for v in values], LEAST) for shares in (before[name], after[name]))
        out[name] = float(((a - b) * np.log(a / b)).sum())
    return dict(sorted(out.items()))
