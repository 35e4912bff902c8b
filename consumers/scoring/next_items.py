"""Next-item metrics by full ranking, one value per user; and what spoils a history: misclicks, items not yet known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from augment.numeric.measures import Clustered, Mean, Measure
from augment.numeric.sequences import Sequences
from consumers.scoring.ranking import TAIL, Coverage

K = 20
ROWS = 512  # at a time: bounds the memory
SHORT = 3  # items of a short history, at most
CLICKS, SHUFFLED = 2, 5  # misclicks, and items at the end whose order is lost
Scores = Callable[[Sequences], np.ndarray]


@dataclass(frozen=True)
class Asked:
    """Interactions to be foretold: shown, all that their users did before, m sequences, none empty; target int64[m].

    user: int64[m], whose, from 0 on without a gap; hide: whether what a user had before is never recommended.
    """

    shown: Sequences
    target: np.ndarray
    user: np.ndarray
    hide: bool

    @classmethod
    def of(cls, every: Sequences, asked: np.ndarray, hide: bool) -> Asked:
        """The items of `every` where bool[N] is true, but for those that nothing came before."""
        place = np.arange(len(every.items)) - every.offsets[every.owners]
        asked = asked & (place > 0)
        user = np.unique(every.owners[asked], return_inverse=True)[1]
        return cls(every.before(asked), every.items[asked], user, hide)

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: np.ndarray) -> Asked:
        user = np.unique(self.user[index], return_inverse=True)[1]
        return Asked(self.shown.take(index), self.target[index], user, self.hide)

    @property
    def repeats(self) -> np.ndarray:
        """bool[m]: whether the user had the target before."""
        met = self.shown.items == self.target[self.shown.owners]
        return np.bincount(self.shown.owners[met], minlength=len(self)) > 0


@dataclass(frozen=True)
class Found:
    """rank: float64[m] of each target, 1 the best, in the middle of those that score alike; lists: int64[m, k]."""

    rank: np.ndarray
    lists: np.ndarray

    @property
    def ndcg(self) -> np.ndarray:
        """float64[m]: there is one relevant item."""
        return np.where(self.rank <= K, 1 / np.log2(1 + self.rank), 0.0)

    @property
    def hit(self) -> np.ndarray:
        """float64[m]"""
        return (self.rank <= K).astype(np.float64)


def found(scores: Scores, asked: Asked, shown: Sequences | None = None) -> Found:
    """What a model finds, full ranking over all items; shown: what it is shown instead, m sequences."""
    shown = asked.shown if shown is None else shown
    ranks, lists = [], []
    for start in range(0, len(asked), ROWS):
        some = np.arange(start, min(start + ROWS, len(asked)))
        given, every = scores(shown.take(some)), np.arange(len(some))
        if asked.hide:
            had = asked.shown.take(some)
            given[had.owners, had.items] = -np.inf
        own = given[every, asked.target[some]][:, None]
        above, alike = (given > own).sum(axis=1), (given == own).sum(axis=1)
        ranks.append(np.where(np.isfinite(own[:, 0]), 1 + above + (alike - 1) / 2, np.inf))
        k = min(K, given.shape[1])
        lists.append(np.argpartition(-given, k - 1, axis=1)[:, :k])
    if not ranks:
        return Found(np.empty(0), np.empty((0, K), np.int64))
    return Found(np.concatenate(ranks), np.concatenate(lists))


def by_user(values: np.ndarray, user: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
    """float64[users]: the mean of each user's values float64[m], of those `which` bool[m]; of users with any."""
    if which is not None:
        values, user = values[which], user[which]
    count = np.bincount(user)
    return np.bincount(user, values)[count > 0] / count[count > 0]


def ndcg(scores: Scores, asked: Asked) -> float:
    """Mean over users; 0 where nothing is asked."""
    return float(by_user(found(scores, asked).ndcg, asked.user).mean()) if len(asked) else 0.0


def measures(result: Found, asked: Asked, popularity: np.ndarray) -> dict[str, Measure]:
    """popularity: float[I], of items in training rows."""
    rare = np.zeros(len(popularity), bool)
    rare[np.argsort(popularity, kind="stable")[: int(TAIL * len(popularity))]] = True
    tail, short = rare[asked.target], asked.shown.lengths <= SHORT
    usual = popularity[result.lists].mean(axis=1) / popularity.mean()
    return {
        "ndcg@20": Mean(by_user(result.ndcg, asked.user)),
        "recall@20": Mean(by_user(result.hit, asked.user)),
        "tail_recall@20": Mean(by_user(result.hit, asked.user, tail)),
        "short_recall@20": Mean(by_user(result.hit, asked.user, short)),
        "coverage": Clustered(Coverage(result.lists, len(popularity)), asked.user),
        "mean_popularity": Mean(by_user(usual, asked.user), "lower"),
    }


def new_measures(scores: Scores, asked: Asked, items: int) -> dict[str, Mean]:
    """As of `ranking.new_measures`: `scores` are of known and of new items, of which the first `items` are known.

    What a user did with new items is not shown, since no model knows them; nor are they recommended again.
    """
    shown = asked.shown.kept(asked.shown.items < items)
    able = np.flatnonzero(shown.lengths)
    asked, shown = asked.take(able), shown.take(able)
    every, new = found(scores, asked, shown), asked.target >= items
    alone = Asked(shown.take(np.flatnonzero(new)), asked.target[new] - items, asked.user[new], hide=False)
    among = found(lambda shown: scores(shown)[:, items:], alone)
    return {
        "ndcg_all@20": Mean(by_user(every.ndcg, asked.user)),
        "recall_new@20": Mean(by_user(among.hit, alone.user)),
        "exposure_new@20": Mean(by_user((every.lists >= items).mean(axis=1), asked.user)),
    }


# -- attacks on what is shown ----------------------------------------------------------------------


def misclicks(shown: Sequences, popularity: np.ndarray, rng: np.random.Generator) -> Sequences:
    """Two items by chance, the popular the more likely, come after all others."""
    drawn = rng.choice(len(popularity), (len(shown), CLICKS), p=popularity / popularity.sum())
    return Sequences.joined([np.concatenate(pair) for pair in zip(shown, drawn, strict=True)])


def dropped(shown: Sequences, popularity: np.ndarray, rng: np.random.Generator) -> Sequences:
    """The latest item is not known yet; a sequence of one item stays."""
    return shown.kept((shown.ages > 0) | (shown.lengths[shown.owners] == 1))


def shuffled(shown: Sequences, popularity: np.ndarray, rng: np.random.Generator) -> Sequences:
    """The latest five items in any order."""
    end = shown.ages < SHUFFLED
    order = np.arange(len(shown.items))
    order[end] = order[end][np.lexsort((rng.random(end.sum()), shown.owners[end]))]
    return Sequences(shown.items[order], shown.offsets)


ATTACKS = {"misclicks": misclicks, "dropped": dropped, "shuffled": shuffled}
