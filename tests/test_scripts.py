"""Typing errors in scripts without spaces, in mixed texts, and in letters that are several code points."""

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from augment.language.lexicon import suited
from augment.language.typos import (
    RATE,
    WORD,
    _clusters,
    homophones,
    look_alike,
    mostly_unspaced,
    respelt,
    say_touched,
    spacing,
    touched,
    typo,
    unseen,
    unspaced,
    word_drop,
)

WITHOUT_SPACES = {
    "Thai": "รองเท้าสวยมากใส่เดินทั้งวันไม่เจ็บเท้าเลยส่งไวกล่องไม่บุบราคาก็ดีด้วยค่ะ",
    "Lao": "ເກີບງາມຫຼາຍໃສ່ຍ່າງໝົດມື້ບໍ່ເຈັບຕີນສົ່ງໄວລາຄາດີ",
    "Khmer": "ស្បែកជើងស្អាតណាស់ពាក់ដើរពេញមួយថ្ងៃមិនឈឺជើងទេដឹកជញ្ជូនលឿន",
    "Burmese": "ဖိနပ်ကအရမ်းလှတယ်တစ်နေ့လုံးလမ်းလျှောက်လည်းခြေထောက်မနာဘူးပို့တာလည်းမြန်တယ်",
    "Japanese": "とても歩きやすい靴で一日中はいても足が痛くならないし届くのも早かったです",
    "Chinese": "鞋子很漂亮走了一整天脚也不疼发货很快盒子没有压坏价格也合适",
}
ENGLISH = "These shoes are really pretty and walking a whole day does not hurt, delivery was quick too"
OTHERS = ["หมวก nice e\u0301le\u0301gant 👩‍👩‍👧‍👦 🇹🇭 帽子", "क्षत्रिय की किताब बहुत अच्छी"]
FAMILIES = [typo, spacing, look_alike, word_drop, unseen, respelt]


def copies(family, text, count=200):
    return [family(text, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("family", [typo, spacing, unseen, respelt])
@pytest.mark.parametrize("script", WITHOUT_SPACES)
def test_about_as_many_words_are_touched_as_were_asked(script, family):
    text = WITHOUT_SPACES[script]
    made = copies(family, text)
    assert 0.2 < touched((text, copy) for copy in made) < 0.4
    assert sum(copy == text for copy in made) < 0.1 * len(made)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text", [*WITHOUT_SPACES.values(), "หมวก nice e\u0301le\u0301gant 👩‍👩‍👧‍👦 🇹🇭 帽子", "क्षत्रिय की किताब बहुत अच्छी"]
)
def test_no_grapheme_cluster_is_taken_apart(text, family):
    known = {*_clusters(text), *"*~_^ ", *_clusters(text.lower())}
    for copy in copies(family, text, 60):
        strange = {c for c in _clusters(copy) if c not in known}
        assert all(len(c) == 1 and c.isascii() for c in strange)  # neighbours on a keyboard, other spellings


def test_the_marks_of_a_syllable_stay_with_it():
    for text in WITHOUT_SPACES.values():
        for family in (typo, spacing, unseen, respelt):
            for copy in copies(family, text, 40):
                before = [c for c in _clusters(copy) if c in "*~_^ "]
                assert len(before) + len(_clusters(text)) * 3 > len(_clusters(copy))
                assert not regex.search(r"(^|[*~_^ ])\p{M}", copy)  # no mark stands on a sign or on nothing


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mark", ["好", "ดี", "。", "🙂", "é"])
def test_one_foreign_sign_leaves_a_text_one_of_words(family, mark):
    plain = touched((ENGLISH, copy) for copy in copies(family, ENGLISH))
    text = f"{ENGLISH} {mark}"
    mixed = touched((text, copy) for copy in copies(family, text))
    assert abs(mixed - plain) < 0.06


def test_each_part_of_a_mixed_text_is_edited_in_its_own_way():
    chinese, english = "质量很好下次还会再来", "would absolutely recommend these shoes"
    made = copies(unseen, f"{chinese} {english}")
    apart = [copy.split("来", 1) for copy in made]
    assert 0.2 < touched((chinese, first + "来") for first, _ in apart) < 0.4
    assert 0.2 < touched((english, second.lstrip(" *~_^")) for _, second in apart) < 0.4


@pytest.mark.parametrize(
    ("text", "anywhere", "mostly"),
    [("plain", False, False), ("", False, False), ("12 !", False, False), ("好", True, True),
     ("很好 ok", True, True), ("Nice shoes, 很好", True, False), ("สวยมาก A+", True, True),
     ("신발이 예뻐요", False, False)],
)  # fmt: skip
def test_whether_a_text_has_spaces_is_a_matter_of_its_words(text, anywhere, mostly):
    assert (unspaced(text), mostly_unspaced(text)) == (anywhere, mostly)
    assert suited(text) == ("cilin" if mostly else "wordnet")


def test_shares_are_said_and_little_is_called_little(capsys):
    shoes = ["신발이 예쁘고 하루 종일 걸어도 발이 안 아파요"] * 20
    shares = say_touched({
        "typos": zip(shoes, [typo(t, np.random.default_rng(i)) for i, t in enumerate(shoes)], strict=True),
        "look-alike": zip(shoes, [look_alike(t, np.random.default_rng(0)) for t in shoes], strict=True),
        "nothing": [("", "")],
    })  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(shares) == 2
    assert said[1] == "look-alike touched 0% of words, 30% were asked"
    assert shares["typos"] > 0.0


@pytest.mark.parametrize(
    ("text", "copy", "share"),
    [("a b c d", "a b c d", 0.0), ("a b c d", "a x c d", 0.25), ("a b c d", "", 1.0), ("", "a", float("nan")),
     ("a b c d", "a b c d e", 0.25), ("好" * 17, "好" * 16 + "坏", 0.1), ("好" * 17, "好" * 9 + " " + "好" * 8, 0.1)],
)  # fmt: skip
def test_the_share_of_touched_words(text, copy, share):
    np.testing.assert_allclose(touched([(text, copy)]), share)


def test_homophones_of_a_mixed_text_are_of_its_chinese_part():
    alike = {"好": "号", "很": "狠"}
    made = [homophones("很好 very good 很好", np.random.default_rng(s), alike, RATE * WORD) for s in range(50)]
    assert all(" very good " in copy for copy in made)
    assert len(set(made)) > 5


PARTS = [*"abc d,é1", "好", "の", "ー", "ดี", "่", "្", "ក", "မ", "့", "e\u0301", "👩‍👧", "\u200d", "한"]
scripts = st.lists(st.sampled_from(PARTS)).map("".join)


@given(scripts, st.integers(0, 99), st.floats(0, 1))
def test_any_mixture_keeps_its_length_where_only_signs_are_added(text, seed, rate):
    for family in FAMILIES:
        copy = family(text, np.random.default_rng(seed), rate)
        assert "\0" not in copy
        assert rate or copy == text
    added = spacing(text, np.random.default_rng(seed), rate)
    assert added.replace(" ", "") == text.replace(" ", "")
