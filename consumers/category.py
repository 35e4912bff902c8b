"""Categories of texts, or ratings from 1 to 5: one of K classes, on frozen sentence embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa

from augment.contracts.consumer import Looked
from consumers.models.many_classes import ManyClasses
from consumers.scoring.text_attacks import TextAttacks, attacked_texts
from consumers.sentiment import Sentiment


class Category(ManyClasses):
    """Tables have `text` too; see `ManyClasses`."""

    name = "category"
    modality: ClassVar[str] = "text"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("accuracy", "macro_f1", "logloss", "ece"),
        "slices": ("accuracy_rare",),
        "robust": ("accuracy_pool", "accuracy_unseen", "accuracy_respelt", "accuracy_pgd", "accuracy_apgd"),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("unseen", "respelt")
    rehearsed: ClassVar[tuple[str, ...]] = ("accuracy_pool", "accuracy_pgd", "accuracy_apgd")

    class Options(TextAttacks, ManyClasses.Options):
        """Of a model of categories of texts."""

    options: Options

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        return attacked_texts(test, self.options, seed)

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        lines = Sentiment.first_recipe(found)[:-1]
        return [*lines, 'verdict = { clean = ["accuracy"], improve = ["accuracy_pool", "accuracy_unseen"] }']
