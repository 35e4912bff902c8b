"""Matrix factorisation (Koren et al., 2009): the vectors are what is learnt of each user and item."""

from __future__ import annotations

from consumers.rankers.embedding import Embedding, EmbeddingOptions


class MF(Embedding):
    name = "mf"

    class Options(EmbeddingOptions):
        """Of matrix factorisation."""
