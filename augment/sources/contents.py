"""What a file holds by how it begins, where that is not what its name says."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from augment.base.errors import BadInput
from augment.sources.encodings import COMPRESSIONS

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_COMPRESSED = {".gz": _GZIP, ".zst": _ZSTD}
_BEGINNINGS = {
    _GZIP: "compressed by gzip: let its name end in .gz",
    _ZSTD: "compressed by Zstandard: let its name end in .zst",
    b"PK\x03\x04": "a ZIP archive, as Excel's workbooks are: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save its sheet as CSV",
    b"PAR1\x15": "Parquet: let its name end in .parquet",
    b"SQLite format 3": "an SQLite database: give it as `connection`",
    b"%PDF": "a PDF",
    b"<!doctype": "a web page, perhaps an error's, and no table",
    b"<html": "a web page, perhaps an error's, and no table",
}


def check_text(path: str, lines: bool) -> None:
    """Raise BadInput for a file that is no text, or text of another kind, by how it begins.

    lines: delimited text is asked for, not JSON lines.
    """
    suffix = Path(path).suffix.lower()
    with open(path, "rb") as stream:
        first = stream.read(1 << 16)
    if suffix in COMPRESSIONS:
        if first and not first.startswith(_COMPRESSED[suffix]):
            raise BadInput(f"{path}: cannot be read: it is not compressed, though its name ends in {suffix}")
        return
    page = first[:64].lstrip().lower()
    what = next((what for start, what in _BEGINNINGS.items() if first.startswith(start) or page.startswith(start)), "")
    if what:
        raise BadInput(f"{path}: by its content it is {what}")
    if lines and first.startswith(b'{"'):
        with suppress(ValueError):
            if json.loads(first.partition(b"\n")[0]):
                raise BadInput(f"{path}: by its content it is JSON lines: let its name end in .jsonl")
