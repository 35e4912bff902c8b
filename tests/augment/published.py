"""Small published tables for the tests of the data set and its audit."""

import numpy as np
import pyarrow as pa

from augment.contracts.sample import sample_schema
from augment.publishing.manifest import Manifest

DIM = 4
TEXT = pa.struct([("text", pa.string())])
RUNS = [letter * 16 for letter in "abcdef"]
GATES = {"band": [-0.5, 1.5], "min_plausibility": 0.05, "min_label_agreement": 0.5, "min_novelty": 1e-4}


def samples(run, rows=5, decoded=TEXT, first=0, **columns):
    """Valid rows of `run`; `columns` replace some of them."""
    form = {"text": "nice"} if decoded == TEXT else {"item": "i1", "user": None}
    values = {
        "sample_id": [f"{first + i:024x}" for i in range(rows)],
        "task": ["sentiment"] * rows,
        "strategy": ["gan"] * rows,
        "label": np.linspace(0, 1, rows, dtype=np.float32),
        "label_source": ["anchor"] * rows,
        "anchor_label": np.linspace(0, 1, rows, dtype=np.float32),
        "teacher_spread": pa.nulls(rows, pa.float32()),
        "weight": [1.0] * rows,
        "anchor_id": [f"a{i}" for i in range(rows)],
        "neighbour_ids": [["n1", "n2"]] * rows,
        "neighbour_weights": pa.nulls(rows, pa.list_(pa.float32())),
        "encoder": ["e@1"] * rows,
        "embedding": [[0.5] * DIM] * rows,
        "decoded": [form] * rows,
        "hardness": [0.6] * rows,
        "plausibility": [0.3] * rows,
        "label_agreement": [0.9] * rows,
        "novelty": [0.1] * rows,
        "run": [run] * rows,
        "day": ["all"] * rows,
    }
    return pa.table({**values, **columns}, schema=sample_schema(decoded))


def manifest(dataset, stage, status="published"):
    return Manifest(
        run=stage.run,
        task="sentiment",
        status=status,
        settings={"task": {"samples": 5}},
        inputs={"reviews.csv": "0" * 64},
        encoders=["e@1"],
        dim=DIM,
        seed=0,
        packages={"torch": "2"},
        gates=GATES,
        result={"reason": "better"},
        files=stage.files,
        parent=dataset.current(),
    )


def publish(dataset, run, *tables):
    with dataset.stage(run) as stage:
        for table in tables or (samples(run),):
            stage.write(table)
        return dataset.publish(stage, manifest(dataset, stage))


def reject(dataset, run):
    with dataset.stage(run) as stage:
        stage.write(samples(run))
        dataset.reject(stage, manifest(dataset, stage, "rejected"))


def shard(dataset, version=None):
    return dataset.root / dataset.version(version).manifest.files[0].path


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
