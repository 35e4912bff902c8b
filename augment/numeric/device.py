"""Where tensors live: the processor, or the GPU where there is one and it is asked for."""

from __future__ import annotations

import torch

from augment.base.errors import UsageError
from augment.base.progress import say
from augment.numeric.neighbours import set_threads


def resolve_device(device: str, threads: int | None) -> str:
    """ "auto" is the GPU where there is one. Says what it chose; raises UsageError for a GPU that is not there."""
    if threads:
        torch.set_num_threads(threads)
        set_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here; use --device cpu, or see `sparring doctor`")
    chosen = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    say(f"device: {torch.cuda.get_device_name() if chosen == 'cuda' else f'cpu, {torch.get_num_threads()} threads'}")
    return chosen
