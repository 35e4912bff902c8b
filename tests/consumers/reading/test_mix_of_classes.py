"""A published mix whose labels are of many classes: as a data frame, as batches of several ranks, beside real rows."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from augment.base.errors import BadInput, UsageError
from augment.contracts.sample import sample_schema
from augment.numeric.columns import as_labels, label_type
from augment.publishing.dataset import Dataset
from augment.publishing.manifest import Manifest
from consumers import open_mix

RUN, ROWS, DIM, CLASSES = "c" * 16, 37, 4, 5
GATES = {"band": [-1, 3], "min_plausibility": 0.0, "min_label_agreement": 0.0, "min_novelty": 0.0}


def shares(rows, classes=CLASSES, seed=0):
    """Soft labels float32[n, K]."""
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows).astype(np.float32)


def write(root, label):
    """A table of one version; `label`: a list for each row."""
    schema, rows = sample_schema(pa.struct([("text", pa.string())]), multiclass=True), len(label)
    numbers = {"weight": 1.0, "hardness": 0.7, "plausibility": 0.5, "label_agreement": 0.5, "novelty": 0.3}
    names = {"task": "kind", "strategy": "gan", "label_source": "anchor", "encoder": "e@1", "run": RUN, "day": "all"}
    values = {
        "sample_id": [f"{n:024x}" for n in range(rows)],
        "label": label,
        "anchor_label": [None if n % 3 else [1.0, *[0.0] * (len(one) - 1)] for n, one in enumerate(label)],
        "anchor_id": [f"a{n}" for n in range(rows)],
        "neighbour_ids": [["n1"]] * rows,
        "embedding": [[float(n)] * DIM for n in range(rows)],
        "decoded": [{"text": f"text {n}"} for n in range(rows)],
        **{name: [value] * rows for name, value in (numbers | names).items()},
    }
    table = pa.table({name: values.get(name, pa.nulls(rows, schema.field(name).type)) for name in schema.names}, schema)
    dataset = Dataset(root)
    with dataset.stage(RUN) as stage:
        stage.write(table)
        settings = {"task": {}, "source": {"classes": list("abcde")}}
        manifest = Manifest(
            run=RUN, task="kind", status="published", settings=settings, inputs={}, encoders=["e@1"], dim=DIM, seed=0,
            packages={}, gates=GATES, result={}, files=stage.files, parent=None,
        )  # fmt: skip
        dataset.publish(stage, manifest)
    return dataset


def real(rows=20, classes=CLASSES):
    return pa.table({
        "embedding": pa.array([[1000.0 + n] * DIM for n in range(rows)], pa.list_(pa.float32())),
        "label": as_labels(shares(rows, classes, seed=1)),
    })  # fmt: skip


def test_a_data_frame_has_a_list_in_each_row(tmp_path):
    label = shares(ROWS)
    assert write(tmp_path / "kind", label.tolist()).verify() == []
    frame = open_mix(tmp_path, "kind").to_pandas()
    np.testing.assert_allclose(np.stack(frame["label"]), label, atol=1e-6)
    assert frame["anchor_label"].isna().sum() == ROWS - len(range(0, ROWS, 3))


@pytest.mark.parametrize("ratio", [None, 1.0, 0.4])
def test_ranks_see_every_label_beside_its_row(tmp_path, ratio):
    label, beside = shares(ROWS), real()
    write(tmp_path / "kind", label.tolist())
    of_real = np.array(beside["label"].to_pylist(), np.float32)
    seen = []
    for rank in range(3):
        stream = open_mix(tmp_path, "kind").to_torch(beside, ratio=ratio, batch_size=7, rank=rank, world_size=3)
        for batch in DataLoader(stream, batch_size=None):
            assert batch["label"].shape == (len(batch["weight"]), CLASSES)
            assert batch["label"].dtype == torch.float32
            for x, y, made in zip(batch["embedding"][:, 0], batch["label"], batch["is_synthetic"], strict=True):
                wanted = label[int(x)] if made else of_real[int(x) - 1000]
                np.testing.assert_allclose(y, wanted, atol=1e-6)
                seen += [int(x)] if made else []
    assert set(seen) == set(range(ROWS))


def test_real_rows_of_other_classes_are_refused(tmp_path):
    write(tmp_path / "kind", shares(ROWS).tolist())
    stream = open_mix(tmp_path, "kind").to_torch(real(classes=3))
    with pytest.raises(UsageError, match=r"not of the same classes: \[3, 5\]"):
        next(iter(stream))


def test_real_rows_with_a_share_too_few_are_refused(tmp_path):
    write(tmp_path / "kind", shares(ROWS).tolist())
    rows = real(4)
    ragged = pa.array([[1.0, 0.0, 0.0, 0.0, 0.0]] * 3 + [[1.0, 0.0]], label_type(multiclass=True))
    stream = open_mix(tmp_path, "kind").to_torch(rows.set_column(1, "label", ragged))
    with pytest.raises(BadInput, match="do not all have as many shares"):
        next(iter(stream))


@pytest.mark.parametrize(
    "bad",
    [[0.5, 0.4, 0.0, 0.0, 0.0], [1.2, -0.2, 0.0, 0.0, 0.0], [1.0, None, 0.0, 0.0, 0.0], [], None,
     [float("nan"), 0.0, 0.0, 0.0, 1.0], [0.5, 0.5]],
)  # fmt: skip
def test_a_label_that_is_no_shares_is_found(tmp_path, bad):
    label = shares(ROWS).tolist()
    label[11] = bad
    (found,) = write(tmp_path / "kind", label).verify()
    assert f"sample {11:024x}" in found
    assert "label" in found
