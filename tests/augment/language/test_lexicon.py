import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from debian import debian_root, wordnet  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.base.errors import BadInput, UsageError
from augment.contracts.strategy import Workshop
from augment.language import lexicon as lexicons
from augment.language.encoders import TextEncoder
from augment.language.lexicon import available, homophones, lexicon, replace_words
from augment.modalities.text import Text
from augment.sources import demo as demo_data
from augment.strategies.synonym import Synonym

REVIEW = "I bought this dress, and it's a lovely gift! The fabric is comfortable; don't wash it."
GROUPS = "great,superb,terrific\n\nDress\tfrock\nno way, not at all\n质量,成色\n连衣裙\t裙子\n"
CILIN = [  # code, relation, words
    ("Da01A01", "=", ["质量", "成色"]),
    ("Bq03A01", "=", ["裙子", "裙"]),
    ("Ed01A01", "=", ["满意", "称心", "心满意足"]),
    ("Ed02A01", "=", ["普通", "一般"]),
    ("Hj01A01", "#", ["一般", "购买"]),  # an adjective there, a verb here: ambiguous
    ("Hj02A01", "=", ["购买", "选购"]),
    ("Hj03A01", "#", ["退货", "换货"]),
    ("Kb01A01", "=", ["因为", "由于"]),
    ("Ig01A01", "@", ["服务质量"]),
]


@pytest.fixture
def file_of_groups(tmp_path):
    path = tmp_path / "groups.tsv"
    path.write_text(GROUPS, encoding="utf-8")
    return lexicon(str(path))


@pytest.fixture
def small_cilin(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    code, relation, words = zip(*CILIN, strict=True)
    pq.write_table(pa.table({"code": code, "relation": relation, "words": words}), tmp_path / "cilin.parquet")
    return lexicon("cilin")


def substitutes(lexicon, text):
    words = lexicon.split(text)
    assert "".join(words) == text
    return {word: others for word, others in zip(words, lexicon.substitutes(words), strict=True) if others}


def replaced_only(lexicon, old, new):
    """Whether `new` is `old` but for substitutes of its words."""
    words = lexicon.split(old)
    choices = zip(words, lexicon.substitutes(words), strict=True)
    return re.fullmatch("".join(f"(?:{'|'.join(map(re.escape, (w, *others)))})" for w, others in choices), new)


# A user's own file


def test_a_word_of_a_file_has_the_others_of_its_group(file_of_groups):
    assert substitutes(file_of_groups, "Great dresses, a GREAT dress") == {
        "Great": ["Superb", "Terrific"],
        "GREAT": ["SUPERB", "TERRIFIC"],
        "dress": ["frock"],
    }
    assert substitutes(file_of_groups, "greatest; Not at all") == {"Not at all": ["No way"]}
    assert substitutes(file_of_groups, "这条连衣裙质量great") == {
        "连衣裙": ["裙子"],
        "质量": ["成色"],
        "great": ["superb", "terrific"],
    }


@pytest.mark.parametrize("name", ["wordnets", "synonyms.docx"])
def test_an_unknown_lexicon_is_refused(name):
    with pytest.raises(UsageError, match=f"synonyms '{name}' are not available here: that is no file ending in"):
        lexicon(name)


def test_files_that_cannot_serve_are_named(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        lexicon(str(tmp_path / "none.txt"))
    (tmp_path / "single.csv").write_text("one\ntwo\n,\n")
    with pytest.raises(BadInput, match=r"single.csv: no line holds two synonyms"):
        lexicon(str(tmp_path / "single.csv"))
    (tmp_path / "latin.txt").write_bytes("größe,maß".encode("latin-1"))
    with pytest.raises(BadInput, match=r"latin.txt: synonyms cannot be read .*UTF-8"):
        lexicon(str(tmp_path / "latin.txt"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("great dressnotwayl质量连衣裙.,'’ \n\tßİ0_"), max_size=40), seed=st.integers(0, 9))
def test_a_file_changes_nothing_but_its_words(file_of_groups, text, seed):
    substitutes(file_of_groups, text)
    once, again = (replace_words(text, file_of_groups, 0.5, np.random.default_rng(seed)) for _ in range(2))
    assert once == again
    assert replaced_only(file_of_groups, text, once)


@pytest.mark.parametrize("rate", [0.01, 0.5, 1.0])
def test_the_rate_is_of_replaceable_words_and_one_changes_at_least(file_of_groups, rate):
    text = "a great dress in my size " * 10
    words = replace_words(text, file_of_groups, rate, np.random.default_rng(0)).split()
    changed = [new for old, new in zip(text.split(), words, strict=True) if new != old]
    assert len(changed) == max(1, 20 * rate)
    assert set(changed) <= {"superb", "terrific", "frock"}


# WordNet


@pytest.mark.usefixtures("wordnet")
class TestWordNet:
    def test_words_are_replaced_in_the_sense_of_their_part_of_speech(self):
        found = substitutes(lexicon("wordnet"), REVIEW)
        assert found["dress"] == ["attire", "frock", "garb"]
        assert found["comfortable"] == ["comfy"]
        assert "cloth" in found["fabric"]
        for kept in ("bought", "it", "don", "do", "a", "The", "and"):  # inflected, stop words, contractions
            assert kept not in found

    def test_case_articles_and_long_lemmas(self):
        english = lexicon("wordnet")
        assert substitutes(english, "COMFORTABLE shoes")["COMFORTABLE"] == ["COMFY"]
        assert {"Cloth", "Textile"} <= set(substitutes(english, "Fabric is soft")["Fabric"])
        assert substitutes(english, "the car")["car"] == ["auto", "automobile", "motorcar", "railcar"]
        assert substitutes(english, "a car")["car"] == ["motorcar", "railcar"]
        everything = substitutes(english, "the car, the bathroom, the shop and a wonderful color")
        assert all(other.isalpha() for others in everything.values() for other in others)

    def test_nothing_but_synonyms_changes_and_a_seed_gives_the_same(self):
        english = lexicon("wordnet")
        once, again = (replace_words(REVIEW, english, 0.5, np.random.default_rng(3)) for _ in range(2))
        assert once == again != REVIEW
        assert replaced_only(english, REVIEW, once)
        assert replace_words(REVIEW, english, 0.5, np.random.default_rng(4)) != once

    @settings(max_examples=200, deadline=None)
    @given(text=st.text(max_size=40) | st.lists(st.sampled_from(["it's", "DON'T", "a/b", "nice", "!", " ", "\n"])))
    def test_any_text_comes_apart_and_together_again(self, text):
        text = text if isinstance(text, str) else "".join(text)
        assert replaced_only(lexicon("wordnet"), text, replace_words(text, lexicon("wordnet"), 1.0, rng()))

    def test_a_damaged_folder_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SPARRING_WORDNET", str(tmp_path))
        (tmp_path / "data.noun").write_text("nothing")
        with pytest.raises(BadInput, match=r"WordNet cannot be read .*install wordnet-base again"):
            lexicon("wordnet")

    def test_synonyms_of_the_strategy_stay_near_their_anchors(self):
        workshop = shop([REVIEW, "Great dress", "!!!"])
        found = Synonym(workshop, Synonym.Options(similarity=0.6)).propose(np.array([0, 0, 0, 1, 2]), rng())
        assert set(found.anchor) <= {0, 1}
        assert (np.einsum("nd,nd->n", found.embedding, workshop.anchors.embedding[found.anchor]) >= 0.6).all()
        texts = found.rows["text"].to_pylist()
        assert len(set(texts)) > 1
        assert all(
            new != workshop.anchors.rows["text"][int(a)].as_py() for new, a in zip(texts, found.anchor, strict=True)
        )
        assert "embedding" not in found.rows.column_names
        again = Synonym(workshop, Synonym.Options(similarity=0.6)).propose(np.array([0, 0, 0, 1, 2]), rng())
        assert again.rows.equals(found.rows)


def test_without_wordnet_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARRING_WORDNET", str(tmp_path))
    monkeypatch.setattr(lexicons, "find_spec", lambda _: object())
    assert available("wordnet") == "apt install wordnet-base, or set SPARRING_WORDNET to the folder of its data.noun"
    with pytest.raises(UsageError, match="'wordnet' are not available here: apt install"):
        lexicon("wordnet")
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    assert "for Chinese: sparring data cilin" in Synonym.missing(Synonym.Options(), Text)
    monkeypatch.setattr(lexicons, "find_spec", lambda _: None)
    assert available("wordnet") == "pip install 'sparring[synonyms]'"


# Cilin


def test_a_chinese_word_of_one_class_and_group_is_replaced_by_words_as_long(small_cilin):
    assert substitutes(small_cilin, "质量很满意") == {"质量": ["成色"], "满意": ["称心"]}
    assert substitutes(small_cilin, "购买一般裙子，退货因为服务质量") == {"购买": ["选购"]}


def test_cilin_that_is_missing_or_damaged_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=f"not available here: sparring data cilin --folder {tmp_path}"):
        lexicon("cilin")
    with pytest.raises(UsageError, match=r"homophones.parquet is missing: sparring data homophones"):
        homophones()
    (tmp_path / "cilin.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BadInput, match=r"cilin.parquet: cannot be read .*delete it, then: sparring data cilin"):
        lexicon("cilin")
    monkeypatch.delenv("SPARRING_DATA")
    monkeypatch.chdir(tmp_path)
    assert available("cilin") == "sparring data cilin"


def test_homophones_are_common_characters_of_the_same_syllable(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    groups = {"de": ["的", "地", "得", "嘚", "悳"], "di": ["地", "低"]}
    table = pa.table({"syllable": list(groups), "characters": list(groups.values())})
    pq.write_table(table, tmp_path / "homophones.parquet")
    assert homophones() == {"的": "地得", "地": "的得低", "得": "的地", "嘚": "的地得", "悳": "的地得", "低": "地"}


@pytest.mark.slow
def test_the_real_chinese_lexicons(tmp_path, monkeypatch):
    demo_data.fetch(tmp_path, ["cilin", "homophones"])
    assert len(pq.read_table(tmp_path / "cilin.parquet")) == demo_data.SETS["cilin"].rows
    assert len(pq.read_table(tmp_path / "homophones.parquet")) == demo_data.SETS["homophones"].rows
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    text = "质量一如既往的好，感谢快递员，物流很快，外观也漂亮！"
    cilin = lexicon("cilin")
    found = substitutes(cilin, text)
    assert "成色" in found["质量"]
    assert "申谢" in found["感谢"]
    changed = {replace_words(text, cilin, 0.5, np.random.default_rng(seed)) for seed in range(5)}
    assert len(changed) > 1
    assert all(replaced_only(cilin, text, new) for new in changed)
    assert {"再", "载"} <= set(homophones()["在"])


# The strategy


def rng():
    return np.random.default_rng(5)


def shop(texts):
    """What a strategy needs of a workshop; texts are encoded as counts of hashed words."""

    def encode(batch):
        rows = np.zeros((len(batch), 64), np.float32)
        for i, text in enumerate(batch):
            for word in re.findall(r"\w+|[^\w\s]", text.lower()):
                rows[i, sum(word.encode()) % 64] += 1
        return rows

    modality = Text(TextEncoder("counts", 64, encode, None))
    rows = modality.attach(pa.table({"text": texts, "row_id": [str(i) for i in range(len(texts))]}))
    anchors = SimpleNamespace(rows=rows, embedding=modality.encode(rows))
    return Workshop(modality, anchors, None, None, (0, 0), None, None, 0)


def test_the_strategy_drops_what_is_too_far_or_unchanged(tmp_path):
    (tmp_path / "groups.txt").write_text("dress,frock\nshirt,blouse\n")
    long = "a dress that I like a lot, and wear every day of the week"
    workshop = shop([long, "dress", "nothing to replace", "质量 shirt is fine and soft and warm"])
    options = Synonym.Options(source=str(tmp_path / "groups.txt"), similarity=0.7)
    found = Synonym(workshop, options).propose(np.array([3, 0, 1, 2]), rng())
    assert found.anchor.tolist() == [3, 0]
    assert found.rows["text"].to_pylist()[0] == "质量 blouse is fine and soft and warm"
    assert found.embedding.shape == (2, 64)
    assert len(Synonym(workshop, options).propose(np.array([2]), rng())) == 0


def test_the_lexicon_follows_the_script_of_the_texts(small_cilin):
    found = Synonym(shop(["质量 好，很 满意"]), Synonym.Options(rate=1.0, similarity=0.1))
    found = found.propose(np.array([0]), rng())
    assert found.rows["text"].to_pylist() == ["成色 好，很 称心"]
