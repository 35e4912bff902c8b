"""What is heard: waveforms, spectrograms, and what a consumer of classes makes of speech."""

import io
import wave

import numpy as np
import pyarrow as pa
import pytest
from debian import debian_root, say  # noqa: F401

from augment.numeric.columns import with_vectors
from augment.pictures import sound
from augment.pictures.clips import clip_encoder
from augment.pictures.sound import BANDS, DIM, RATE, log_mel, pooled, waveform
from augment.pictures.video import BadClip
from consumers.image import Image


def tone(hertz, seconds=0.5, rate=RATE, loud=0.5):
    return loud * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def as_wav(signal, width=2, rate=RATE, channels=1):
    """The bytes of a WAV file: signal float[T] in [-1, 1], the same in each channel."""
    file = io.BytesIO()
    whole = np.round(signal * (2 ** (8 * width - 1) - 1)).astype("<i8")
    raw = (whole + (128 if width == 1 else 0)).repeat(channels).view(np.uint8).reshape(-1, 8)[:, :width]
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(raw.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_of_any_width_and_channels_are_the_same_wave(width, channels):
    found = waveform(as_wav(tone(440), width, channels=channels))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone(440), atol=0.02 if width == 1 else 1e-4)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
def test_other_rates_are_brought_to_ours(rate):
    found = waveform(as_wav(tone(440, rate=rate), rate=rate))
    assert len(found) == pytest.approx(RATE / 2, abs=2)
    np.testing.assert_allclose(found[800:-800], tone(440)[800 : len(found) - 800], atol=0.02)


def test_a_tone_is_loud_in_its_own_band():
    peaks = [int(log_mel(tone(hertz).astype(np.float32)).mean(1).argmax()) for hertz in (200, 1000, 3000, 7000)]
    assert peaks == sorted(set(peaks))
    assert abs(peaks[1] - BANDS * np.log(1 + 1000 / 700) / np.log(1 + 8000 / 700)) < 2


def test_how_loud_it_is_says_nothing():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, RATE).astype(np.float32)
    np.testing.assert_allclose(pooled(log_mel(noise)), pooled(log_mel(4 * noise)), atol=1e-3)
    assert np.abs(pooled(log_mel(noise)) - pooled(log_mel(tone(440).astype(np.float32)))).max() > 1


def test_silence_a_click_and_nothing_have_vectors(tmp_path):
    encoder = clip_encoder("melspectrogram", tmp_path / "vectors.sqlite")
    vectors = encoder.encode([as_wav(np.zeros(RATE)), as_wav(np.zeros(0)), as_wav(np.ones(3))])
    assert vectors.shape == (3, DIM) == (3, encoder.dim)
    assert np.isfinite(vectors).all()
    assert not vectors[:2].any()
    np.testing.assert_array_equal(vectors, clip_encoder("melspectrogram", None).encode(
        [as_wav(np.zeros(RATE)), as_wav(np.zeros(0)), as_wav(np.ones(3))]))  # fmt: skip


def test_a_clip_that_is_too_long_or_damaged_is_said(monkeypatch):
    monkeypatch.setattr(sound, "LONGEST", 0.1)
    with pytest.raises(BadClip, match="too long"):
        waveform(as_wav(tone(440)))
    pytest.importorskip("av", reason="what is no WAV needs the extra `video`: pip install 'sparring[video]'")
    for bad in (b"", b"RIFF" + bytes(99), as_wav(tone(440))[:20], b"RIFF" + as_wav(tone(440))[8:]):
        with pytest.raises(BadClip, match="damaged"):
            waveform(bad)
    # No such rate, and samples of no such width: places 24 and 34 of the header.
    for at, wrong in ((24, b"\xff\xff\xff\x7f"), (34, b"\xff\x00"), (24, b"\x01\x00\x00\x00")):
        with pytest.raises(BadClip, match="damaged"):
            waveform(as_wav(tone(440))[:at] + wrong + as_wav(tone(440))[at + len(wrong) :])


def test_a_wave_that_ends_too_soon_is_said_and_one_from_a_pipe_is_whole():
    good = as_wav(tone(440))
    with pytest.raises(BadClip, match="truncated"):
        waveform(good[: len(good) // 2])
    assert len(waveform(good[:-100])) == RATE // 2 - 50
    for size in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\xf0\xff\x7f"):
        np.testing.assert_array_equal(waveform(good[:40] + size + good[44:]), waveform(good))


def test_other_formats_than_wav_are_the_same_wave():
    av = pytest.importorskip("av", reason="what is no WAV needs the extra `video`: pip install 'sparring[video]'")
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as out:
        stream = out.add_stream("flac", rate=RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((tone(440) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    np.testing.assert_allclose(waveform(file.getvalue()), tone(440), atol=1e-3)


def test_a_consumer_of_classes_tells_words_said_by_voices_that_it_never_heard(say):  # noqa: F811
    words = ("trousers", "shoes", "a leather jacket")
    voices = [f"en+{who}" for who in ("m1", "m2", "m3", "m4", "f1", "f2", "f3", "f4")]
    kinds = [(voice, word, speed) for voice in voices for word in range(3) for speed in (140, 170, 200)]
    clips = [say(words[word], "-v", voice, "-s", str(speed)) for voice, word, speed in kinds]
    label = np.eye(3, dtype=np.float32)[[word for _, word, _ in kinds]]
    rows = with_vectors(pa.table({"label": label.tolist()}), clip_encoder("melspectrogram", None).encode(clips))
    known, strange = (np.array([(voice in voices[2:4] + voices[6:]) == new for voice, *_ in kinds]) for new in (0, 1))
    model = Image().fit(rows.filter(pa.array(known)), rows.filter(pa.array(known)))
    right = model.predict(rows.filter(pa.array(strange))).argmax(1) == label[strange].argmax(1)
    assert right.mean() > 0.9


def test_a_damaged_file_has_a_vector_or_a_reason():
    pytest.importorskip("av", reason="what is no WAV needs the extra `video`: pip install 'sparring[video]'")
    rng, good = np.random.default_rng(0), as_wav(tone(440, 0.1))
    reasons = 0
    for _ in range(150):
        bad = bytearray(good)
        for at in rng.integers(0, 60, 3):
            bad[at] = rng.integers(256)
        try:
            assert np.isfinite(pooled(log_mel(waveform(bytes(bad))))).all()
        except BadClip:
            reasons += 1
    assert 10 < reasons < 150
