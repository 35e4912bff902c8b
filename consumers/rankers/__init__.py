"""Models that rank items for users, by name: a module each. `Recommender` gives them rows, tunes them, tests them."""

from consumers.rankers.als import ALS
from consumers.rankers.base import Arrays, Ranker, Rows
from consumers.rankers.ease import EASE
from consumers.rankers.factors import LIGHTGCN, MF
from consumers.rankers.neighbours import NEIGHBOURS
from consumers.rankers.popularity import POPULARITY
from consumers.rankers.transitions import TRANSITIONS

RANKERS: dict[str, Ranker] = {
    "ease": EASE,
    "mf": MF,
    "lightgcn": LIGHTGCN,
    "als": ALS,
    "neighbours": NEIGHBOURS,
    "transitions": TRANSITIONS,
    "popular": POPULARITY,
}

__all__ = ["RANKERS", "Arrays", "Ranker", "Rows"]
