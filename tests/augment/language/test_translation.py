import json
import os
import stat
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from debian import apertium, debian_root  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lexicon import shop

from augment.base.errors import BadInput, UsageError
from augment.contracts.strategy import check
from augment.language import translation
from augment.language.translation import Apertium, Marian, round_trip, translators
from augment.strategies import back_translation
from augment.strategies.back_translation import BackTranslation

WORDS = [
    "the",
    "a",
    "house",
    "dress",
    "is",
    "red",
    "I",
    "xyzzyq",
    "#",
    "*so*",
    "[",
    "]",
    "^",
    "$",
    "\\",
    "<b>",
    "{",
    "}",
]
SENTENCE = "the dress is very nice and the colour is red"


class Reversed:
    """A translator that turns words around; it counts what it is asked."""

    asked = 0

    def translate(self, texts):
        self.asked += len(texts)
        return [" ".join(reversed(text.split())) for text in texts]


# Apertium


@pytest.mark.usefixtures("apertium")
class TestApertium:
    def test_each_text_comes_back_alone_and_in_order(self):
        texts = [
            "the red house",
            "",
            "no stop at the end",
            "one.\n\nTwo!\0 three",
            "the dog " * 30,
            " ",
            "the red house",
        ]
        spanish = Apertium("eng-spa").translate(texts)
        assert spanish[0] == spanish[6] == "La casa roja"
        assert spanish[1] == spanish[5] == ""
        assert "perro" not in "".join(spanish[:4])
        assert spanish[4].lower().split() == ["el", "perro"] * 30
        assert spanish == [Apertium("eng-spa").translate([text])[0] for text in texts]

    def test_unknown_words_come_back_without_marks(self):
        spanish, english = translators("apertium", "eng-spa", "spa-eng")
        assert spanish.translate(["the xyzzyq house"]) == ["El xyzzyq casa"]
        assert "*" not in round_trip(spanish, english, ["I like this xyzzyq, it fooishes the house"])[0]
        assert "#1" in spanish.translate(["the #1 house"])[0]  # the author's own signs stay
        assert "*xyzzyq*" in spanish.translate(["the *xyzzyq* house"])[0]
        assert "[50% <b>] {x} ^y$ c/d \\ @" in spanish.translate(["house [50% <b>] {x} ^y$ c/d \\ @"])[0]

    def test_more_texts_than_one_process_takes(self, monkeypatch):
        monkeypatch.setattr(translation, "TEXTS_PER_PROCESS", 2)
        assert Apertium("eng-spa").translate(["house", "dress", "cat", "dog", "red"]) == [
            "Casa",
            "Vestido",
            "Gato",
            "Perro",
            "Rojo",
        ]

    @pytest.mark.slow
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.text(max_size=20) | st.lists(st.sampled_from(WORDS)).map(" ".join), max_size=8))
    def test_as_many_come_back_as_went_in(self, texts):
        translated = Apertium("eng-spa").translate(["the house", *texts, "the dress"])
        assert len(translated) == len(texts) + 2
        assert translated[0] == "La casa"
        assert translated[-1] == "El vestido"

    def test_an_unknown_direction_is_refused(self):
        with pytest.raises(UsageError, match=r"no mode 'eng-spo'; did you mean 'eng-spa'\?; install it: apt install"):
            Apertium("eng-spo")

    def test_candidates_are_back_translations_near_their_anchors(self):
        workshop = shop([SENTENCE, "!!!", f"{SENTENCE} and I wear it with a hat"])
        strategy = BackTranslation(workshop, BackTranslation.Options(similarity=0.5))
        found = strategy.propose(np.array([2, 1, 0]), np.random.default_rng(0))
        assert set(found.anchor) <= {0, 2}
        assert len(found) == len(set(found.anchor)) > 0
        assert strategy.propose(np.array([2, 1, 0]), np.random.default_rng(1)).rows.equals(found.rows)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that puts a shell script in Apertium's place."""

    def put(script):
        path = tmp_path / "apertium"
        path.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then echo "  eng-spa"; exit; fi\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return put


def test_a_hanging_engine_is_ended_with_its_pipeline(stand_in):
    stand_in("sleep 60 | cat")
    started = time.monotonic()
    with pytest.raises(BadInput, match=r"apertium eng-spa: no answer within 0.3 seconds"):
        Apertium("eng-spa", timeout=0.3).translate(["house"])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error: out of words' >&2; exit 1", "apertium eng-spa failed: Error: out of words; try"),
        ("cat > /dev/null; printf 'casa'", "apertium eng-spa lost its place in the text 'house'"),
        (r"cat > /dev/null; printf 'casa\0perro\0007530862419\0'", "lost its place"),
    ],
)
def test_a_failing_engine_is_one_line(stand_in, script, said):
    stand_in(script)
    with pytest.raises(BadInput, match=said) as raised:
        Apertium("eng-spa").translate(["house"])
    assert "\n" not in str(raised.value)


def test_texts_that_came_back_as_one_are_found_by_halving(stand_in):
    stand_in(r"tr -d '\n' | sed 's/bad\x0//g'")  # the engine loses the null character after "bad"
    words = ["good", "fine", "worse", "well", "nice"]
    assert Apertium("eng-spa").translate(words) == words
    with pytest.raises(BadInput, match="lost its place in the text 'bad'"):
        Apertium("eng-spa").translate([*words, "bad", "last"])


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apertium is not installed: apt install apertium apertium-eng-spa"):
        translators("apertium", "eng-spa", "spa-eng")
    with pytest.raises(UsageError, match="unknown translation engine 'marianne'; did you mean 'marian'"):
        translators("marianne", "a", "b")
    monkeypatch.setattr(translation, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'sparring\[translation\]'"):
        translators("marian", "a", "b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "not available here: apertium is not installed: apt install apertium"),
        ({"engine": "marian"}, r"pip install 'sparring\[translation\]'"),
        ({"engine": "marianne"}, "did you mean 'marian'"),
    ],
)
def test_what_the_chosen_engine_misses_is_said_before_any_work(monkeypatch, tmp_path, options, said):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(translation, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=said):
        check("back-translation", "text", options, "tasks.a")
    monkeypatch.setattr(translation, "find_spec", lambda _: object())
    check("back-translation", "text", {"engine": "marian"}, "tasks.a")


def test_a_direction_that_is_not_installed_is_said_before_any_work(stand_in):
    stand_in("")
    with pytest.raises(UsageError, match="apertium has no mode 'spa-eng'"):
        check("back-translation", "text", {}, "tasks.a")
    check("back-translation", "text", {"back": "eng-spa"}, "tasks.a")


def test_a_text_is_translated_once(monkeypatch):
    there = Reversed()
    monkeypatch.setattr(back_translation, "translators", lambda *_: (there, SimpleNamespace(translate=list)))
    workshop = shop([SENTENCE, SENTENCE, "dress"])
    strategy = BackTranslation(workshop, BackTranslation.Options())
    for _ in range(2):
        found = strategy.propose(np.array([0, 1, 2]), np.random.default_rng(0))
        assert found.anchor.tolist() == [0, 1]  # a single word is the same from either end
        assert found.rows["text"].to_pylist() == [" ".join(reversed(SENTENCE.split()))] * 2
    assert there.asked == 2


# MarianMT


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A MarianMT model as people publish them, but tiny and untrained."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder = tmp_path_factory.mktemp("marian")
    (folder / "corpus.txt").write_text(SENTENCE)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "source"),
        vocab_size=100,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    spm = folder / "source.spm"
    (folder / "source.model").rename(spm)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    pieces = ["</s>", "<unk>", *(processor.id_to_piece(i) for i in range(3, processor.get_piece_size())), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    MarianTokenizer(str(spm), str(spm), str(folder / "vocab.json")).save_pretrained(folder)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 512}
    pad = len(pieces) - 1
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=len(pieces),
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        init_std=1.0,
        **sizes,
        **heads,
    )
    MarianMTModel(config).save_pretrained(folder)
    return folder


def test_a_marian_model_from_a_folder_translates(model_folder):
    model = Marian(str(model_folder), batch=2)
    texts = [SENTENCE, "", "the dress", "red", SENTENCE * 50]
    translated = model.translate(texts)
    assert [bool(text) for text in translated] == [True, False, True, True, True]
    assert translated == Marian(str(model_folder), batch=2).translate(texts)
    one_by_one = [model.translate([text])[0] for text in texts]
    assert translated[:4] == one_by_one[:4]  # padding changes nothing


def test_sampling_is_seeded_and_leaves_the_global_generator_alone(model_folder):
    models = [Marian(str(model_folder), seed=seed) for seed in (1, 1, 2)]
    before = torch.random.get_rng_state()
    drawn = [model.translate([SENTENCE]) for model in models]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_pickled_weights_are_refused(model_folder, tmp_path):
    for path in model_folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"cannot be loaded .*no safetensors, and pickled weights are not read"):
        Marian(str(tmp_path))


def test_a_model_that_is_not_one_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BadInput, match=r"cannot be loaded .*give a local folder, or use apertium") as raised:
        Marian(str(tmp_path))
    assert "\n" not in str(raised.value)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(BadInput, match="'nowhere/nothing' cannot be loaded"):
        Marian("nowhere/nothing")
