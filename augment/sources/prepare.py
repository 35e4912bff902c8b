"""A source from wherever its rows are to clean splits."""

from __future__ import annotations

from pathlib import Path

from augment.contracts.modality import RowRules
from augment.contracts.registry import modality_class, source_kind
from augment.pictures.decoding import PICTURES
from augment.recipes.source import Source
from augment.sources import media
from augment.sources.cleaning import Cleaning
from augment.sources.splits import Splits
from augment.sources.tables import workspace

PRODUCTS = RowRules(needs=("item_id",), fields=True, classes=False, copies=True, catalogue=True)
PEOPLE = RowRules(needs=("user_id",), fields=True, classes=False, copies=True, catalogue=True)


def fingerprint(source: Source) -> dict[str, str]:
    """Input → sha256, for each file or for the query's result, and for folders of pictures and clips.

    Raises BadInput when there is nothing to read.
    """
    return source_kind(source).fingerprint(source) | media.fingerprint(source)


def prepare(
    name: str, source: Source, modality: str, folder: Path, seed: int, encoder: str = "", cache: Path | None = None
) -> Splits:
    """Read, clean and split one source into `folder`.

    modality: the name of the one whose rules rows must keep (`Modality.rows`). encoder: of the task, which reads what
    `Modality.files` makes of files. cache: a file that keeps what pictures and clips were decoded to, for the next run.
    Raises UsageError for one that there is not; BadInput for a file or column that is missing, too many bad rows
    (`TooManyBad`), or a split left empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = modality_class(modality)
    with workspace(folder / "source.duckdb", name) as db:
        return Cleaning(db, name, source, kind.rows, folder, seed, kind.files(encoder), cache).read()


def prepare_catalogue(
    name: str, source: Source, rules: RowRules, folder: Path, seed: int, cache: Path | None = None
) -> Splits:
    """Read and clean a catalogue into `folder`: all its rows are in `train`, and the other splits do not exist.

    rules: `PRODUCTS` or `PEOPLE`, whose rows are items or users. cache: as of `prepare`. Raises BadInput for a file or
    column that is missing, too many bad rows (`TooManyBad`), or no row left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with workspace(folder / "source.duckdb", name) as db:
        return Cleaning(db, name, source, rules, folder, seed, PICTURES, cache).read()
