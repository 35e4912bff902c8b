import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from published import DIM, RUNS, TEXT, flip_a_byte, manifest, publish, samples, shard

from augment.publishing.dataset import Dataset


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path)


def test_verify_names_a_changed_file(dataset):
    publish(dataset, RUNS[0], samples(RUNS[0]), samples(RUNS[0], 3, first=5))
    flip_a_byte(shard(dataset))
    [problem] = dataset.verify()
    assert shard(dataset).name in problem
    assert "sha256" in problem


def test_verify_names_a_missing_file(dataset):
    publish(dataset, RUNS[0])
    shard(dataset).unlink()
    [problem] = dataset.verify()
    assert problem == f"{RUNS[0]}/{shard(dataset).name}: missing"


def test_verify_notices_a_changed_or_missing_manifest(dataset):
    publish(dataset, RUNS[0])
    path = dataset.root / "_sparring" / "manifests" / f"{RUNS[0]}.json"
    changed = json.loads(path.read_text())
    changed["gates"]["min_plausibility"] = 0.0
    path.write_text(json.dumps(changed))
    assert "changed since" in dataset.verify()[0]
    path.unlink()
    assert "missing" in dataset.verify()[0]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("sample_id", "../x", "24 hexadecimal"),
        ("sample_id", None, "24 hexadecimal"),
        ("sample_id", f"{0:024x}", "occurs 2 times"),
        ("task", "ctr", "not that of the manifest"),
        ("strategy", "", "no strategy"),
        ("label", 1.5, "label"),
        ("label", None, "label"),
        ("weight", 0.0, "weight"),
        ("anchor_id", None, "no anchor"),
        ("neighbour_ids", [], "no neighbours"),
        ("neighbour_ids", ["n1", None], "no neighbours"),
        ("neighbour_weights", [0.5], "neighbours and their weights"),
        ("neighbour_weights", [0.5, float("nan")], "neighbours and their weights"),
        ("embedding", [0.5] * (DIM - 1), "embedding"),
        ("embedding", [0.5] * (DIM - 1) + [float("nan")], "embedding"),
        ("embedding", [0.5] * (DIM - 2) + [float("inf"), float("-inf")], "embedding"),
        ("embedding", [0.5] * (DIM - 1) + [None], "embedding"),
        ("decoded", None, "not decoded"),
        ("hardness", 0.19, "hardness"),  # softplus(-1.5) = 0.2014: easier than the band
        ("hardness", 0.98, "hardness"),  # softplus(0.5) = 0.9741: harder
        ("hardness", float("nan"), "hardness"),
        ("plausibility", 0.04, "plausibility"),
        ("plausibility", 1.1, "plausibility"),
        ("label_agreement", 0.4, "label_agreement"),
        ("novelty", 0.0, "novelty"),
    ],
)
def test_verify_names_a_row_that_breaks_a_promise(dataset, column, value, reason):
    rows = samples(RUNS[0])
    values = rows[column].to_pylist()
    values[3] = value
    rows = rows.set_column(rows.column_names.index(column), rows.field(column), pa.array(values, rows[column].type))
    publish(dataset, RUNS[0], rows)
    [problem] = dataset.verify()
    assert reason in problem
    assert f"sample {rows['sample_id'][3].as_py()}" in problem


def test_values_at_the_gates_pass(dataset):
    """Gates judge float64; what they let through must not fail for being stored as float32."""
    edges = np.log1p(np.exp(-np.array([-0.5, 1.5, 0.0, 0.0, 0.0]))).astype(np.float32)
    at = {"hardness": edges, "plausibility": [0.05] * 5, "label_agreement": [0.5] * 5, "novelty": [1e-4] * 5}
    publish(dataset, RUNS[0], samples(RUNS[0], **at))
    assert dataset.verify() == []


def test_a_sample_may_not_occur_in_two_shards(dataset):
    publish(dataset, RUNS[0], samples(RUNS[0]), samples(RUNS[0], 1, first=4, label=[0.5]))
    assert dataset.verify() == [f"sample {4:024x}: occurs 2 times"]


def test_other_columns_are_no_published_table(dataset):
    publish(dataset, RUNS[0], samples(RUNS[0]).drop_columns(["weight"]))
    assert "columns" in dataset.verify()[0]


def test_a_row_that_is_an_item_has_weights_in_place_of_what_gates_ask(dataset):
    rows = samples(
        RUNS[0], strategy=["new-items"] * 5, neighbour_weights=[[0.5, -0.1]] * 5, hardness=pa.nulls(5, pa.float32()),
        plausibility=[0.01] * 5, label_agreement=[0.01] * 5, novelty=[0.0] * 5,
    )  # fmt: skip
    publish(dataset, RUNS[0], rows)
    assert dataset.verify() == []


def test_vectors_alone_are_sound_where_the_manifest_says_that_there_are_some(dataset):
    decoded = [{"text": "nice"}, None, None, None, None]
    with dataset.stage(RUNS[0]) as stage:
        stage.write(samples(RUNS[0], decoded=TEXT).set_column(13, "decoded", pa.array(decoded, TEXT)))
        made = manifest(dataset, stage)
        dataset.publish(stage, replace(made, result={**made.result, "undecoded": 4}))
    assert dataset.verify() == []
