"""Misspelt copies of test texts: worst of a pool of typos (and synonyms), and two families held out of generation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pydantic import Field

from augment.contracts.options import BaseOptions
from augment.language import typos
from consumers.scoring.classification import attacked_rows

Family = Callable[[str, np.random.Generator], str]
SYNONYMS = 14 / 24  # variants by synonyms per variant by typos


class TextAttacks(BaseOptions):
    """Of attacks on texts."""

    variants: int = Field(8, ge=0, description="Typos of each attacked text; each costs an encoding.")
    synonyms: str = Field("", description="Lexicon of synonym attacks: wordnet, cilin or a file; without it, none.")
    held_out: int = Field(4, ge=0, description="Variants of each family that generation never uses.")
    attacked_rows: int = Field(300, ge=0, description="Test rows, at most, that attacks are made of.")


def attacked_texts(test: pa.Table, options: TextAttacks, seed: int) -> dict[str, pa.Table]:
    """Attack → its variants of some rows: `pool`, and of families that generation never uses `unseen` and `respelt`."""
    rng = np.random.default_rng(seed)
    rows = attacked_rows(test, options.attacked_rows)
    chosen = test.select(["row_id", "text", "label"]).take(pa.array(rows))
    pool: list[Family] = [typos.typo] * options.variants
    if options.synonyms:
        from augment.language.lexicon import lexicon, replace_words

        words = lexicon(options.synonyms)
        synonym = partial(replace_words, lexicon=words, rate=typos.RATE)
        pool += [lambda text, rng: synonym(text, rng=rng)] * round(SYNONYMS * options.variants)
    pools: dict[str, list[Family]] = {
        "pool": pool,
        "unseen": [typos.unseen] * options.held_out,
        "respelt": [typos.respelt] * options.held_out,
    }
    made = {name: _variants(chosen, families, rng) for name, families in pools.items()}
    first = {"typos": ("pool", 0), "unseen": ("unseen", 0), "respelt": ("respelt", 0)}
    if options.synonyms:
        first["synonyms"] = ("pool", options.variants)
    typos.say_touched({
        f"attack '{family}'": zip(
            chosen["text"].to_pylist(), made[pool]["text"].to_pylist()[at :: len(pools[pool])], strict=True
        )
        for family, (pool, at) in first.items() if at < len(pools[pool])
    })  # fmt: skip
    return made


def _variants(rows: pa.Table, families: Sequence[Family], rng: np.random.Generator) -> pa.Table:
    """Each row once by each of the families."""
    wide = rows.take(pa.array(np.arange(len(rows)).repeat(len(families))))
    makers = itertools.cycle(families)
    texts = [make(text, rng) for text, make in zip(wide["text"].to_pylist(), makers, strict=False)]
    return wide.set_column(1, "text", pa.array(texts, pa.string()))
