"""A classifier of pictures: its attacks, and the one on pixels."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from augment.base.errors import UsageError
from augment.modalities.images import Images
from augment.numeric.columns import as_labels
from augment.pictures.decoding import decoded
from augment.pictures.edits import FAMILIES, HELD_OUT
from augment.testing.data import glimpses, picture, rows_of
from augment.testing.shop import around
from consumers import image
from consumers.image import Image
from consumers.scoring import pixels
from consumers.scoring.pixels import right_under_pixels


@pytest.fixture(scope="module")
def shop():
    return around(Image, options={"model": "logistic", "C": 30.0})


def test_a_picture_is_attacked_by_each_family_and_by_none_that_generation_has(shop):
    test, model = shop.held_out[1], Image(attacked_rows=5, variants=2)
    made = model.attacks(test, 1)
    assert len(made["pool"]) == 5 * 2 * len(FAMILIES)
    assert len(made["unseen"]) == 5 * len(HELD_OUT)
    assert not {*FAMILIES} & {*HELD_OUT}
    own = dict(zip(test["row_id"].to_pylist(), test["image"].to_pylist(), strict=True))
    for row in made["unseen"].to_pylist():
        assert decoded(row["image"]).shape == decoded(own[row["row_id"]]).shape
        assert row["image"] != own[row["row_id"]]


def test_without_an_encoder_pixels_are_not_measured(shop):
    test = shop.held_out[1]
    attacked = {"pool": shop.real.prepared.attach(Image(attacked_rows=4).attacks(test, 0)["pool"])}
    assert np.isnan(shop.victim.evaluate(test, attacked)["accuracy_pixels"].value())


def test_an_attack_on_pixels_is_small_and_worse_than_chance_moves(shop, monkeypatch):
    encoder, test = glimpses(), shop.held_out[1]
    monkeypatch.setattr(image, "_encoder", lambda name, device: encoder)
    shop.victim.options = shop.victim.options.model_copy(update={"pixel_rows": 20})
    monkeypatch.setattr(shop.victim, "encoder", "glimpses")
    attacked = {"pool": shop.real.prepared.attach(Image(attacked_rows=40).attacks(test, 0)["pool"])}
    found = shop.victim.evaluate(test, attacked)
    clean, under = found["accuracy"].value(), found["accuracy_pixels"].value()
    assert under < clean - 0.1
    assert found["accuracy_pixels"].size == found["accuracy_pixels_far"].size == 20
    assert found["accuracy_pixels_far"].value() <= under


@pytest.mark.parametrize("reach", [pixels.REACH, pixels.FAR])
def test_no_pixel_moves_further_than_it_may(monkeypatch, reach):
    seen = []
    encoder = glimpses()
    look = encoder.embed_pixels
    monkeypatch.setattr(encoder, "embed_pixels", lambda x: seen.append(x.detach()) or look(x))
    body = torch.nn.Linear(encoder.dim, 3)
    pictures, label = [picture(n % 2 == 0, n) for n in range(10)], np.eye(3, dtype=np.float32)[np.arange(10) % 3]
    right = right_under_pixels(encoder, lambda x: body(encoder.embed_pixels(x)), pictures, label, reach)
    assert right.shape == (10,)
    assert set(right) <= {0.0, 1.0}
    first = seen[0]
    for moved in seen[1 : pixels.STEPS + 1]:
        assert (moved - first).abs().max() <= reach + 1e-6
    assert (seen[pixels.STEPS] - first).abs().max() > reach / 2


def test_a_saved_classifier_of_pictures_keeps_its_rarest_classes(tmp_path):
    rows = rows_of(Images, multiclass=True)
    kind = np.array(rows["label"].to_pylist()).argmax(axis=1)
    few = rows.take(pa.array(np.concatenate([np.flatnonzero(kind < 2), np.flatnonzero(kind == 2)[:6]])))
    table = Images(glimpses()).attach(few)
    model = Image(C=3.0).fit(table, table)
    assert model.rare_ == [2]
    model.save(tmp_path)
    again = Image.load(tmp_path)
    assert again.rare_ == [2]
    assert np.allclose(again.predict(table), model.predict(table), atol=1e-6)
    assert as_labels(model.predict(table)).type == pa.list_(pa.float32())


def test_another_encoder_than_the_rows_have_is_said(shop, monkeypatch):
    monkeypatch.setattr(image, "_encoder", lambda name, device: SimpleNamespace(dim=7))
    model = Image(C=1.0, attacked_rows=3, pixel_rows=3, encoder="other").fit(*shop.held_out)
    with pytest.raises(UsageError, match="has vectors of 7 numbers, and the rows' have"):
        model.evaluate(
            shop.held_out[1], {"pool": shop.real.prepared.attach(model.attacks(shop.held_out[1], 0)["pool"])}
        )
