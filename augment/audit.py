"""Re-reads published rows and names the ones that break a promise: one SQL predicate per invariant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from augment.manifest import Manifest, Shard
from augment.samples import sample_schema

SHOWN = 3  # rows named per shard
SLACK = 1e-5  # gates judged float64, the table holds float32

# What is wrong → what every row must satisfy; NULL counts as not satisfied, and NaN sorts above every number.
CHECKS = {
    "sample_id is not 24 hexadecimal digits": "regexp_full_match(sample_id, '[0-9a-f]{24}')",
    "task, run or encoder is not the manifest's": "task = $task AND run = $run AND encoder = $encoder",
    "no strategy": "strategy <> ''",
    "label outside [0, 1]": "label BETWEEN 0 AND 1",
    "weight is not a positive number": "weight > 0 AND isfinite(weight)",
    "no anchor": "anchor_id <> ''",
    "no neighbours": "len(neighbour_ids) > 0 AND list_count(neighbour_ids) = len(neighbour_ids)",
    "embedding is not as many finite numbers as the manifest's dim": (
        "len(embedding) = $dim AND list_count(embedding) = $dim AND isfinite(list_sum(embedding))"
    ),
    "not decoded": "decoded IS NOT NULL",
    "hardness outside the gate's band": f"hardness BETWEEN $easiest - {SLACK} AND $hardest + {SLACK}",
    "plausibility outside [gate, 1]": f"plausibility BETWEEN $plausibility - {SLACK} AND 1 + {SLACK}",
    "label_agreement outside [gate, 1]": f"label_agreement BETWEEN $agreement - {SLACK} AND 1 + {SLACK}",
    "novelty outside [gate, 2]": f"novelty BETWEEN $novelty - {SLACK} AND 2 + {SLACK}",
}


def row_problems(shards: Sequence[tuple[Shard, Path]], manifest: Manifest) -> Iterator[str]:
    """One line per broken row (the first few of each shard). Reads in batches, whatever a shard's size."""
    readable = []
    for shard, path in shards:
        try:
            found = pq.read_metadata(path)
            schema = found.schema.to_arrow_schema()
        except (OSError, pa.ArrowException):
            yield f"{shard.name}: not a Parquet file"
            continue
        decoded = schema.field("decoded").type if "decoded" in schema.names else None
        if not pa.types.is_struct(decoded) or schema != sample_schema(decoded):
            yield f"{shard.name}: its columns are not those of a published table"
            continue
        if found.num_rows != shard.rows:
            yield f"{shard.name}: {found.num_rows} rows where the manifest counts {shard.rows}"
        readable.append(path)
        yield from _broken(shard.name, path, manifest)
    if readable:
        yield from _repeated(readable)


def _broken(name: str, path: Path, manifest: Manifest) -> Iterator[str]:
    reasons = ", ".join(
        f"CASE WHEN NOT coalesce({check}, false) THEN '{_quote(why)}' END" for why, check in CHECKS.items()
    )
    query = f"""
        SELECT sample_id, list_filter([{reasons}], lambda why: why IS NOT NULL) AS reasons
        FROM shard WHERE len(reasons) > 0 LIMIT {SHOWN}
    """  # noqa: S608 - constants of this module; every value is bound
    with duckdb.connect() as connection:
        connection.register("shard", ds.dataset(path, format="parquet"))
        for sample, broken in connection.execute(query, _parameters(manifest)).fetchall():
            yield f"{name}: sample {sample!r}: {'; '.join(broken)}"


def _repeated(paths: Sequence[Path]) -> Iterator[str]:
    query = (
        f"SELECT sample_id, count(*) FROM rows GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT {SHOWN}"  # noqa: S608
    )
    with duckdb.connect() as connection:
        connection.register("rows", ds.dataset([str(path) for path in paths], format="parquet"))
        for sample, times in connection.execute(query).fetchall():
            yield f"sample {sample!r} occurs {times} times: sample_id must be unique"


def _parameters(manifest: Manifest) -> dict[str, object]:
    gates = manifest.gates
    margins = np.array(gates.get("band", (-np.inf, np.inf)), np.float64)
    hardest, easiest = np.logaddexp(0, -margins).tolist()  # a margin's loss is softplus(-margin)
    return {
        "task": manifest.task,
        "run": manifest.run,
        "encoder": manifest.encoder,
        "dim": manifest.dim,
        "easiest": easiest,
        "hardest": hardest,
        "plausibility": gates.get("min_plausibility", 0.0),
        "agreement": gates.get("min_label_agreement", 0.0),
        "novelty": gates.get("min_novelty", 0.0),
    }


def _quote(text: str) -> str:
    return text.replace("'", "''")
