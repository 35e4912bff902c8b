"""What reading a source leaves: its splits, and what is in quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from augment.base.errors import BadInput


@dataclass(frozen=True)
class Splits:
    """Parquet files with the standard columns, and what was left out of them."""

    train: Path
    valid: Path
    test: Path
    unlabelled: Path | None
    left_out: Path | None  # when items of rows below `keep`, or sparse ones, were first met: `item_id`, `timestamp`
    quarantine: Path
    counts: dict[str, int]  # split → rows
    quarantined: dict[str, int]  # reason → rows


class TooManyBad(BadInput):
    """More bad rows than `max_bad_share`. `quarantine`: the file that holds them."""

    def __init__(self, message: str, quarantine: Path) -> None:
        super().__init__(message)
        self.quarantine = quarantine
