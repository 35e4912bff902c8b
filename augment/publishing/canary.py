"""The last look at a version before the pointer moves: it is published where nobody reads, and read back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from augment.publishing.dataset import Dataset
from augment.publishing.manifest import Manifest
from augment.publishing.stage import Stage


def canary(dataset: Dataset, stage: Stage, manifest: Manifest, folder: Path) -> list[str]:
    """One line for each thing wrong with the version that `stage` would become; `folder` is empty, and the caller's.

    Reads it through the public reader, from a table of links to the shards.
    """
    copy = Dataset(folder)
    for shard in manifest.files:
        target = copy.root / shard.path
        target.parent.mkdir(exist_ok=True)
        _link(dataset.root / shard.path, target)
    again = Stage(copy.root, stage.run, stage.day, written=list(manifest.files), schema=stage.schema)
    copy.publish(again, manifest)
    if problems := copy.verify():
        return problems
    rows, expected = copy.read().count_rows(), sum(shard.rows for shard in manifest.files)
    return [] if rows == expected else [f"{rows} rows are read where {expected} were written"]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # network and container file systems have none
        shutil.copyfile(source, target)
