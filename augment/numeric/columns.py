"""Arrow columns in the form that numbers need them."""

from __future__ import annotations

import pyarrow as pa


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
