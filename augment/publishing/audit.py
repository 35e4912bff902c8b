"""Is a published version still what was committed? Recomputes every checksum and re-reads every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.files import file_sha256
from augment.contracts.sample import LATER, is_multiclass, opened, sample_schema
from augment.publishing.manifest import Manifest, Shard

SHOWN = 3  # rows named per shard
SLACK = 1e-5  # gates judge float64, the table holds float32
AN_ITEM = "neighbour_weights IS NOT NULL"  # and no sample: no gate judged it


def _least(gate: str) -> str:
    """SQL of the least that a score may be."""
    return f"(CASE WHEN {AN_ITEM} THEN 0 ELSE {gate} - {SLACK} END)"


LABEL, ANCHOR_LABEL = "label outside [0, 1]", "anchor_label outside [0, 1]"
SHARES = "len({0}) = $classes AND list_count({0}) = $classes AND list_min({0}) >= 0 AND abs(list_sum({0}) - 1) <= 1e-3"
MANY = {  # where labels are of many classes
    LABEL: SHARES.format("label"),
    ANCHOR_LABEL: f"anchor_label IS NULL OR ({SHARES.format('anchor_label')})",
}
# What is wrong → what every row must satisfy; NULL does not satisfy, and NaN sorts above every number.
CHECKS = {
    "sample_id is not 24 hexadecimal digits": "regexp_full_match(sample_id, '[0-9a-f]{24}')",
    "task, run or encoder is not that of the manifest": (
        "task = $task AND run = $run AND list_contains($encoders, encoder)"
    ),
    "no strategy": "strategy <> ''",
    LABEL: "label BETWEEN 0 AND 1",
    "weight is not a positive number": "weight > 0 AND isfinite(weight)",
    "no day": "day <> ''",
    "no anchor": "anchor_id <> ''",
    "no neighbours": "len(neighbour_ids) > 0 AND list_count(neighbour_ids) = len(neighbour_ids)",
    "embedding is not as many finite numbers as dim says": (
        "len(embedding) = $dim AND list_count(embedding) = $dim AND isfinite(list_sum(embedding))"
    ),
    "not decoded": "decoded IS NOT NULL OR $undecoded",
    "neighbours and their weights are not as many": (
        "neighbour_weights IS NULL "
        "OR (len(neighbour_weights) = len(neighbour_ids) AND isfinite(list_sum(neighbour_weights)))"
    ),
    "hardness outside the band": (
        f"hardness BETWEEN $easiest - {SLACK} AND $hardest + {SLACK} OR (teacher_spread IS NOT NULL AND hardness >= 0) "
        f"OR {AN_ITEM}"
    ),
    ANCHOR_LABEL: "coalesce(anchor_label, 0) BETWEEN 0 AND 1",
    "teacher_spread outside [0, 1]": "coalesce(teacher_spread, 0) BETWEEN 0 AND 1",
    "plausibility outside [gate, 1]": f"plausibility BETWEEN {_least('$plausibility')} AND 1 + {SLACK}",
    "label_agreement outside [gate, 1]": f"label_agreement BETWEEN {_least('$agreement')} AND 1 + {SLACK}",
    "novelty outside [gate, 2]": (
        f"novelty BETWEEN (CASE WHEN list_contains($copies, strategy) THEN 0 ELSE {_least('$novelty')} END) - {SLACK} "
        f"AND 2 + {SLACK}"
    ),
}


def problems(root: Path, manifest: Manifest, listed: Mapping[str, int | None]) -> Iterator[str]:
    """One line per way in which files under `root` break their manifest's promises; broken rows by name.

    `listed` is what a plain Delta reader sees: file → rows. Reads in batches, whatever a shard's size.
    """
    promised = {shard.path: shard.rows for shard in manifest.files}
    for name in sorted({name for name, _ in promised.items() ^ listed.items()}):
        yield f"{name}: the Delta log and the manifest disagree on this file"
    sound = []
    for shard in manifest.files:
        path = root / shard.path
        if not path.resolve().is_relative_to(root.resolve()):
            yield f"{shard.path}: points outside the table"
        elif not path.exists():
            yield f"{shard.path}: missing"
        elif file_sha256(path) != shard.sha256:
            yield f"{shard.path}: its content changed, sha256 differs from the manifest's"
        elif problem := _unreadable(shard, path):
            yield f"{shard.path}: {problem}"
        else:
            sound.append(path)
            yield from _broken_rows(shard, path, manifest)
    yield from _repeated_samples(sound)


def _unreadable(shard: Shard, path: Path) -> str | None:
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return "not a Parquet file"
    schema = metadata.schema.to_arrow_schema()
    decoded = schema.field("decoded").type if "decoded" in schema.names else pa.null()
    if not pa.types.is_struct(decoded) or schema not in _schemas(decoded, is_multiclass(schema)):
        return "its columns are not those of a published table"
    if metadata.num_rows != shard.rows:
        return f"{metadata.num_rows} rows where the manifest counts {shard.rows}"
    return None


def _schemas(decoded: pa.StructType, multiclass: bool) -> list[pa.Schema]:
    """Today's, and those of before there were new items, and teachers."""
    today = sample_schema(decoded, multiclass)
    return [pa.schema([column for column in today if column.name not in LATER[kept:]]) for kept in (4, 3, 0)]


def _broken_rows(shard: Shard, path: Path, manifest: Manifest) -> Iterator[str]:
    rows, limits, checks = opened([str(path)]), _limits(manifest, shard), CHECKS
    if is_multiclass(rows.schema):
        checks, limits["classes"] = CHECKS | MANY, len(manifest.settings["source"]["classes"])
    reasons = ", ".join(f"CASE WHEN NOT coalesce({good}, false) THEN '{why}' END" for why, good in checks.items())
    # S608: the text is made of constants of this module; every value is bound.
    query = f"""
        SELECT sample_id, [why FOR why IN [{reasons}] IF why IS NOT NULL] AS broken
        FROM shard WHERE len(broken) > 0 LIMIT {SHOWN}
    """
    with duckdb.connect() as connection:
        connection.register("shard", rows)
        for sample, broken in connection.execute(query, limits).fetchall():
            yield f"{shard.path}: sample {sample}: {'; '.join(broken)}"


def _repeated_samples(paths: list[Path]) -> Iterator[str]:
    if not paths:
        return
    query = "SELECT sample_id, count(*) FROM shards GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT $shown"
    with duckdb.connect() as connection:
        connection.register("shards", opened([*map(str, paths)]))
        for sample, times in connection.execute(query, {"shown": SHOWN}).fetchall():
            yield f"sample {sample}: occurs {times} times"


def _limits(manifest: Manifest, shard: Shard) -> dict[str, object]:
    """What the checks compare with: the manifest's identity, the run that wrote the shard, and the recorded gates."""
    from augment.contracts.strategy import strategies  # a second, for torch: looking at tables needs none

    gates = manifest.gates
    hardest, easiest = np.logaddexp(0, -np.array(gates["band"])).tolist()  # a margin's loss is softplus(-margin)
    return {
        "task": manifest.task,
        "run": Path(shard.path).parent.name,  # an earlier night's, where its samples are kept
        "encoders": manifest.encoders,
        "dim": manifest.dim,
        "undecoded": bool(manifest.result.get("undecoded")),
        "easiest": easiest,
        "hardest": hardest,
        "plausibility": gates["min_plausibility"],
        "agreement": gates["min_label_agreement"],
        "novelty": gates["min_novelty"],
        "copies": [name for name, strategy in strategies().items() if not strategy.novel],
    }
