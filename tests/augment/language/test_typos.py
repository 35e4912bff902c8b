import difflib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.language.typos import RATE, homophones, look_alike, respelt, spacing, typo, units, unseen, word_drop

ENGLISH = "I really love this dress, the colour is beautiful and it fits perfectly around the waist"
CHINESE = "房间不错，有电脑，可以免费上网，服务员态度也很好，下次还会再来住的"


HELD_OUT = [unseen, respelt]
FAMILIES = [typo, spacing, look_alike, word_drop, *HELD_OUT]


@pytest.mark.parametrize("family", [typo, unseen])
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_a_copy_is_changed_yet_close_and_the_same_for_a_seed(family, text):
    copies = [family(text, np.random.default_rng(seed)) for seed in range(50)]
    assert copies == [family(text, np.random.default_rng(seed)) for seed in range(50)]
    assert len(set(copies)) > 40
    likeness = [difflib.SequenceMatcher(None, text, copy).ratio() for copy in copies]
    assert 0.6 < np.mean(likeness) < 0.99


@pytest.mark.parametrize("text", ["", "a", "ok", " ", "好"])
def test_nothing_to_change_is_left_alone_or_stays_text(text):
    for seed in range(20):
        assert isinstance(typo(text, np.random.default_rng(seed)), str)
        assert isinstance(unseen(text, np.random.default_rng(seed)), str)


@pytest.mark.parametrize("held_out", HELD_OUT)
@pytest.mark.parametrize("family", [typo, spacing, look_alike, word_drop])
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_the_held_out_families_share_no_copy_with_those_used_for_generation(family, held_out, text):
    copies = {family(text, np.random.default_rng(seed)) for seed in range(200)}
    others = {held_out(text, np.random.default_rng(seed)) for seed in range(200)}
    assert not copies & others - {text}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_changes_english(family):
    copies = [family(ENGLISH, np.random.default_rng(seed), RATE) for seed in range(50)]
    assert sum(copy != ENGLISH for copy in copies) > 35


def test_words_are_spelt_as_they_sound():
    assert respelt("you", np.random.default_rng(0), 1.0) == "u"
    assert "nite" in {respelt("night", np.random.default_rng(seed), 1.0) for seed in range(20)}


def test_homophones_sound_the_same():
    changed = homophones("他在家", np.random.default_rng(0), {"他": "她它", "在": "再"}, 2.0)
    assert changed[0] in "她它"
    assert changed[1:] == "再家"


def test_the_rate_says_how_many_words_change():
    words = " ".join(["wonderful"] * 1000)
    changed = [word for word in typo(words, np.random.default_rng(0), rate=0.2).split(" ") if word != "wonderful"]
    assert 120 < len(changed) < 260


@given(st.text().filter(lambda text: "\0" not in text), st.integers(0, 2**32), st.floats(0, 1))
def test_any_text_gives_text_and_rate_zero_changes_nothing(text, seed, rate):
    for family in FAMILIES:
        assert "\0" not in family(text, np.random.default_rng(seed), rate)
        assert family(text, np.random.default_rng(seed), 0.0) == text


@pytest.mark.parametrize("text", [CHINESE, "とてもかわいいワンピースでした"])
def test_where_there_are_no_words_characters_change(text):
    rng = np.random.default_rng(0)
    copies = [typo(text, rng, rate=1.0) for _ in range(50)]
    assert len(set(copies)) > 40
    assert all(set(copy) <= set(text) for copy in copies)
    for copy in (unseen(text, rng, rate=1.0) for _ in range(50)):
        assert "".join(c for c in copy if c in text) == text  # insertions alone


def test_thousands_of_texts_take_a_second():
    rng, start = np.random.default_rng(0), time.perf_counter()
    for _ in range(2000):
        typo(ENGLISH, rng)
        unseen(CHINESE, rng)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("family", [typo, spacing, look_alike, word_drop])
def test_the_words_of_the_greatest_rank_are_touched_and_as_many_as_the_rate_says(family):
    text = "lovely dress terrible sleeves beautiful waistband"
    ranks = dict(zip(text.split(), (0, 1, 5, 2, 4, 3), strict=True))
    touched = set()
    for seed in range(20):
        copy = family(text, np.random.default_rng(seed), 1 / 3, lambda words: np.array([ranks[w] for w in words]))
        touched |= set(text.split()) - set(copy.split())
    assert touched >= {"terrible", "beautiful"}
    assert touched <= {"terrible", "beautiful", "sleeves", "waistband"}  # the second of two that run together


def test_characters_have_ranks_where_words_are_not_spaced():
    copies = {
        typo(CHINESE, np.random.default_rng(seed), 0.1, lambda found: -np.arange(len(found))) for seed in range(40)
    }
    assert {copy[3:] for copy in copies if len(copy) == len(CHINESE)} == {CHINESE[3:]}
    assert len(copies) > 1


@given(st.text(), st.integers(0, 99), st.floats(0, 1))
def test_ranks_are_asked_of_units_of_the_text(text, seed, rate):
    asked = []

    def rank(words):
        asked.extend(words)
        return np.ones(len(words))

    for family in (typo, spacing, look_alike):
        family(text, np.random.default_rng(seed), rate, rank)
    assert set(asked) <= set(units(text))
