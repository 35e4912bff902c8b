"""What is heard, as a log-mel spectrogram and as one vector: how loud each band is, how much that changes, how fast.

WAV is read by the standard library, any other format by PyAV (the extra `video`).
"""

from __future__ import annotations

import io
import wave
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import resample_poly

from augment.numeric.frozen import weights_hash
from augment.pictures import video
from augment.pictures.video import DAMAGED, LEAST, TRUNCATED, BadClip

if TYPE_CHECKING:
    import torch

RATE = 16_000  # samples a second: all that speech has below 8 kHz
WINDOW, HOP = 400, 160  # samples: 25 ms, each 10 ms
BANDS = 40
DIM = 3 * BANDS
FLOOR = 1e-6  # a band's energy, 60 dB below a loud one: what is less is silence
LONGEST = 600  # seconds
RATES = (1_000, 400_000)  # samples a second that a clip may say it has
PIPED = 1_600_000_000  # bytes that a header written to a pipe says it has, at least: nobody knew how many
POOLED = 1  # how a spectrogram is pooled: a new number where that changes


def waveform(clip: bytes) -> np.ndarray:
    """float32[T] in [-1, 1]: one channel of `RATE` samples a second. Raises BadClip for what has no sound."""
    try:
        with wave.open(io.BytesIO(clip), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            said = file.getnframes()
            content = file.readframes(said)
    except Exception:  # no WAV, a damaged one (it raises RuntimeError too), or of floats, which it does not read
        heard, rate = video.heard(clip, LONGEST + 1)
    else:
        whole = len(content) // (width * channels) * width * channels
        if width > 4:
            raise BadClip(DAMAGED)
        if whole < LEAST * said * width * channels < PIPED:
            raise BadClip(TRUNCATED)
        heard = _numbers(content[:whole], width).reshape(-1, channels).mean(axis=1)
    if not RATES[0] <= rate <= RATES[1]:
        raise BadClip(DAMAGED)
    if len(heard) > LONGEST * rate:
        raise BadClip(f"clip too long: over {LONGEST} seconds")
    common = gcd(rate, RATE)
    return heard if rate == RATE else resample_poly(heard, RATE // common, rate // common).astype(np.float32)


def wav(heard: np.ndarray) -> bytes:
    """A WAV file of float32[T] in [-1, 1], one channel of `RATE` samples a second, of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((heard * 32_767).round().clip(-32_768, 32_767).astype("<i2").tobytes())
    return file.getvalue()


def log_mel(heard: np.ndarray) -> torch.Tensor:
    """float32[BANDS, frames]: natural logarithm of the energy in bands that are even in mel (Stevens et al., 1937), 0
    for silence."""
    import torch

    signal = torch.from_numpy(heard)
    if len(signal) < WINDOW:
        signal = torch.nn.functional.pad(signal, (0, WINDOW - len(signal)))
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(signal, WINDOW, HOP, window=window, center=False, return_complex=True).abs().square()
    return (filters() @ spectrum / (WINDOW * FLOOR)).clamp_min(1).log()


def pooled(spectrogram: torch.Tensor) -> np.ndarray:
    """float32[DIM] of float[BANDS, frames]: of each band the mean, the deviation, and the mean change between frames.

    Less the mean of all bands, so that how loud the whole is says nothing. Silence is zeros.
    """
    import torch

    level = spectrogram.mean(dim=1)
    change = (spectrogram[:, 1:] - spectrogram[:, :-1]).abs()
    change = change.mean(dim=1) if change.shape[1] else torch.zeros(BANDS)
    return torch.cat([level - level.mean(), spectrogram.std(dim=1, correction=0), change]).numpy()


@lru_cache(1)
def filters() -> torch.Tensor:
    """float32[BANDS, WINDOW / 2 + 1]: triangles, each from the peak of the one before to that of the next."""
    import torch

    def mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    peaks = 700 * (10 ** (np.linspace(mel(0), mel(RATE / 2), BANDS + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    up = (hertz - peaks[:-2, None]) / np.diff(peaks)[:-1, None]
    down = (peaks[2:, None] - hertz) / np.diff(peaks)[1:, None]
    return torch.from_numpy(np.clip(np.minimum(up, down), 0, None).astype(np.float32))


def named(name: str) -> str:
    """The encoder's name, with a hash of all that its vectors depend on."""
    import torch

    return f"{name}@{weights_hash({'': filters(), 'sizes': torch.tensor([RATE, WINDOW, HOP, POOLED])})}"


def _numbers(content: bytes, width: int) -> np.ndarray:
    """float32[n] in [-1, 1] of samples of 1 to 4 bytes each, the lowest first; those of one byte have no sign."""
    raw = np.frombuffer(content, np.uint8).reshape(-1, width)
    if width == 1:
        return (raw[:, 0].astype(np.float32) - 128) / 128
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width :] = raw
    return wide.view("<i4")[:, 0].astype(np.float32) / 2**31
