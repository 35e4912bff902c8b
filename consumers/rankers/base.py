"""What every ranker is: it fits arrays to users and items, and scores by them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, model_validator
from scipy.sparse import csr_matrix, diags, vstack

from augment.contracts.options import BaseOptions
from augment.numeric.ease import product
from augment.numeric.histories import binary, recent
from consumers.data.interactions import Synthetic

Arrays = dict[str, np.ndarray]  # what a fitted ranker is saved as
TUNED = -1.0


@dataclass(frozen=True)
class Rows:
    """The users of training: the `users` real ones that are scored later, then fake and synthetic ones.

    inputs: binary float32[U, I], what each shows; targets: the same, what each must rank high; order: a history (see
    `histories`), empty for a user whose items have no order; weights: float[U], how much each user counts;
    worth: float32[I], how much each item does as a target; negatives: binary float32[U, I], items that each must rank
    low, or None. person: int64[U], the row of whom each is: of a synthetic user the real one that it was made of, where
    that is known, else itself, as of all where it is None. teacher: item-to-item weights float32[I, I] of an EASE model
    to learn from, and `taught` float32[U, I] what each user shows to it, or None.
    """

    users: int
    inputs: csr_matrix
    targets: csr_matrix
    order: csr_matrix
    weights: np.ndarray
    worth: np.ndarray
    negatives: csr_matrix | None = None
    person: np.ndarray | None = None
    teacher: np.ndarray | None = None
    taught: csr_matrix | None = None

    @classmethod
    def of(
        cls, history: csr_matrix, trust: np.ndarray, users: int, mix: Synthetic | None, propensity: float = 0.0
    ) -> Rows:
        """Users with a `history`, of whom the first `users` are real, and the mix.

        trust: float[n], how much each with a history counts, and the synthetic users made of it.
        propensity: the power of the inverse popularity that a target is worth.
        """
        inputs = targets = binary(history)
        order, weights, negatives, person = history, trust, None, None
        if mix is not None:
            none = csr_matrix(mix.items.shape, dtype=np.float32)
            inputs, targets = vstack([inputs, mix.items]).tocsr(), vstack([inputs, mix.targets]).tocsr()
            negatives = vstack([csr_matrix(history.shape, dtype=np.float32), mix.negatives]).tocsr()
            order = vstack([history, none]).tocsr()
            of_anchor = np.append(trust[:users], 1)[mix.anchor]  # the last is that of an anchor not known, −1
            # Fake users in the log would have been anchors like all others: each counts as a user with its samples.
            logged = np.append(trust[:users], trust[users:] * (1 + mix.weight.sum() / users))
            weights = np.concatenate([logged, of_anchor * mix.weight])
            person = np.arange(inputs.shape[0])
            person[history.shape[0] :] = np.where(mix.anchor < 0, person[history.shape[0] :], mix.anchor)
        worth = np.ones(history.shape[1], np.float32)
        if propensity:
            worth = _inverse_propensity(targets, weights, propensity)
        return cls(users, inputs, targets, order, weights, worth, negatives, person)

    @property
    def aims(self) -> csr_matrix:
        """float32[U, I]: targets, each as much as its item is worth."""
        return (self.targets @ diags(self.worth)).tocsr()


def _inverse_propensity(targets: csr_matrix, weights: np.ndarray, power: float) -> np.ndarray:
    """float32[I]: popularity ** −power, scaled so that the mean over targets is 1."""
    popularity = np.maximum(targets.T @ weights, 1)
    scale = popularity**-power
    return (scale * popularity.sum() / (scale * popularity).sum()).astype(np.float32)


def _at_least_zero(value: float) -> float:
    if value < 0 and value != TUNED:
        raise ValueError(f"must be 0 up, or {TUNED:g} to be tuned")
    return value


def _share(value: float) -> float:
    if not 0 <= value <= 1 and value != TUNED:
        raise ValueError(f"must be 0 to 1, or {TUNED:g} to be tuned")
    return value


Tuned = Annotated[float, AfterValidator(_at_least_zero)]  # −1: on validation rows


class Recency(BaseOptions):
    """Of rankers whose scores come from the items shown: in what a user shows, what is old counts less."""

    recency: Tuned = Field(
        TUNED,
        description="An item that so many later ones follow counts 1/e of the latest; 0: all alike. -1 tunes it.",
    )
    recency_floor: Annotated[float, AfterValidator(_share)] = Field(
        TUNED, description="The least that an item counts, however old. -1 tunes it."
    )

    @model_validator(mode="after")
    def _floor_is_read(self) -> Recency:
        if self.recency == 0 and self.recency_floor != TUNED:
            raise ValueError("'recency_floor' is read with a recency other than 0 only")
        return self


class Distilled(BaseOptions):
    """Of rankers that can learn from what an EASE teacher says; see `Rows.teacher`."""

    distill: float = Field(
        0.0, ge=0, description="Weight of what an EASE teacher, tuned on validation rows, would say."
    )


class Ranker(ABC):
    """One file in this folder, called as the class's `name` says, and nothing else: `RANKERS` finds it.

    grid: l2 values worth trying. chance: another seed is another model. Options: those of its own, beside what all
    recommenders have; of `Recency` where its scores come from the items shown, of `Distilled` where it learns of a
    teacher.
    """

    name: ClassVar[str]
    grid: tuple[float, ...]
    chance: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = BaseOptions

    def __init__(self, options: Any, seed: int = 0, device: str = "cpu") -> None:
        """options: of the type `Options`, or one derived from it."""
        self.options, self.seed, self.device = options, seed, device

    @property
    def ages(self) -> bool:
        """Whether what is old counts less, of what a user shows: by how much is an option, or tuned."""
        return isinstance(self.options, Recency)

    @abstractmethod
    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        """Arrays for each l2 in turn; what they share is made once.

        One l2 is taken when its arrays are asked for: which it is may hang on what the last ones were worth.
        """

    def grown(self, rows: Rows, others: Iterable[Rows], l2: float) -> Iterator[Arrays]:
        """Arrays for each of `others`: `rows` with fake users beside the real ones. Fitted anew, if need be."""
        return (next(self.fit(other, (l2,))) for other in others)

    @abstractmethod
    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        """float32[n, I] of the users at places int64[n], who show `shown` float32[n, I]."""

    def by_recency(
        self, arrays: Arrays, history: csr_matrix, recencies: Iterable[tuple[float, float]], users: np.ndarray
    ) -> Iterator[np.ndarray]:
        """`scores` for each recency and floor in turn, of users who show `history` [n, I]; see `recent`."""
        return (self.scores(arrays, recent(history, *one), users) for one in recencies)


class ByItems(Ranker):
    """Scores are sums of item-to-item weights float32[I, I], array "items", over what is shown."""

    Options: ClassVar[type[BaseModel]] = Recency

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        return product(shown, arrays["items"])

    def by_recency(
        self, arrays: Arrays, history: csr_matrix, recencies: Iterable[tuple[float, float]], users: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Sums over what is shown are sums of sums: floors need no product of their own."""
        alike, last = self.scores(arrays, binary(history), users), 0.0
        for tau, floor in recencies:
            if tau != last:
                aged, last = self.scores(arrays, recent(history, tau, 0.0), users), tau
            yield floor * alike + (1 - floor) * aged if tau else alike.copy()
