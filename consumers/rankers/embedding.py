"""Rankers that learn a vector for each user and item: what they have in common, options and training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from augment.contracts.options import OnlyWith, one_of
from augment.numeric.ease import CrossFitted
from consumers.rankers.base import Arrays, Distilled, Ranker, Rows
from consumers.rankers.losses import CATALOGUE, PAIRS, Batch, distilled
from consumers.rankers.samplers import POOLED, SAMPLERS, Pairs, Sampler

LOSSES = (*CATALOGUE, *PAIRS)
USERS = 256  # per step


class EmbeddingOptions(Distilled):
    """Of matrix factorisation and LightGCN."""

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


class Embedding(Ranker):
    """Scores are products of a user's and an item's vector. l2: weight decay of the vectors' mean square.

    A synthetic user that was made of a real one trains that one's vector, which is what a shop serves: with a vector of
    its own, thrown away later, what it wants would reach the real user by the items alone.
    """

    grid = (0.0, 0.1, 1.0, 10.0)
    chance = True
    Options: ClassVar[type[EmbeddingOptions]] = EmbeddingOptions
    options: EmbeddingOptions

    def layers(self, inputs: csr_matrix) -> Callable[[Tensor], Tensor]:
        """A function of all vectors float[U + I, D] that gives float[L, U + I, D], of which a factor is the mean."""
        return lambda table: table[None]

    def fit(self, rows: Rows, l2s: Iterable[float]) -> Iterator[Arrays]:
        for l2 in l2s:
            user, item = self._factors(rows, l2)
            yield {"user": user[: rows.users], "item": item}

    def scores(self, arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
        return arrays["user"][users] @ arrays["item"].T

    def _factors(self, rows: Rows, l2: float) -> tuple[np.ndarray, np.ndarray]:
        """User and item factors float32[U, dim], float32[I, dim]."""
        options, (users, items) = self.options, rows.targets.shape
        people, vector = np.unique(_people(rows), return_inverse=True)
        random = torch.Generator().manual_seed(self.seed)
        start = 0.1 * torch.randn(len(people) + items, options.dim, generator=random)
        table = start.to(self.device).requires_grad_(True)
        trainer = _Trainer(rows, options, self.layers(rows.inputs[people]), vector, random, self.seed, self.device)
        optimiser = torch.optim.Adam([table], lr=options.lr)
        for _ in range(options.epochs):
            for chosen in torch.randperm(users, generator=random).split(USERS):
                total = trainer.loss(table, chosen) + l2 * table.square().mean()
                optimiser.zero_grad(set_to_none=True)
                total.backward()
                optimiser.step()
        with torch.no_grad():
            user, item = (x.mean(dim=0) for x in trainer.layers(table))
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
        layers: Callable[[Tensor], Tensor],
        vector: np.ndarray,
        random: torch.Generator,
        seed: int,
        device: str,
    ) -> None:
        self._rows, self._options, self._layers, self._random, self._device = rows, options, layers, random, device
        self._people, self._vector = _people(rows), torch.from_numpy(vector).to(device)
        self._weight = self._dense(rows.weights.astype(np.float32))
        self._aims = rows.aims
        popularity = torch.from_numpy(np.asarray(self._aims.sum(axis=0), np.float32).ravel())
        self._sampler = Sampler(options.sampler, popularity, random, options.pool, options.nearest)
        self._likely = None
        if options.filter_share:
            fitted = CrossFitted(rows.targets, seed, rows.weights)
            self._likely = fitted.likeliest(np.arange(rows.targets.shape[0]), options.filter_share)

    def layers(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of people float[L, P, D] and items float[L, I, D], whose mean over layers is the factor."""
        every = self._layers(table)
        people = every.shape[1] - self._rows.targets.shape[1]
        return every[:, :people], every[:, people:]

    def loss(self, table: Tensor, chosen: Tensor) -> Tensor:
        """Mean over the users at `chosen` int64[B]; with APR, also of perturbed factors."""
        batch = self._batch(chosen)
        users, items = self.layers(table)
        pairs = self._pairs(users, items, batch)
        clean = self._of(users, items, batch, pairs)
        if not self._options.adversarial:
            return clean
        # APR (He et al., 2018): each row of the table moves along its own gradient; the same pairs are judged again.
        gradient = torch.autograd.grad(clean, table, retain_graph=True)[0]
        moved = table + self._options.radius * F.normalize(gradient, dim=1)
        return clean + self._options.adv_weight * self._of(*self.layers(moved), batch, pairs)

    def _batch(self, chosen: Tensor) -> Batch:
        at, rows = chosen.numpy(), self._rows
        wanted = self._dense(self._aims[at].toarray())
        own = asked = wanted > 0
        if rows.person is not None:  # what a synthetic user's own person has is no negative of it
            own = own | (self._dense(rows.inputs[self._people[at]].toarray()) > 0)
        if self._likely is not None:
            own = own | (self._dense(self._likely[at].toarray()) > 0)
        avoided = None if rows.negatives is None else self._dense(rows.negatives[at].toarray())
        taught = None
        if rows.teacher is not None and rows.taught is not None:
            taught = self._dense(np.asarray(rows.taught[at] @ rows.teacher))
        unasked = None if own is asked else own & ~asked
        return Batch(chosen.to(self._device), wanted, own, unasked, avoided, taught)

    def _pairs(self, users: Tensor, items: Tensor, batch: Batch) -> Pairs | None:
        if self._options.loss not in PAIRS:
            return None
        user = users[:, self._vector[batch.users]].mean(dim=0)
        return self._sampler.draw(user, items, batch.wanted, batch.own, batch.avoided)

    def _of(self, users: Tensor, items: Tensor, batch: Batch, pairs: Pairs | None) -> Tensor:
        user = users[:, self._vector[batch.users]].mean(dim=0)
        name, weight = self._options.loss, self._weight[batch.users]
        if pairs is not None:
            losses = PAIRS[name](*pairs.scores(user, items)).mean(dim=1)
            logits = user @ items.mean(dim=0).T if batch.taught is not None else None
        else:
            logits = F.normalize(user, dim=1) @ F.normalize(items.mean(dim=0), dim=1).T / self._options.temperature
            losses = CATALOGUE[name](logits, batch, self._random)
        # A user who wants nothing, or to whom nothing can be a negative, teaches nothing.
        losses = losses * ((batch.wanted.sum(dim=1) > 0) & ~batch.own.all(dim=1))
        if batch.taught is not None and logits is not None:
            losses = losses + self._options.distill * distilled(logits, batch)
        return (losses * weight).sum() / weight.sum()

    def _dense(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self._device)


def _people(rows: Rows) -> np.ndarray:
    """int64[U]: see `Rows.person`."""
    return np.arange(rows.targets.shape[0]) if rows.person is None else rows.person
