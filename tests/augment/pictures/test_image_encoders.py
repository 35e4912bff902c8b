"""Image encoders: unit vectors, cached, with a way through for gradients; loaded from files that run nothing."""

import sqlite3

import numpy as np
import pytest
import torch
from drawn import KINDS, as_bytes, drawn, drawn_bytes
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torchvision.models import get_model

from augment.base.errors import BadInput, UsageError
from augment.pictures.decoding import as_jpeg, decoded
from augment.pictures.encoders import IMAGENET, ImageEncoder, check_name, image_encoder

SIDE = 32


@pytest.fixture(scope="module")
def lite():
    return image_encoder("efficientnet-lite0", None)


def small(cache=None):
    """An encoder of no weight."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    return ImageEncoder("small@1", net, cache, shown=IMAGENET._replace(side=SIDE))


def test_vectors_are_unit_and_equal_pictures_are_encoded_once():
    encoder, seen = small(), []
    model = encoder._model
    encoder._model = lambda batch: (seen.extend(batch), model(batch))[1]
    pictures = [drawn_bytes(kind, 0) for kind in ("bag", "shoe", "bag")]
    vectors = encoder.encode(pictures)
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, encoder.dim))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[2])
    assert len(seen) == 2
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_vectors_are_cached_by_content(tmp_path):
    cache = tmp_path / "embeddings.sqlite"
    pictures = [drawn_bytes("bag", seed) for seed in range(3)]
    first = small(cache).encode(pictures)
    again = small(cache)
    again._model = None  # is not asked
    assert np.array_equal(again.encode(pictures), first)
    with sqlite3.connect(cache) as db:
        assert db.execute("SELECT count(*) FROM vectors").fetchone() == (3,)


def test_a_vector_does_not_depend_on_what_is_beside_it():
    encoder = small()
    pictures = [drawn_bytes(KINDS[n % 3], n, (40 + n, 60)) for n in range(40)]
    assert np.allclose(encoder.encode(pictures)[17:21], encoder.encode(pictures[17:21]), atol=1e-6)


def test_a_picture_is_put_whole_before_a_white_square():
    encoder = small()
    square = encoder.standardised(torch.zeros(1, 3, 40, 20))[0] * encoder._std + encoder._mean
    assert square.shape == (3, SIDE, SIDE)
    assert torch.allclose(square[:, :, :8], torch.ones(1))
    assert torch.allclose(square[:, :, 8:24], torch.zeros(1), atol=1e-6)
    assert torch.allclose(square[:, :, 24:], torch.ones(1))
    assert encoder.standardised(torch.rand(2, 3, 1, 60)).shape == (2, 3, SIDE, SIDE)


def test_gradients_flow_to_the_pixels_and_vectors_of_pixels_are_those_of_bytes():
    encoder, picture = small(), drawn_bytes("shoe", 1)
    pixels = (decoded(picture).float() / 255)[None].requires_grad_()
    found = encoder.embed_pixels(pixels)
    assert np.allclose(found.detach().numpy(), encoder.encode([picture]), atol=1e-5)
    found[0, 0].backward()
    assert pixels.grad.abs().max() > 0
    assert not any(weight.requires_grad for weight in encoder.net.parameters())


def test_steps_against_the_gradient_move_the_vector(lite):
    """As an attack on pixels does, by 8 of 255 at most."""
    pixels = (decoded(drawn_bytes("shirt", 1)).float() / 255)[None]
    before = lite.embed_pixels(pixels)
    torch.manual_seed(0)
    at_random = attacked = (pixels + 8 / 255 * torch.randn_like(pixels).sign()).clamp(0, 1)
    for _ in range(3):
        moved = attacked.clone().requires_grad_()
        (lite.embed_pixels(moved) * before).sum().backward()
        attacked = (attacked - 4 / 255 * moved.grad.sign()).clamp(pixels - 8 / 255, pixels + 8 / 255).clamp(0, 1)
    similar = [(lite.embed_pixels(x) * before).sum().item() for x in (attacked, at_random)]
    assert similar[0] < similar[1] - 0.05


def test_the_packaged_encoder_tells_drawn_garments_apart(lite):
    assert lite.name.startswith("efficientnet-lite0@")
    assert lite.dim == 1280
    label = [n % 3 for n in range(36)]
    vectors = lite.encode([drawn_bytes(KINDS[n % 3], n) for n in range(36)])
    model = LogisticRegression(C=10).fit(vectors[:12], label[:12])
    assert model.score(vectors[12:], label[12:]) > 0.9
    grey = lite.encode([as_bytes(drawn("bag", 0).convert("L")), drawn_bytes("bag", 0), drawn_bytes("shoe", 0)])
    assert grey[0] @ grey[1] > grey[0] @ grey[2]


def test_fused_weights_are_the_same_function():
    from augment.pictures.lite import Lite0

    torch.manual_seed(0)
    net = Lite0().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = net(x)
        assert torch.allclose(net.fused()(x), wanted, atol=1e-4)


@pytest.fixture(scope="module")
def squeezed(tmp_path_factory):
    """Weights of a small architecture, for five classes, in both kinds of file."""
    torch.manual_seed(0)
    net, folder = (
        get_model("shufflenet_v2_x0_5", weights=None, num_classes=5).eval(),
        tmp_path_factory.mktemp("weights"),
    )
    save_file(net.state_dict(), folder / "w.safetensors")
    torch.save(net.state_dict(), folder / "w.pth")
    return net, folder


def test_an_architecture_of_torchvision_with_weights_from_a_file(squeezed):
    net, folder = squeezed
    found = [image_encoder(f"torchvision:shufflenet_v2_x0_5:{folder}/w.{end}", None) for end in ("safetensors", "pth")]
    assert found[0].name == found[1].name
    assert found[0].dim == 1024
    x = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        logits = found[0].net(found[0].standardised(x)) @ net.fc.weight.T + net.fc.bias
        assert torch.allclose(logits, net(found[0].standardised(x)), atol=1e-4)


def test_what_cannot_be_loaded_is_said_in_a_line(squeezed, tmp_path):
    _, folder = squeezed
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    torch.save({"run": print}, tmp_path / "code.pth")
    for name in (
        f"torchvision:resnet18:{folder}/w.safetensors",  # of another architecture
        f"torchvision:resnet18:{tmp_path}/none.safetensors",
        f"torchvision:resnet18:{tmp_path}/bad.pth",
        f"torchvision:resnet18:{tmp_path}/code.pth",
        str(tmp_path),  # no model
    ):
        with pytest.raises(BadInput, match=r"^encoder '.*' cannot be loaded \(.*\); 'efficientnet-lite0' is always"):
            image_encoder(name, None)


def test_names_that_are_none():
    check_name("efficientnet-lite0")
    check_name("torchvision:resnet18:w.safetensors")
    for name, said in {
        "minilm": "no image encoder 'minilm': give 'efficientnet-lite0', 'torchvision:ARCHITECTURE:FILE', or a folder",
        "torchvision:resnet81:w.pth": "torchvision has no architecture 'resnet81'; did you mean 'resnet18'",
        "torchvision:resnet18": "name its weights, a file .safetensors, .pth, .pt, after another colon",
    }.items():
        with pytest.raises(UsageError) as error:
            check_name(name)
        assert said in str(error.value)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP of next to no size and random weights, saved as sentence-transformers has it."""
    import json

    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b"]
    source = tmp_path_factory.mktemp("tokens")
    (source / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}), "utf-8")
    (source / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=24)
    CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    tokenizer = CLIPTokenizer(str(source / "vocab.json"), str(source / "merges.txt"))
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module]), "utf-8")
    return folder


def test_the_folder_of_an_image_model_of_sentence_transformers(clip):
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    encoder = image_encoder(str(clip), None)
    assert encoder.name.startswith("tiny-clip@")
    assert (encoder.dim, encoder.side) == (24, 32)
    square = as_jpeg(decoded(drawn_bytes("bag", 1, (32, 32))))
    pixels = decoded(square)
    theirs = SentenceTransformer(str(clip), device="cpu").encode([Image.fromarray(pixels.permute(1, 2, 0).numpy())])
    assert encoder.encode([square])[0] @ theirs[0] / np.linalg.norm(theirs[0]) > 0.999
    x = (pixels.float() / 255)[None].requires_grad_()
    encoder.embed_pixels(x)[0, 0].backward()
    assert x.grad.abs().max() > 0


def test_a_folder_that_brings_code_is_refused(clip, tmp_path):
    import json
    import shutil

    folder = tmp_path / "evil"
    shutil.copytree(clip, folder)
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]), "utf-8"
    )
    with pytest.raises(BadInput, match=r"names the class evil\.Module"):
        image_encoder(str(folder), None)


def test_the_module_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, augment.pictures.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
