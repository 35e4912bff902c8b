"""What really happens to clips over time: cuts and gaps, of films as of sounds; and noise, which generation never adds.

An edit takes what `clips.opened` gives, whose first axis is time, and a strength from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Edit = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]
MOST = 0.75  # of a clip that an edit of strength 1 takes away
GAPS = 4


def trim(parts: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """It begins later and ends sooner."""
    kept = max(1, round(len(parts) * (1 - MOST * strength)))
    start = int(rng.integers(len(parts) - kept + 1))
    return parts[start : start + kept]


def gaps(parts: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Pieces are lost, as over a bad line, and what is left closes up."""
    lost = round(len(parts) * MOST * strength / GAPS)
    there = np.ones(len(parts), bool)
    for start in rng.integers(max(1, len(parts) - lost), size=GAPS):
        there[start : start + lost] = False
    there[int(rng.integers(len(parts)))] = True
    return parts[there]


def noise(parts: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A poor microphone, or too little light."""
    loud = (0.05 if parts.dtype == np.float32 else 50.0) * strength
    noisy = parts + loud * rng.standard_normal(parts.shape, np.float32)
    low, high = (-1, 1) if parts.dtype == np.float32 else (0, 255)
    return noisy.clip(low, high).astype(parts.dtype)


FAMILIES: Mapping[str, Edit] = {"trim": trim, "gaps": gaps}
HELD_OUT: Mapping[str, Edit] = {"noise": noise}
