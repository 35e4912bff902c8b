"""What a version was made of, and what became of it: one JSON file beside the table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from augment.base.errors import BadInput


@dataclass(frozen=True)
class Shard:
    path: str  # relative to the table
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    run: str  # digest of settings, inputs and package versions
    task: str
    status: str  # "published" or "rejected"
    settings: dict[str, Any]  # the recipe's part for this task
    inputs: dict[str, str]  # file or query → sha256
    encoders: list[str]  # one per round of generation
    dim: int
    seed: int
    packages: dict[str, str]
    gates: dict[str, Any]
    result: dict[str, Any]  # counts, gate results, verdict: what the run printed for this task
    files: list[Shard]
    parent: int | None  # the version that was current before
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def dump(self) -> bytes:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False).encode()

    @classmethod
    def parse(cls, content: bytes, where: str) -> Manifest:
        """Raises BadInput when the content is not a manifest."""
        try:
            read = json.loads(content)
            return cls(**{**read, "files": [Shard(**shard) for shard in read["files"]]})
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{where}: not a manifest of this version of sparring ({error})") from None


ALL_DAYS = "all"  # the day of samples that were made of no night in particular


@dataclass(frozen=True)
class Version:
    """A published version (a number of the Delta log), or a rejected run (no number)."""

    version: int | None
    run: str
    created: str
    status: str  # "current", "published", "rolled back to" or "rejected"
    manifest: Manifest

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.manifest.files)

    @property
    def days(self) -> list[str]:
        """The nights whose samples it holds."""
        return list(self.manifest.result.get("night", {}).get("days", [ALL_DAYS]))
