"""A source: the CSV files in a zip archive, as shop systems export a month of orders.

Entry point, group `sparring.sources`: `archive = source:Archive`. Recipes then say `path = "archive://orders.zip"`.
"""

from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import pyarrow as pa
from pyarrow import csv

from augment.base.errors import BadInput
from augment.sources.streamed import Streamed

EMPTY = csv.ConvertOptions(strings_can_be_null=True)  # is missing


class Archive(Streamed):
    name = "archive"

    @contextmanager
    def batches(self, source, since=None):
        path = source.path.removeprefix("archive://")
        try:
            with ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if name.endswith(".csv"))
                tables = [csv.read_csv(BytesIO(archive.read(name)), convert_options=EMPTY) for name in names]
        except (OSError, BadZipFile, pa.ArrowInvalid) as error:
            raise BadInput(f"{path}: cannot be read as a zip archive of CSV files: {error}") from None
        if not tables:
            raise BadInput(f"{path}: no .csv file is in it")
        yield pa.concat_tables(tables, promote_options="permissive").to_reader()


def export(folder, rows):
    """Zip rows as two files; where a recipe finds them."""
    path = folder / "orders.zip"
    with ZipFile(path, "w") as archive:
        for number, part in enumerate((rows.slice(0, 200), rows.slice(200))):
            csv.write_csv(part, file := BytesIO())
            archive.writestr(f"orders-{number}.csv", file.getvalue())
    return {"path": f"archive://{path}"}


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    from augment.recipes.source import Source
    from augment.testing import data

    with TemporaryDirectory() as folder:
        place = export(Path(folder), data.rows())
        with Archive().batches(Source(**place, columns={"label": "label"})) as batches:
            print(f"{batches.read_all().num_rows} rows of {place['path']}")
