"""Arrow columns in the form that numbers need them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def label_type(multiclass: bool) -> pa.DataType:
    """Of labels: the probability of a class, or of each of K classes its share."""
    return pa.list_(pa.float32()) if multiclass else pa.float32()


def is_listed(kind: pa.DataType) -> bool:
    """Whether labels of this type are of K classes."""
    return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)


def labels_of(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """float32[n], or float32[n, K] of lists of K; NaN where there is none."""
    column = whole(column)
    if not is_listed(column.type):
        return column.to_numpy(zero_copy_only=False).astype(np.float32)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    width = max(1, len(flat) // max(1, int(there.sum())))
    label = np.full((len(column), width), np.nan, np.float32)
    label[there] = flat.reshape(-1, width)
    return label


def as_labels(label: np.ndarray) -> pa.Array:
    """A column of labels float32[n] or float32[n, K]: what `labels_of` reads."""
    if label.ndim == 1:
        return pa.array(label.astype(np.float32))
    offsets = pa.array(np.arange(0, label.size + 1, label.shape[1]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(label.astype(np.float32).ravel()))


def with_vectors(rows: pa.Table, vectors: np.ndarray) -> pa.Table:
    """The rows with vectors float32[n, D] as their column `embedding`, fixed_size_list<float32>[D], in any's place."""
    rows = rows.drop_columns(["embedding"]) if "embedding" in rows.column_names else rows
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return rows.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
