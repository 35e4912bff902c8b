"""A published mix of pictures, and the encoder whose vectors they are."""

import numpy as np
import pyarrow as pa
import pytest

from augment.base.errors import UsageError
from augment.contracts.sample import sample_schema
from augment.pictures.decoding import normalised
from augment.pictures.encoders import image_encoder
from augment.publishing.dataset import Dataset
from augment.publishing.manifest import Manifest
from augment.testing.data import picture
from consumers import open_mix

NAME = "efficientnet-lite0"


def publish(root, pictures, vectors, encoder):
    schema = sample_schema(pa.struct([("image", pa.binary())]))
    count = len(pictures)
    values = {
        "sample_id": [f"{n:024x}" for n in range(count)],
        "embedding": vectors.tolist(),
        "decoded": [{"image": content} for content in pictures],
        "run": ["a" * 16] * count,
    }
    rows = pa.table({name: values.get(name, pa.nulls(count, schema.field(name).type)) for name in schema.names}, schema)
    dataset = Dataset(root)
    with dataset.stage("a" * 16) as stage:
        stage.write(rows)
        settings = {"task": {"encoder": NAME}}
        dataset.publish(
            stage,
            Manifest(
                run="a" * 16, task="t", status="published", settings=settings, inputs={}, encoders=[encoder],
                dim=vectors.shape[1], seed=0, packages={}, gates={}, result={}, files=stage.files, parent=None,
            ),
        )  # fmt: skip


def test_pictures_come_back_as_they_were_and_its_encoder_encodes_beside_them(tmp_path):
    encoder = image_encoder(NAME, None)
    pictures = [normalised(picture(bool(n % 2), n)) for n in range(3)]
    vectors = encoder.encode(pictures)
    publish(tmp_path / "out" / "kinds", pictures, vectors, encoder.name)
    mix = open_mix(tmp_path / "out", "kinds")
    rows = mix.to_table()
    assert [row["image"] for row in rows["decoded"].to_pylist()] == pictures
    np.testing.assert_allclose(mix.encoder().encode(pictures), np.stack(rows["embedding"].to_pylist()), atol=1e-5)


def test_another_encoder_than_it_was_made_with_is_refused(tmp_path):
    publish(tmp_path / "out" / "kinds", [picture(True, 1)], np.ones((1, 1280), np.float32), f"{NAME}@another")
    with pytest.raises(UsageError, match=rf"was made with encoder {NAME}@another; here is {NAME}@"):
        open_mix(tmp_path / "out", "kinds").encoder()
