"""Malformed inputs, thousands of them, for `scripts/faults.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path


def conclude(folder: Path, counts: Mapping[str, int]) -> None:
    """Print the counts, and of inputs that failed what `folder` tells; exit with 1 where any did."""
    if counts["failed"]:
        print((folder / "failures.jsonl").read_text("utf-8"), file=sys.stderr)
    print(json.dumps(dict(sorted(counts.items()))))
    sys.exit(counts["failed"] > 0)
