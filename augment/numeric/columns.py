"""Arrow columns in the form that numbers need them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def with_vectors(rows: pa.Table, vectors: np.ndarray) -> pa.Table:
    """The rows with vectors float32[n, D] as their column `embedding`, fixed_size_list<float32>[D], in any's place."""
    rows = rows.drop_columns(["embedding"]) if "embedding" in rows.column_names else rows
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return rows.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
