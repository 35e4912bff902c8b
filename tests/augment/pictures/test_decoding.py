"""Whatever bytes there are become a small upright RGB picture, or a reason."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import as_bytes, drawn, drawn_bytes
from PIL import Image, ImageOps

from augment.pictures import decoding
from augment.pictures.decoding import BadPicture, as_jpeg, decoded, normalised

sys.path.append(str(Path(__file__).parents[3] / "scripts"))

from malformed import pictures as malformed
from malformed.pictures import mutated


def pixels(content):
    return decoded(normalised(content)).permute(1, 2, 0).numpy().astype(int)


def near(content, picture, most=6.0):
    """Whether a file, normalised, shows the picture; means are of colour values 0 to 255."""
    found, wanted = pixels(content), np.asarray(picture.convert("RGB")).astype(int)
    assert found.shape == wanted.shape
    return np.abs(found - wanted).mean() < most


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_each_format_is_read(form):
    assert near(drawn_bytes(form=form), drawn())


def test_a_small_jpeg_is_kept_as_it_is_and_others_become_one():
    content = drawn_bytes()
    assert normalised(content) == content
    assert normalised(normalised(drawn_bytes(form="PNG"))) == normalised(drawn_bytes(form="PNG"))
    heavy = drawn_bytes(comment=b"x" * 60_000, exif=b"Exif\0\0" + b"y" * 9_000)
    assert len(normalised(heavy)) < 20_000


def test_the_longest_side_is_bounded_and_proportions_stay():
    assert decoded(normalised(drawn_bytes(size=(600, 300)))).shape == (3, 128, 256)
    assert decoded(normalised(drawn_bytes(size=(40, 30)))).shape == (3, 30, 40)


def test_alpha_is_over_white():
    for form in ("PNG", "WEBP"):
        clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
        assert (pixels(as_bytes(clear, form)) > 250).all()
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    assert abs(pixels(as_bytes(half, "PNG")) - 127).max() <= 2
    palette = drawn().quantize(8)
    assert near(as_bytes(palette, "PNG"), palette)
    seen = pixels(as_bytes(Image.new("P", (32, 32), 0), "PNG", transparency=0))
    assert (seen > 250).all()
    assert (pixels(as_bytes(Image.new("LA", (32, 32), (10, 0)), "PNG")) > 250).all()


def test_cmyk_grey_and_one_bit():
    cmyk = drawn().convert("CMYK")
    assert near(as_bytes(cmyk), cmyk, 12)
    assert Image.open(io.BytesIO(normalised(as_bytes(cmyk)))).mode == "RGB"
    grey = drawn().convert("L")
    for form in ("JPEG", "PNG"):
        assert near(as_bytes(grey, form), grey)
    assert near(as_bytes(drawn().convert("1"), "PNG"), drawn().convert("1"), 12)


def test_sixteen_bits():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    grey = Image.fromarray((ramp >> 8).astype(np.uint8))
    assert near(as_bytes(Image.fromarray(ramp), "PNG"), grey)
    assert near(deep_png(np.stack([ramp] * 3, axis=2)), grey)


def deep_png(rgb):
    """A PNG of 16 bits a colour, which Pillow does not write."""
    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        )
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_it_upright(form, turn):
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = turn
    content = drawn_bytes(form=form, exif=exif.tobytes())
    assert near(content, ImageOps.exif_transpose(Image.open(io.BytesIO(content))))


def test_damaged_exif_is_no_damaged_picture():
    assert near(drawn_bytes(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), drawn())


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_what_moves_the_first_frame(form):
    frames = [drawn(kind) for kind in ("bag", "shoe", "shirt")]
    content = as_bytes(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
    assert near(content, frames[0])


def test_a_jpeg_with_another_behind_it():
    content = as_bytes(drawn("bag"), "MPO", save_all=True, append_images=[drawn("shoe")])
    assert near(content, drawn("bag"))


def reason(content):
    with pytest.raises(BadPicture) as found:
        normalised(content)
    return str(found.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated(form):
    content = drawn_bytes(form=form)
    for share in (0.02, 0.3, 0.6, 0.95):
        assert reason(content[: max(6, int(share * len(content)))]) in (decoding.DAMAGED, decoding.NO_PICTURE)
    assert reason(content[: len(content) // 2]) == decoding.DAMAGED


def test_what_is_no_picture():
    assert reason(b"") == decoding.EMPTY
    assert reason(b"this is the text of shirt.jpg") == decoding.NO_PICTURE
    assert reason(b"<svg xmlns='http://www.w3.org/2000/svg'></svg>") == decoding.NO_PICTURE
    for form in ("BMP", "TIFF"):
        assert reason(drawn_bytes(form=form)) == decoding.NO_PICTURE


def test_bombs_are_refused_by_their_header():
    """60 kB that would be 10 GB, and what is claimed but not there."""
    content = as_bytes(Image.new("1", (30_000, 30_000)), "PNG", compress_level=9)
    assert len(content) < decoding.MAX_BYTES
    assert reason(content) == decoding.TOO_LARGE
    claimed = bytearray(drawn_bytes(form="GIF"))
    claimed[6:10] = struct.pack("<HH", 65_000, 65_000)
    assert reason(bytes(claimed)) == decoding.TOO_LARGE
    assert reason(b"\xff\xd8\xff" + bytes(decoding.MAX_BYTES)) == decoding.TOO_HEAVY


def test_too_small():
    for size in ((1, 1), (7, 90), (90, 7), (2560, 60)):
        assert reason(drawn_bytes(size=size, form="PNG")) == decoding.TOO_SMALL


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_mutated_bytes_never_do_worse_than_a_reason(form):
    rng = np.random.default_rng(0)
    contents = [drawn_bytes(kind, form=form, size=(48, 64)) for kind in ("shirt", "shoe", "bag")]
    outcomes = []
    for n in range(125):
        content = mutated(contents[n % 3], rng)
        try:
            found = decoded(normalised(content))
            assert found.dtype == torch.uint8
            assert min(found.shape[1:]) >= decoding.LEAST
            assert max(found.shape) <= decoding.SIDE
            outcomes.append("read")
        except BadPicture as error:
            outcomes.append(str(error))
    assert decoding.DAMAGED in outcomes
    assert "read" in outcomes or form == "PNG"  # whose checksums tell


@pytest.mark.parametrize("way", malformed.WAYS, ids=lambda way: way.__name__.strip("_"))
def test_what_is_damaged_where_it_is_weakest_has_a_reason(way):
    """Files of every mode and format, those that move and those that are progressive among them."""
    rng, found = np.random.default_rng(0), []
    files = [malformed._file(2 * n) for n in range(len(malformed.KINDS))]
    assert [normalised(content) for content in files]
    for content in files * 4:
        try:
            found.append(max(decoded(normalised(way(content, rng))).shape) <= decoding.SIDE)
        except BadPicture as error:
            found.append(str(error))
    expected = {"_huge": decoding.TOO_LARGE, "_with_a_remark": True, "_with_zeros": decoding.EMPTY}
    assert expected.get(way.__name__, decoding.DAMAGED) in found
    known = (True, decoding.DAMAGED, decoding.NO_PICTURE, decoding.TOO_LARGE, decoding.TOO_SMALL, decoding.EMPTY)
    assert set(found) <= {*known}


def test_the_same_pixels_are_the_same_bytes():
    picture = decoded(drawn_bytes())
    assert as_jpeg(picture) == as_jpeg(picture.clone())
    assert len(as_jpeg(picture, 20)) < len(as_jpeg(picture))
