"""Frames and sound of clips, decoded by FFmpeg (PyAV, the extra `video`).

Bytes come from anywhere: only containers of media are opened, since a playlist would have FFmpeg open what it names,
files of this machine and addresses among them.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np

from augment.base.errors import UsageError
from augment.pictures.content import BadContent

MOST = 16  # frames of a clip
SIDE = 256  # longest side of a frame, as of pictures
MAX_BYTES = 200_000_000
MAX_FRAMES = 100_000  # nearly an hour: all are decoded, up to the last that is taken
MAX_PIXELS = 40_000_000  # of one frame; 8K has 33 million
QUALITY = str(3 * 118)  # of the frames of a film that is made: FFmpeg's scale, from 2 x 118, the best
CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpeg,mpegts,flv,ogg,wav,mp3,flac,aac,aiff"
DAMAGED = "clip damaged, or no clip"
TRUNCATED = "clip truncated"
LEAST = 0.8  # of the time that a clip says it lasts: with less, its end is missing


class BadClip(BadContent):
    pass


def library() -> Any:
    """PyAV. Raises UsageError where it is not installed."""
    try:
        import av
    except ImportError:
        raise UsageError("clips are decoded by PyAV, which is not installed: pip install 'sparring[video]'") from None
    av.logging.set_level(av.logging.PANIC)  # FFmpeg writes what it thinks of a file to the terminal
    return av


def frames(clip: bytes) -> np.ndarray:
    """uint8[n, H, W, 3] of at most `MOST` frames, evenly over time, the longest side at most `SIDE` pixels.

    They are in the middle of as many equal parts of the time, so that none is of a fade at either end. Turned as they
    are stored: what a phone says of how it was held is not read. Raises BadClip for what is no video.
    """
    taken = []
    with opened(clip, "video") as (container, stream):
        if stream.width * stream.height > MAX_PIXELS:
            raise BadClip("clip too large: over 40 megapixels a frame")
        wanted = _evenly(_times(container, stream))
        container.seek(0)
        stream.thread_type = "NONE"  # by frames, an early end stands still for ever in PyAV 14
        scale = min(1.0, SIDE / max(stream.width, stream.height))
        shape = {"width": max(1, round(stream.width * scale)), "height": max(1, round(stream.height * scale))}
        for place, frame in enumerate(container.decode(stream)):
            if place in wanted:
                taken.append(frame.to_ndarray(format="rgb24", **shape))
            if place >= max(wanted):
                break
    if not taken:
        raise BadClip("clip without a frame")
    return np.stack(taken)


def film(pictures: np.ndarray) -> bytes:
    """A clip of frames uint8[n, H, W, 3], one a second: JPEGs in Matroska, the same bytes of the same frames."""
    av, file = library(), io.BytesIO()
    with av.open(file, "w", format="matroska", options={"fflags": "bitexact"}) as out:
        stream = out.add_stream("mjpeg", rate=1, options={"flags": "bitexact+qscale", "global_quality": QUALITY})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuvj420p"
        stream.thread_count = 1
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = place, Fraction(1)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def heard(clip: bytes, most: float) -> tuple[np.ndarray, int]:
    """float32[T], its sound in one channel, the first `most` seconds; and how many samples a second has.

    FFmpeg's resampler is not asked: with damaged files it ends the process (PyAV 14 to 17, found by mutation).
    """
    parts, length = [np.empty(0, np.float32)], 0
    with opened(clip, "audio") as (container, stream):
        rate = int(stream.codec_context.sample_rate)
        for frame in container.decode(stream):
            samples, channels = frame.to_ndarray(), frame.layout.nb_channels
            if not frame.format.is_planar:
                samples = samples.reshape(-1, channels).T
            parts.append(_scaled(samples).mean(axis=0))
            length += len(parts[-1])
            if length >= most * rate:
                break
    return np.concatenate(parts)[: int(most * rate)], rate


def _scaled(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] of samples of whatever numbers; those of bytes have no sign."""
    if samples.dtype.kind == "f":
        return np.nan_to_num(samples.astype(np.float32), posinf=0, neginf=0).clip(-1, 1)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))


@contextmanager
def opened(clip: bytes, kind: str) -> Iterator[tuple[Any, Any]]:
    """The container and its first stream of that kind, `video` or `audio`; whatever fails within is a BadClip."""
    av = library()
    if len(clip) > MAX_BYTES:
        raise BadClip(f"clip too large: over {MAX_BYTES // 1_000_000} MB")
    safe = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        with av.open(io.BytesIO(clip), container_options=safe) as container:
            streams = getattr(container.streams, kind)
            if not streams:
                raise BadClip(f"clip without {kind}")
            yield container, streams[0]
    except BadClip:
        raise
    except Exception:  # a parser of hostile bytes: FFmpeg's errors, EOF, value and memory errors
        raise BadClip(DAMAGED) from None


def _times(container: Any, stream: Any) -> list[int]:
    """When each frame is shown, in order; read without decoding. Frames in order where the file does not say."""
    found: list[int] = []
    ends = [0.0]  # of all that is seen or heard, in seconds
    for packet in container.demux():
        if packet.pts is not None:
            ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.size and packet.stream_index == stream.index:
            found.append(len(found) if packet.pts is None else packet.pts)
        if len(found) > MAX_FRAMES:
            raise BadClip(f"clip too long: over {MAX_FRAMES:,} frames")
    if not found:
        raise BadClip("clip without a frame")
    said = (container.duration or 0) / 1e6
    if max(ends) - (container.start_time or 0) / 1e6 < LEAST * said:
        raise BadClip(TRUNCATED)
    return sorted(found)


def _evenly(times: list[int]) -> set[int]:
    """Places of the frames nearest after the middles of `MOST` equal parts of the time; all where there are fewer."""
    if len(times) <= MOST:
        return set(range(len(times)))
    length = times[-1] - times[0]
    return {bisect_left(times, times[0] + (part + 0.5) * length / MOST) for part in range(MOST)}
