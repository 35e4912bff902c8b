"""A source from its files or its database to clean splits."""

from __future__ import annotations

import hashlib
from pathlib import Path

from augment.base.files import file_sha256
from augment.contracts.registry import modality_class
from augment.recipes.source import Source
from augment.sources import database
from augment.sources.cleaning import Cleaning
from augment.sources.files import files_of, workspace
from augment.sources.splits import Splits


def fingerprint(source: Source) -> dict[str, str]:
    """Input → sha256, for each file or for the query's result. Raises BadInput when there is nothing to read."""
    if source.path is not None:
        return {path: file_sha256(Path(path)) for path in files_of(source)}
    digest = hashlib.sha256()
    with database.rows(str(source.connection), str(source.query)) as batches:
        for batch in batches:
            digest.update(batch.serialize())
    return {str(source.query): digest.hexdigest()}


def prepare(name: str, source: Source, modality: str, folder: Path, seed: int) -> Splits:
    """Read, clean and split one source into `folder`.

    modality: the name of the one whose rules rows must keep (`Modality.rows`).
    Raises UsageError for one that there is not; BadInput for a file or column that is missing, too many bad rows
    (`TooManyBad`), or a split left empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with workspace(folder / "source.duckdb", name) as db:
        return Cleaning(db, name, source, modality_class(modality).rows, folder, seed).read()
