"""Frozen encoders of clips, by name: of a video its frames, of what is heard its log-mel spectrogram, over time.

    encoder = clip_encoder("frames:efficientnet-lite0", Path("vectors.sqlite"))
    vectors = encoder.encode([Path("film.mp4").read_bytes(), ...])  # float32[n, dim], unit vectors

Rows of a recipe hold clips made small, whatever they were: the frames that the encoder sees, as a film, or the sound
that it hears, as a WAV file. Each is a clip too, and its vector nearly that of the whole file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from augment.base.errors import UsageError, suggest
from augment.numeric.frozen import FrozenEncoder
from augment.numeric.vectors import unit
from augment.pictures import encoders, sound, video
from augment.pictures.content import Content

FRAMES = "frames"
MEL = "melspectrogram"
DEFAULT = f"{FRAMES}:{encoders.DEFAULT}"


class ClipEncoder(FrozenEncoder[bytes]):
    """Whole files of clips to unit vectors float32[n, dim]; raises `BadClip` for one that cannot be read."""

    unit = "clip"


def check_name(name: str) -> None:
    """Raise UsageError for what can be no clip encoder's name; nothing is loaded."""
    kind, _, image = name.partition(":")
    if kind == FRAMES:
        encoders.check_name(image or encoders.DEFAULT)
    elif name != MEL:
        hint = suggest(kind, (FRAMES, MEL))
        raise UsageError(f"no clip encoder '{name}': give '{FRAMES}:' and an image encoder, or '{MEL}'{hint}")


def clip_encoder(name: str, cache: Path | None, device: str = "cpu") -> ClipEncoder:
    """`frames:IMAGE_ENCODER` of films, or `melspectrogram` of speech and sounds, that of a film among them.

    cache: a file that keeps vectors between runs; processes may share it.
    Raises UsageError for a name that is none or a package that is missing, BadInput for a model that cannot be loaded.
    """
    check_name(name)
    if name == MEL:
        return ClipEncoder(sound.named(MEL), sound.DIM, _heard, cache)
    seen = encoders.image_encoder(name.partition(":")[2] or encoders.DEFAULT, None, device)
    video.library()  # which is said to be missing now, not after an hour

    def encode(clips: list[bytes]) -> np.ndarray:
        return np.stack([_seen(seen, clip) for clip in clips])

    return ClipEncoder(f"{FRAMES}{video.MOST}:{seen.name}", seen.dim, encode, cache)


def content_of(name: str) -> Content:
    """What clips are made into for the encoder of that name."""
    return SOUND if name == MEL else FILM


def opened(clip: bytes) -> np.ndarray:
    """What is in a clip that was made small: frames uint8[n, H, W, 3], or its sound float32[T] in [-1, 1]."""
    return sound.waveform(clip) if clip.startswith(b"RIFF") else video.frames(clip)


def closed(parts: np.ndarray) -> bytes:
    """The clip of what `opened` gives; the same bytes of the same."""
    return video.film(parts) if parts.ndim > 1 else sound.wav(parts)


def _small_film(clip: bytes) -> bytes:
    return closed(video.frames(clip))


def _small_sound(clip: bytes) -> bytes:
    return closed(sound.waveform(clip))


MADE = 1  # how that is done: a new number where it changes
_SEEN = (FRAMES, MADE, video.MAX_FRAMES, video.MAX_PIXELS, video.MOST, video.SIDE, video.QUALITY)
_HEARD = (MEL, MADE, sound.LONGEST, sound.RATE, *sound.RATES)
FILM = Content("clip", video.MAX_BYTES, _SEEN, ("av",), _small_film)
SOUND = Content("clip", video.MAX_BYTES, _HEARD, ("av", "scipy"), _small_sound)


def _seen(encoder: encoders.ImageEncoder, clip: bytes) -> np.ndarray:
    """float32[dim]: the mean of its frames' unit vectors."""
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(video.frames(clip)).to(encoder.device).permute(0, 3, 1, 2).float() / 255
        return encoder.embed_pixels(pixels).mean(0).cpu().numpy()


def _heard(clips: list[bytes]) -> np.ndarray:
    return unit(np.stack([sound.pooled(sound.log_mel(sound.waveform(clip))) for clip in clips]))
