"""An encoder in two: together they are the encoder, and what the trunk made is kept."""

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from augment.base.errors import UsageError
from augment.pictures import halves
from augment.pictures.encoders import IMAGENET, ImageEncoder, image_encoder
from augment.pictures.halves import Trunk
from augment.testing.data import glimpses, picture


def of(architecture, head, side=64):
    """A torchvision classifier of random weights without its last layer, as `image_encoder` makes one."""
    torch.manual_seed(0)
    net = get_model(architecture, weights=None)
    net.set_submodule(head, torch.nn.Identity())
    return ImageEncoder(f"{architecture}@1", net, None, shown=IMAGENET._replace(side=side))


PICTURES = [picture(n % 2 == 0, n) for n in range(6)]


@pytest.mark.parametrize(
    ("made", "block"),
    [
        (lambda: image_encoder("efficientnet-lite0", None), "_Block"),
        (glimpses, "Conv2d"),
        (lambda: of("resnet18", "fc"), "BasicBlock"),
        (lambda: of("mobilenet_v3_small", "classifier.3"), "InvertedResidual"),
    ],
)
def test_the_halves_are_the_encoder_and_the_tail_begins_with_the_last_block(made, block):
    encoder = made()
    trunk = Trunk(encoder)
    tail = trunk.tail()
    assert type(next(tail.children())).__name__ == block
    with torch.no_grad():
        made = trunk.net(encoder.squares(PICTURES))
        found = torch.nn.functional.normalize(tail(made), dim=1)
    assert np.allclose(found, encoder.encode(PICTURES), atol=1e-5)
    assert torch.allclose(trunk.pictures(PICTURES), made, rtol=1e-3, atol=1e-6)  # half precision
    assert all(weight.requires_grad for weight in tail.parameters())
    assert not any(weight.requires_grad for weight in encoder.net.parameters())


def test_an_encoder_that_is_no_chain_of_blocks_is_refused():
    with pytest.raises(UsageError, match=r"^encoder 'densenet121@1' has no last block .*: efficientnet-lite0 and"):
        Trunk(of("densenet121", "classifier", 32))
    with pytest.raises(UsageError, match=r"^encoder 'vit_b_32@1' has no last block"):
        Trunk(of("vit_b_32", "heads.head", 224))


@pytest.mark.parametrize("room", [6, 2])
def test_each_picture_goes_through_the_trunk_once_while_there_is_room(monkeypatch, room):
    trunk = Trunk(glimpses())
    first = trunk.pictures(PICTURES[:1])
    monkeypatch.setattr(halves, "MOST", room * first[0].numel() * 2)
    seen = []
    squares = trunk.encoder.squares
    monkeypatch.setattr(trunk.encoder, "squares", lambda pictures: seen.extend(pictures) or squares(pictures))
    every = trunk.pictures(PICTURES + PICTURES[:1])
    assert torch.equal(every[0], first[0])
    assert torch.equal(every[6], first[0])
    assert len(seen) == 5
    assert torch.equal(trunk.pictures(PICTURES[::-1]), every[:6].flip(0))
    assert len(seen) == 5 + len(PICTURES) - room


def test_gradients_go_through_the_trunk_to_the_pixels():
    trunk = Trunk(glimpses())
    pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    trunk.tail()(trunk.pixels(pixels)).square().sum().backward()
    assert pixels.grad.abs().sum() > 0
