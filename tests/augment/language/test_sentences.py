import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.language.sentences import blend

ONE = "The fabric is soft. It fits me well! I wear it every day... Would buy again."
OTHER = "Arrived late. The colour faded? Nobody answered."


def made(one, other, share):
    return [blend(one, other, share, np.random.default_rng(seed)) for seed in range(50)]


def test_sentences_of_both_stay_whole_and_in_their_order():
    sentences = ["The fabric is soft.", "It fits me well!", "I wear it every day...", "Would buy again.",
                 "Arrived late.", "The colour faded?", "Nobody answered."]  # fmt: skip
    for text, _ in made(ONE, OTHER, 0.5):
        places = [text.find(sentence) for sentence in sentences if sentence in text]
        assert places == sorted(places)
        assert text == " ".join(sentence for sentence in sentences if sentence in text)
        assert any(s in text for s in sentences[:4])
        assert any(s in text for s in sentences[4:])


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_the_share_is_about_what_was_asked_and_what_came_out_is_said(share):
    shares = [mine for _, mine in made(ONE * 3, OTHER * 4, share)]
    assert np.mean(shares) == pytest.approx(share, abs=0.12)
    text, mine = blend("Good.", "Bad.", 0.9, np.random.default_rng(0))
    assert (text, mine) == ("Good. Bad.", 5 / 9)


def test_of_one_sentence_words_are_taken_in_a_row():
    one, other = "soft warm light cheap", "broken dirty late torn"
    for text, mine in made(one, other, 0.5):
        words = text.split()
        assert " ".join(words[:2]) in one
        assert " ".join(words[2:]) in other
        assert 0.4 < mine < 0.6


def test_where_words_are_not_spaced_neither_are_the_parts():
    texts = {text for text, _ in made("衣服很漂亮。我很喜欢。", "质量太差了。不买了。", 0.5)}
    assert "衣服很漂亮。质量太差了。" in texts
    assert not any(" " in text for text in texts)


@given(st.text(), st.text(), st.floats(0, 1), st.integers(0, 99))
def test_any_texts_give_a_text_and_a_share(one, other, share, seed):
    text, mine = blend(one, other, share, np.random.default_rng(seed))
    assert isinstance(text, str)
    assert 0 <= mine <= 1
