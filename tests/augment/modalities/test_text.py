import numpy as np
import pyarrow as pa
import pytest

from augment.contracts.values import Anchors
from augment.generation.studio import build_bank
from augment.language.encoders import TextEncoder
from augment.modalities.text import BLEND, Text
from augment.numeric.vectors import cosine

WORDS = ["wonderful", "terrible", "sleeves", "trousers", "colour", "fabric", "waistband", "pockets", "seams", "hem"]


def by_words(texts):
    """Counts of the known words, and one place for all other words."""
    out = np.zeros((len(texts), len(WORDS) + 1), np.float32)
    for i, text in enumerate(texts):
        for word in text.split():
            out[i, WORDS.index(word) if word in WORDS else -1] += 1 if word in WORDS else 0.3
    return out + 1e-3


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(WORDS)) for _ in range(80)]
    return shop_of(texts)


def shop_of(texts):
    modality = Text(TextEncoder("words@1", len(WORDS) + 1, by_words, None))
    rows = modality.attach(pa.table({"row_id": [f"r{i}" for i in range(len(texts))], "text": texts}))
    label = np.zeros(len(rows), np.float32)
    anchors = Anchors(rows, modality.encode(rows), label, modality.describe(rows, label, np.random.default_rng(0)), "")
    return modality, anchors, build_bank(anchors, modality, 40, 4, np.random.default_rng(1))


def decoded(shop, step, seed=0):
    modality, anchors, bank = shop
    rows, vectors = modality.decode(anchors.embedding + step, anchors.rows, bank, np.random.default_rng(seed))
    np.testing.assert_allclose(vectors, modality.model.encode(rows["text"].to_pylist()), atol=1e-6)
    return rows["text"].to_pylist(), vectors


def towards(*words, length):
    step = np.zeros(len(WORDS) + 1, np.float32)
    step[[WORDS.index(word) for word in words]] = -length
    return step


def lost(texts):
    """How often each of the words is not there."""
    return {word: sum(word not in text.split() for text in texts) for word in WORDS}


def test_a_move_away_from_a_word_edits_that_word_in_the_anchors_own_text(shop):
    found = lost(decoded(shop, towards("terrible", length=shop[2].scale * 0.6))[0])
    assert found["terrible"] > 60
    assert max(count for word, count in found.items() if word != "terrible") < 40


def test_the_vector_moves_as_it_was_told(shop):
    step = towards("terrible", "seams", length=shop[2].scale * 0.6)
    vectors = decoded(shop, step)[1]
    real = vectors - shop[1].embedding
    assert cosine(real, np.tile(step, (len(real), 1))).mean() > 0.4


def test_a_longer_move_edits_more_words(shop):
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(shop[1].embedding.shape).astype(np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    touched = [sum(lost(decoded(shop, direction * shop[2].scale * times)[0]).values()) for times in (0.5, 1.0, 1.4)]
    assert touched[0] * 1.5 < touched[1]
    assert touched[1] * 1.3 < touched[2]


def test_what_did_not_move_keeps_its_text_and_what_moved_a_little_does_not(shop):
    texts = shop[1].rows["text"].to_pylist()
    assert decoded(shop, np.float32(0))[0] == texts
    moved = decoded(shop, towards("hem", length=0.01))[0]
    assert all(new != old for new, old in zip(moved, texts, strict=True))


def test_the_same_seed_gives_the_same_texts_and_another_others(shop):
    step = towards("colour", length=0.3)
    assert decoded(shop, step, 1)[0] == decoded(shop, step, 1)[0]
    assert decoded(shop, step, 1)[0] != decoded(shop, step, 2)[0]


def test_edits_of_a_family_that_knows_nothing_of_a_script_become_typos():
    """No word is dropped, and no letter looks alike, where there are only Chinese characters."""
    modality, anchors, bank = shop_of(["这件衣服很漂亮我很喜欢", "质量太差了再也不买了", "物流很快包装也好"] * 10)
    assert set(bank.rows["edit"].to_pylist()) <= {"typos", "spacing"}
    moved = anchors.embedding + np.float32(0.1)
    rows, _ = modality.decode(moved, anchors.rows, bank, np.random.default_rng(0))
    assert all(map(str.__ne__, rows["text"].to_pylist(), anchors.rows["text"].to_pylist()))


def test_nothing_is_decoded_of_texts_that_no_edit_changes():
    modality, anchors, bank = shop_of(["1", "2", "3"] * 10)
    rows, vectors = modality.decode(anchors.embedding + 1, anchors.rows, bank, np.random.default_rng(0))
    assert rows["text"].equals(anchors.rows["text"])
    np.testing.assert_allclose(vectors, anchors.embedding)


def test_a_blend_is_of_every_family(shop):
    modality, anchors, _ = shop
    copies = modality.perturb(anchors.rows, np.random.default_rng(0))
    assert set(copies["edit"].to_pylist()) == set(BLEND)
    changed = map(str.__ne__, copies["text"].to_pylist(), anchors.rows["text"].to_pylist())
    assert sum(changed) > 70
