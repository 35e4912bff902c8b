"""What really happens to a shop's photos, and corruptions held out for attacks.

Each edit takes a picture uint8[3, H, W], a numpy Generator and a strength in [0, 1], and gives a picture of the same
shape: another one from the same generator's next numbers, the same one from the same state. The stronger, the further
from the original, on average; 0 is all but none. Lengths are shares of the shorter side. One to three milliseconds each
at 224 pixels on one core.

`FAMILIES` are what samples are made of. `HELD_OUT` are not, nor like any of them: some of the common corruptions of
Hendrycks & Dietterich (2019), ICLR.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage
from torch.nn import functional as nnf
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from augment.pictures.decoding import as_jpeg, decoded

Edit = Callable[[torch.Tensor, np.random.Generator, float], torch.Tensor]
Rng = np.random.Generator

SKIN = ((241, 194, 165), (224, 172, 125), (198, 134, 90), (141, 85, 50), (90, 55, 35))
TAGS = ((255, 255, 255), (255, 225, 60), (220, 30, 40), (250, 245, 230))
WORDS = ("SAMPLE", "SHOP", "COPYRIGHT", "PREVIEW", "STUDIO")
OFFERS = ("SALE", "-50%", "NEW", "FREE SHIPPING", "2 FOR 1", "LAST ITEMS")
PLAIN = 36  # of 255: as far as a plain background's colours lie from the border's middle one


def crop(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Cut and zoomed: from 97% to 45% of each side are left."""
    _, height, width = picture.shape
    share = 0.97 - 0.52 * strength
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    return F.resized_crop(picture, top, left, tall, wide, [height, width], antialias=True)


def blur(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Out of focus, or the camera shook along a line."""
    side = min(picture.shape[1:])
    if rng.random() < 0.5:
        return _tensor(_image(picture).filter(ImageFilter.GaussianBlur((0.003 + 0.025 * strength) * side)))
    angle, length = rng.uniform(0, np.pi), (0.01 + 0.12 * strength) * side
    ends = round(length / 2 * np.sin(angle)), round(length / 2 * np.cos(angle))
    return _shaken(picture, *(ends if any(ends) else (0, 1)))


def jpeg(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Saved as JPEG one to three times, each time a little worse, its blocks elsewhere."""
    quality = 75 - 68 * strength
    for _ in range(1 + round(2 * strength)):
        down, right = (int(n) for n in rng.integers(0, 8, 2))
        rolled = torch.roll(picture, (down, right), (1, 2))
        picture = torch.roll(decoded(as_jpeg(rolled, max(3, round(quality)))), (-down, -right), (1, 2))
        quality *= 0.85
    return picture


def light(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """A colour cast, and less light than there should be, or now and then too much."""
    cast = rng.normal(size=(3, 1, 1))
    cast = 1 + (0.02 + 0.35 * strength) * (cast - cast.mean()) / np.abs(cast - cast.mean()).max()
    gain = 1 + (0.5 if rng.random() < 0.25 else -0.7) * strength
    return _bytes(picture * torch.as_tensor(cast * gain, dtype=torch.float32))


def occlusion(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """A hand that comes in from the border, or a price tag, over 2% to about 30% of it."""
    size = (0.15 + 0.4 * strength) * min(picture.shape[1:])
    return _drawn(picture, (_hand if rng.random() < 0.5 else _tag), rng, size)


def watermark(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """A word again and again, half seen, or a banner of an offer along the upper or lower border."""
    return _drawn(picture, (_words if rng.random() < 0.5 else _banner), rng, strength)


def rotation(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Turned by up to 45 degrees; the stronger, the more often mirrored too."""
    angle = (1 + 44 * strength) * rng.uniform(0.6, 1) * rng.choice((-1, 1))
    if rng.random() < strength / 2:
        picture = picture.flip(2)
    fill = _border_colour(picture).tolist()
    return F.rotate(picture, float(angle), interpolation=InterpolationMode.BILINEAR, fill=fill)


def background(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """The background in another colour: what is like the border, and connected to it. Where that is next to nothing, a
    frame."""
    colour = _border_colour(picture)
    alike = ((picture.int() - colour.view(3, 1, 1)).abs().amax(0) < PLAIN).numpy()
    labels, _ = ndimage.label(alike)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    mask = np.isin(labels, edge[edge > 0])
    if mask.mean() < 0.05:
        wide = max(1, round(0.12 * min(mask.shape)))
        mask = np.ones_like(mask)
        mask[wide:-wide, wide:-wide] = False
    wanted = torch.as_tensor(rng.integers(0, 256, 3)).float()
    change = (0.05 + 0.95 * strength) * (wanted - colour).view(3, 1, 1)
    return _bytes(picture + change * torch.from_numpy(mask))


# -- held out


def pixelate(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Too small a picture, made large."""
    _, height, width = picture.shape
    factor = 1.2 + (0.05 * min(height, width) - 1) * strength * rng.uniform(0.8, 1.2)
    small = [max(1, round(side / max(1.2, factor))) for side in (height, width)]
    return F.resize(F.resize(picture, small, antialias=True), [height, width], InterpolationMode.NEAREST)


def noise(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Grain, or pixels that are black or white."""
    if rng.random() < 0.5:
        grain = rng.standard_normal(picture.shape, np.float32)
        return _bytes(picture + (3 + 60 * strength) * torch.from_numpy(grain))
    chance = torch.from_numpy(rng.random(picture.shape[1:], np.float32))
    share = 0.005 + 0.2 * strength
    return picture.masked_fill(chance < share / 2, 0).masked_fill(chance > 1 - share / 2, 255)


def haze(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Grey light over it, in clouds."""
    clouds = 0.6 + 0.4 * _smooth(rng, picture.shape[1:], 4)
    share = (0.03 + 0.75 * strength) * clouds
    return _bytes(picture * (1 - share) + rng.uniform(190, 245) * share)


def glare(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """A lamp's reflection: a white spot that fades."""
    _, height, width = picture.shape
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    wide = 0.1 + 0.35 * strength
    spot = torch.exp(-((x - rng.uniform(0.25, 0.75)) ** 2 + (y - rng.uniform(0.25, 0.75)) ** 2) / wide**2)
    return _bytes(picture + (30 + 190 * strength) * spot)


def posterise(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Few shades of each colour: from 32 down to 3."""
    shades = max(3.0, 32 * (1 / 10) ** (strength * rng.uniform(0.9, 1.1)))
    return _bytes((picture / 255 * (shades - 1)).round() / (shades - 1) * 255)


def elastic(picture: torch.Tensor, rng: Rng, strength: float) -> torch.Tensor:
    """Bent like cloth or glass (Simard et al., 2003)."""
    _, height, width = picture.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    bend = (0.02 + 0.3 * strength) * torch.stack([_smooth(rng, (height, width), 6) for _ in range(2)])
    grid = torch.stack([x + bend[0], y + bend[1]], dim=2)[None]
    bent = nnf.grid_sample(picture[None].float(), grid, padding_mode="reflection", align_corners=True)
    return _bytes(bent[0])


FAMILIES: dict[str, Edit] = {
    "crop": crop,
    "blur": blur,
    "jpeg": jpeg,
    "light": light,
    "occlusion": occlusion,
    "watermark": watermark,
    "rotation": rotation,
    "background": background,
}
HELD_OUT: dict[str, Edit] = {
    "pixelate": pixelate,
    "noise": noise,
    "haze": haze,
    "glare": glare,
    "posterise": posterise,
    "elastic": elastic,
}


# -- drawing


Pen = ImageDraw.ImageDraw


def _drawn(picture: torch.Tensor, draw: Callable[[Pen, Rng, float], None], rng: Rng, size: float) -> torch.Tensor:
    """With what `draw` does to an empty layer over it."""
    base = _image(picture)
    layer = Image.new("RGBA", base.size)
    draw(ImageDraw.Draw(layer), rng, size)
    base.paste(layer, mask=layer)
    return _tensor(base)


def _hand(pen: Pen, rng: Rng, size: float) -> None:
    """An arm from the border to a palm with four fingers and a thumb, `size` pixels wide."""
    wide, high = pen.im.size
    colour = tuple(int(c) for c in np.array(SKIN[rng.integers(len(SKIN))]) * rng.uniform(0.9, 1.05) // 1)
    centre = np.array([wide, high]) * rng.uniform(0.3, 0.7, 2)
    angle = rng.uniform(0, 2 * np.pi)  # from which the arm comes
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    far = centre + along * (wide + high)
    pen.line([tuple(centre), tuple(far)], fill=colour, width=max(1, round(0.55 * size)))
    _disc(pen, centre, 0.42 * size, colour)
    for place in (-0.3, -0.1, 0.1, 0.3):
        root, tip = centre + place * size * across, centre + 1.1 * place * size * across - along * size * 0.8
        pen.line([tuple(root), tuple(tip)], fill=colour, width=max(1, round(0.16 * size)))
        _disc(pen, tip, 0.08 * size, colour)
    thumb = centre + rng.choice((-1, 1)) * 0.65 * size * across - along * size * 0.2
    pen.line([tuple(centre), tuple(thumb)], fill=colour, width=max(1, round(0.18 * size)))
    _disc(pen, thumb, 0.09 * size, colour)


def _disc(pen: Pen, centre: np.ndarray, radius: float, colour: tuple[int, ...]) -> None:
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _tag(pen: Pen, rng: Rng, size: float) -> None:
    """A price on a sticker that is turned a little."""
    wide, high = pen.im.size
    colour = TAGS[rng.integers(len(TAGS))]
    x, y = rng.uniform(0.2, 0.8, 2) * (wide, high)
    angle, across = rng.uniform(-0.4, 0.4), np.array([1.3, 0.9]) * size / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * across @ turn + (x, y)
    pen.polygon([tuple(corner) for corner in corners], fill=colour, outline=(90, 90, 90))
    ink = (255, 255, 255) if colour[1] < 100 else (20, 20, 20)
    price = f"{rng.integers(1, 200)}.{rng.integers(0, 100):02}"
    pen.text((x, y), price, fill=ink, font=_font(round(0.4 * size)), anchor="mm")


def _words(pen: Pen, rng: Rng, strength: float) -> None:
    """One word in rows, the next one shifted, as stock photos have it."""
    wide, high = pen.im.size
    font = _font(round((0.06 + 0.06 * strength) * min(wide, high)))
    shade = int(rng.choice((0, 255)))
    word = WORDS[rng.integers(len(WORDS))] + "  "
    ink, length = (shade, shade, shade, round(25 + 200 * strength)), max(1.0, font.getlength(word))
    step = max(4, round(font.size * (3.5 - 2 * strength)))
    for row, y in enumerate(range(int(rng.integers(step)), high, step)):
        start = -(row % 2) * length / 2 - rng.uniform(0, length / 2)
        pen.text((start, y), word * (2 + int(wide / length)), fill=ink, font=font, anchor="lm")


def _banner(pen: Pen, rng: Rng, strength: float) -> None:
    wide, high = pen.im.size
    tall = round((0.06 + 0.24 * strength) * high)
    top = 0 if rng.random() < 0.5 else high - tall
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    pen.rectangle((0, top, wide, top + tall), fill=(*colour, round(180 + 75 * strength)))
    ink = (255, 255, 255) if sum(colour) < 380 else (0, 0, 0)
    offer = OFFERS[rng.integers(len(OFFERS))]
    pen.text((wide / 2, top + tall / 2), offer, fill=ink, font=_font(round(0.7 * tall)), anchor="mm")


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(max(4, size)))  # as every wheel of Pillow can


# -- pixels


def _image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.round().clamp(0, 255).byte()


def _border_colour(picture: torch.Tensor) -> torch.Tensor:
    """The middle one by each channel, int64[3]."""
    edge = torch.cat([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], dim=1)
    return edge.median(dim=1).values.long()


def _shaken(picture: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """The mean of copies moved along a line that ends at (down, right) to both sides; the border is repeated."""
    _, height, width = picture.shape
    tall, wide, count = abs(down), abs(right), min(16, 2 * max(abs(down), abs(right)) + 1)
    padded = nnf.pad(picture[None].float(), (wide, wide, tall, tall), mode="replicate")[0].short()
    total = torch.zeros(picture.shape, dtype=torch.int16)
    for share in np.linspace(-1, 1, count):
        top, left = tall + round(share * down), wide + round(share * right)
        total += padded[:, top : top + height, left : left + width]
    return total.div_(count, rounding_mode="floor").byte()


def _smooth(rng: Rng, shape: tuple[int, ...] | torch.Size, knots: int) -> torch.Tensor:
    """float32[H, W] in [-1, 1]: noise at a few knots, and smooth between them."""
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, knots, knots)).astype(np.float32))
    return nnf.interpolate(coarse, tuple(shape), mode="bicubic", align_corners=True)[0, 0].clamp(-1, 1)
