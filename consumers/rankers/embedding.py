"""Rankers that learn a vector for each user and item: what they have in common, options and training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from augment.base.progress import track
from augment.contracts.options import OnlyWith, one_of
from augment.numeric.ease import CrossFitted
from augment.numeric.histories import binary, minus
from augment.numeric.vectors import unit
from consumers.rankers.base import TUNED, Arrays, Distilled, Ranker, Recency, Rows
from consumers.rankers.losses import CATALOGUE, PAIRS, Batch, distilled
from consumers.rankers.samplers import POOLED, SAMPLERS, Pairs, Sampler

LOSSES = (*CATALOGUE, *PAIRS)
USERS = 256  # per step
# Of vectors float[U, D] and float[I, D] it makes float[L, U, D] and float[L, I, D], of which the factors are the means.
Layers = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class EmbeddingOptions(Recency, Distilled):
    """Of matrix factorisation and LightGCN."""

    fold_in: float = Field(
        0.0,
        ge=0,
        description="Beside a user's own vector counts so many times as much the mean of those that it shows, of which "
        "what is old counts less.",
    )

    loss: Annotated[str, one_of(LOSSES)] = Field(
        "softmax", description="softmax or sl@k over the whole catalogue; bpr, hinge or l2 on pairs."
    )
    temperature: Annotated[float, OnlyWith("loss", CATALOGUE)] = Field(
        0.15, gt=0, description="What the catalogue losses divide cosines by."
    )
    sampler: Annotated[str, one_of(SAMPLERS), OnlyWith("loss", PAIRS)] = Field(
        "uniform", description=f"Draws the negatives of pairs: {', '.join(SAMPLERS)}."
    )
    pool: Annotated[int, OnlyWith("sampler", POOLED)] = Field(
        16, ge=1, description="Draws of which a hard negative is chosen."
    )
    nearest: Annotated[int, OnlyWith("sampler", ("dns-mn",))] = Field(
        4, ge=1, description="It is one of so many of the hardest."
    )
    filter_share: Annotated[float, OnlyWith("loss", PAIRS)] = Field(
        0.0, ge=0, lt=1, description="Share of items, each user's likeliest, that are never drawn."
    )
    adversarial: Literal["", "apr"] = Field("", description="apr: factors also move where the loss grows.")
    adv_weight: Annotated[float, OnlyWith("adversarial", ("apr",))] = Field(
        1.0, ge=0, description="How much the loss of moved factors counts."
    )
    radius: Annotated[float, OnlyWith("adversarial", ("apr",))] = Field(
        0.5, ge=0, description="How far they move, along the gradient."
    )
    dim: int = Field(64, ge=1, description="Learnt numbers per user and item.")
    epochs: int = Field(25, ge=1, description="Times that training goes through all users.")
    lr: float = Field(0.02, gt=0, description="Learning rate.")

    @model_validator(mode="after")
    def _recency_is_read(self) -> EmbeddingOptions:
        if not self.fold_in and (self.recency, self.recency_floor) != (TUNED, TUNED):
            raise ValueError("'recency' and 'recency_floor' are read with a 'fold_in' above 0 only")
        return self


class Embedding(Ranker):
    """Scores are products of a user's and an item's vector. l2: weight decay of the vectors' mean square.

    A synthetic user that was made of a real one trains that one's vector, which is what a shop serves: with a vector of
    its own, thrown away later, what it wants would reach the real user by the items alone.

    With `fold_in` what a user took lately speaks when it is served, beside what training made of all that it took: the
    mean of the items' vectors (as of Covington et al., 2016), which needs no training of its own.
    """

    chance = True
    Options: ClassVar[type[EmbeddingOptions]] = EmbeddingOptions
    options: EmbeddingOptions

    def __init__(self, options: Any, seed: int = 0, device: str = "cpu") -> None:
        super().__init__(options, seed, device)
        # Losses over the catalogue see vectors' directions alone, on which l2 acts little: from 0 to 10, NDCG on
        # validation rows of three sets moved by less than 4%, and not in one direction.
        self.grid = (1.0,) if options.loss in CATALOGUE else (0.0, 0.1, 1.0, 10.0)

    def layers(self, inputs: csr_matrix) -> Layers:
        """A function of the vectors of users float[U, D] and items float[I, D]; see `Layers`."""
        return lambda users, items: (users[None], items[None])

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        for l2 in l2s:
            user, item = self._factors(rows, l2)
            yield {"user": user[: rows.users], "item": item}

    @property
    def ages(self) -> bool:
        return self.options.fold_in > 0

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        user, item = arrays["user"][users], arrays["item"]
        if self.options.fold_in:
            user = unit(user) + np.float32(self.options.fold_in) * unit(shown @ item)
        return user @ item.T

    def _factors(self, rows: Rows, l2: float) -> tuple[np.ndarray, np.ndarray]:
        """User and item factors float32[U, dim], float32[I, dim]."""
        options, (users, items) = self.options, rows.targets.shape
        people, place = np.unique(_people(rows), return_inverse=True)
        random = torch.Generator().manual_seed(self.seed)
        start = 0.1 * torch.randn(len(people) + items, options.dim, generator=random)
        table = start.to(self.device)
        gradient = table.grad = torch.zeros_like(table)
        # Views of one table: what looks up some users need not fill a gradient of all vectors in between.
        vectors = _halves(table, items)
        for vector, its in zip(vectors, _halves(gradient, items), strict=True):
            vector.requires_grad_(True).grad = its
        trainer = _Trainer(rows, options, self.layers(rows.inputs[people]), place, random, self.seed, self.device)
        optimiser = torch.optim.Adam([table], lr=options.lr, fused=True)
        for _ in track(range(options.epochs), f"training {self.name}", "epoch"):
            for chosen in torch.randperm(users, generator=random).split(USERS):
                torch.mul(table, 2 * l2 / table.numel(), out=gradient)  # of l2 times the mean square
                trainer.loss(vectors, chosen).backward()
                optimiser.step()
        with torch.no_grad():
            user, item = (x.mean(dim=0) for x in trainer.layers(*vectors))
            if options.loss in CATALOGUE:
                user, item = F.normalize(user, dim=1), F.normalize(item, dim=1)
        return user.cpu().numpy(), item.cpu().numpy()


class _Trainer:
    """The loss of a batch of users, with what it takes: layers, sampler, filter, adversary, teacher.

    vector: int64[U], the place in the table of each user's own.
    """

    def __init__(
        self,
        rows: Rows,
        options: EmbeddingOptions,
        layers: Layers,
        vector: np.ndarray,
        random: torch.Generator,
        seed: int,
        device: str,
    ) -> None:
        self._rows, self._options, self.layers, self._random, self._device = rows, options, layers, random, device
        self._people, self._vector = _people(rows), torch.from_numpy(vector).to(device)
        self._weight = self._dense(rows.weights.astype(np.float32))
        self._aims = rows.aims
        # APR needs the logits of two passes at a time.
        self._room = None if options.adversarial else torch.empty(USERS, self._aims.shape[1], device=device)
        popularity = torch.from_numpy(np.asarray(self._aims.sum(axis=0), np.float32).ravel())
        self._sampler = Sampler(options.sampler, popularity, random, options.pool, options.nearest)
        self._likely = None
        if options.filter_share:
            fitted = CrossFitted(rows.targets, seed, rows.weights)
            self._likely = fitted.likeliest(np.arange(rows.targets.shape[0]), options.filter_share)

    def loss(self, vectors: tuple[Tensor, Tensor], chosen: Tensor) -> Tensor:
        """Mean over the users at `chosen` int64[B]; with APR, also of perturbed factors."""
        batch = self._batch(chosen)
        users, items = self.layers(*vectors)
        pairs = self._pairs(users, items, batch)
        clean = self._of(users, items, batch, pairs)
        if not self._options.adversarial:
            return clean
        # APR (He et al., 2018): each vector moves along its own gradient; the same pairs are judged again.
        gradients = torch.autograd.grad(clean, vectors, retain_graph=True)
        moved = (x + self._options.radius * F.normalize(g, dim=1) for x, g in zip(vectors, gradients, strict=True))
        return clean + self._options.adv_weight * self._of(*self.layers(*moved), batch, pairs)

    def _batch(self, chosen: Tensor) -> Batch:
        at, rows = chosen.numpy(), self._rows
        targets, others = self._aims[at], None
        if rows.person is not None:  # what a synthetic user's own person has is no negative of it
            others = rows.inputs[self._people[at]]
        if self._likely is not None:
            likely = self._likely[at].astype(np.float32)
            others = likely if others is None else others + likely
        taught = None
        if rows.teacher is not None and rows.taught is not None:
            taught = self._dense(np.asarray(rows.taught[at] @ rows.teacher))
        unasked = None if others is None else minus(binary(others), targets)
        avoided = None if rows.negatives is None else rows.negatives[at]
        return Batch(chosen.to(self._device), targets, unasked, avoided, taught)

    def _pairs(self, users: Tensor, items: Tensor, batch: Batch) -> Pairs | None:
        if self._options.loss not in PAIRS:
            return None
        user = users.index_select(1, self._vector[batch.users]).mean(dim=0)
        return self._sampler.draw(user, items, batch.wanted, batch.own, batch.avoided)

    def _of(self, users: Tensor, items: Tensor, batch: Batch, pairs: Pairs | None) -> Tensor:
        user, item = users.index_select(1, self._vector[batch.users]).mean(dim=0), items.mean(dim=0)
        name, weight = self._options.loss, self._weight[batch.users]
        if pairs is not None:
            losses = PAIRS[name](*pairs.scores(user, items)).mean(dim=1)
        else:
            user, item = F.normalize(user, dim=1) / self._options.temperature, F.normalize(item, dim=1)
            room = None if self._room is None else self._room[: len(user)]
            losses = CATALOGUE[name](user, item, batch, room, self._random)
        losses = losses * batch.teaches
        if batch.taught is not None:
            losses = losses + self._options.distill * distilled(user @ item.T, batch)
        return (losses * weight).sum() / weight.sum()

    def _dense(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self._device)


def _halves(table: Tensor, items: int) -> tuple[Tensor, Tensor]:
    """Views of the users' part of float[U + I, D] and of the items'."""
    return table[: len(table) - items], table[len(table) - items :]


def _people(rows: Rows) -> np.ndarray:
    """int64[U]: see `Rows.person`."""
    return np.arange(rows.targets.shape[0]) if rows.person is None else rows.person
