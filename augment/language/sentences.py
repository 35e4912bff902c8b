"""A text made of two: sentences of one, then sentences of the other (SSMix and CutMix do this with spans and patches).

Yoon, Kim & Park (2021), Findings of ACL: SSMix.
"""

from __future__ import annotations

import numpy as np
import regex

from augment.language.typos import units, unspaced

_SENTENCE = regex.compile(r".+?(?:[.!?…]+(?=\s|$)|[。！？]+|$)\s*", regex.DOTALL)


def blend(one: str, other: str, share: float, rng: np.random.Generator) -> tuple[str, float]:
    """About `share` of the first text, then about 1 − `share` of the second; and the first one's share of the result.

    Sentences stay whole, in their order. Of a text of a single sentence a run of words is taken; something of each,
    always.
    """
    parts = [_part(one, share, rng), _part(other, 1 - share, rng)]
    mine = len(parts[0]) / max(1, sum(map(len, parts)))
    return ("" if all(map(unspaced, parts)) else " ").join(parts), mine


def _part(text: str, share: float, rng: np.random.Generator) -> str:
    """At random: sentences until `share` of the characters is reached as nearly as can be, one at least."""
    sentences = _SENTENCE.findall(text)
    if len(sentences) < 2:
        return _run(text, share, rng)
    chosen: list[int] = []
    size = 0
    for i in rng.permutation(len(sentences)).tolist():
        nearer = abs(size + len(sentences[i]) - share * len(text)) < abs(size - share * len(text))
        if nearer or not chosen:
            chosen.append(i)
            size += len(sentences[i])
    return "".join(sentences[i] for i in sorted(chosen)).strip()


def _run(text: str, share: float, rng: np.random.Generator) -> str:
    words = units(text)
    count = max(1, round(share * len(words)))
    start = int(rng.integers(len(words) - count + 1))
    return ("" if unspaced(text) else " ").join(words[start : start + count]).strip()
