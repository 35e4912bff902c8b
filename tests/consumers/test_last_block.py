"""A classifier of pictures that tunes the encoder's last block."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from augment.base.errors import BadInput, UsageError
from augment.modalities.images import Images
from augment.numeric.columns import labels_of
from augment.pictures.halves import Trunk
from augment.testing import consumers as suites
from augment.testing.data import glimpses
from augment.testing.shop import around
from consumers import image
from consumers.image import Image
from consumers.models import last_block
from consumers.models.last_block import LastBlock, Learnt, Pictures
from consumers.training.adversarial import Settings

TUNED = {"model": "last-block", "encoder": "efficientnet-lite0", "C": 3.0, "pixel_rows": 24}
ENCODER = glimpses()  # in that one's place
TRUNK = Trunk(ENCODER)

TestLastBlock = suites.suite(Image, options=TUNED)


@pytest.fixture(autouse=True)
def _small_encoder(monkeypatch):
    monkeypatch.setattr(image, "_encoder", lambda name, device: ENCODER)
    monkeypatch.setattr(image, "_trunk", lambda name, device: TRUNK)


@pytest.fixture(scope="module")
def shop():
    return around(Image, options=TUNED)


def test_the_block_moves_and_the_encoder_does_not(shop):
    before = [weight.clone() for weight in ENCODER.net.parameters()]
    model = shop.victim
    assert all(torch.equal(*pair) for pair in zip(before, ENCODER.net.parameters(), strict=True))
    moved = zip(model.tuned_.tail.parameters(), TRUNK.tail().parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in moved)


def test_it_learns_what_no_layer_on_the_frozen_vectors_can(shop, monkeypatch):
    """These say nothing here, and pictures do."""
    monkeypatch.setattr(last_block, "RATE", 3e-4)  # so small a network needs no less
    train, (valid, test) = shop.real.train, shop.held_out
    flat = {name: _without_vectors(rows) for name, rows in {"train": train, "valid": valid, "test": test}.items()}
    model = Image(**TUNED).fit(flat["train"], flat["valid"])
    frozen = Image(C=3.0).fit(flat["train"], flat["valid"])
    ours, theirs = (one.evaluate(flat["test"], {})["logloss"].value() for one in (model, frozen))
    assert ours < theirs - 0.1


def _without_vectors(rows):
    same = pa.array(np.full((len(rows), ENCODER.dim), ENCODER.dim**-0.5, np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(same, ENCODER.dim)
    return rows.set_column(rows.column_names.index("embedding"), "embedding", pa.chunked_array([column]))


def test_what_is_no_better_on_validation_rows_is_not_taken(shop):
    model = shop.victim
    start = last_block.untuned(TRUNK, model.net_)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    rows, valid = shop.real.train, shop.held_out[0]
    wrong = torch.from_numpy(1 - labels_of(rows["label"])) / 2
    learnt = Learnt(Pictures(rows["image"].to_pylist(), TRUNK), wrong, torch.ones(len(rows)))
    unseen = (Pictures(valid["image"].to_pylist(), TRUNK), torch.from_numpy(labels_of(valid["label"])))
    after = last_block.tune(start, learnt, unseen, Settings(), 3, "cross-entropy", 0).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_statistics_of_normalisations_stay_while_it_learns():
    net = LastBlock(torch.nn.BatchNorm2d(3), torch.nn.Linear(3, 2)).train()
    assert net.linear.training
    assert not net.tail.training


def test_the_victim_answers_on_vectors_much_as_the_tuned_model_does_on_pictures(shop):
    test, model = shop.held_out[1], shop.victim
    said = model.predict(test)
    logit = model.net_(torch.from_numpy(ENCODER.encode(test["image"].to_pylist())))
    alike = np.corrcoef(np.log(said[:, 0] + 1e-6), torch.log_softmax(logit, 1)[:, 0].detach())[0, 1]
    assert alike > 0.8


def test_pixels_are_attacked_through_the_tuned_block_and_vectors_are_not(shop):
    test, model = shop.held_out[1], shop.victim
    attacked = {"pool": shop.real.prepared.attach(Image(attacked_rows=4).attacks(test, 0)["pool"])}
    found = model.evaluate(test, attacked)
    assert np.isfinite(found["accuracy_pixels"].value())
    assert np.isnan(found["accuracy_pgd"].value())
    assert np.isnan(found["accuracy_apgd"].value())
    pixels = torch.rand(3, 3, 32, 32)
    whole = model.tuned_(TRUNK.net(ENCODER.standardised(pixels)))
    assert torch.equal(model.logits_of_pixels(ENCODER)(pixels), whole)
    assert not torch.allclose(whole, model.net_(ENCODER.embed_pixels(pixels)), atol=1e-3)


def test_a_model_that_was_tuned_from_other_weights_is_said(shop, tmp_path):
    shop.victim.save(tmp_path)
    settings = json.loads((tmp_path / "model.json").read_text("utf-8"))
    assert settings["encoder"] == "glimpses@1"
    (tmp_path / "model.json").write_text(json.dumps({**settings, "encoder": "glimpses@2"}), "utf-8")
    with pytest.raises(BadInput, match=r"was tuned from encoder glimpses@2; here is glimpses@1"):
        Image.load(tmp_path)


def test_without_an_encoder_there_is_nothing_to_tune():
    with pytest.raises(UsageError, match=r"model 'last-block' needs `encoder`"):
        Image(model="last-block")


def test_samples_without_pictures_are_refused(shop):
    rows = shop.real.train
    nothing = pa.StructArray.from_arrays([pa.nulls(len(rows), pa.binary())], fields=list(Images.decoded))
    mix = rows.drop_columns(["image"]).append_column("decoded", nothing)
    mix = mix.append_column("weight", pa.array(np.ones(len(rows), np.float32)))
    with pytest.raises(UsageError, match=r"learns from pictures, and (\d+) of \1 samples are vectors alone"):
        Image(**TUNED).fit(rows, shop.held_out[0], mix)
