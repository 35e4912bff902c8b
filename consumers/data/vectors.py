"""Frozen vectors of rows, as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def embeddings(rows: pa.Table) -> np.ndarray:
    """float32[n, D] of the `embedding` column, whether its lists are of fixed size or not."""
    flat = pa.concat_arrays([chunk.flatten() for chunk in rows["embedding"].chunks])
    return flat.to_numpy(zero_copy_only=False).reshape(len(rows), -1).copy()  # Arrow memory is read-only
