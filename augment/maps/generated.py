"""A map that the generator makes: it moves what the neighbours say along errors that they really made."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor
from torch.nn import functional as F

from augment.contracts.content_map import ContentMap
from augment.contracts.options import BaseOptions
from augment.numeric.neighbours import Neighbours
from augment.numeric.vectors import unit
from gan.pair import Pair, Settings
from gan.victim import Condition

SURE = 10.0  # the margin of a vector that points where the true one does
NEAR = 8  # known items nearest by content, whose errors are offered
CONTEXT = 64  # dimensions of content that the networks see
DRAWS = 8  # of the generator, whose mean is the prediction


class Generated(ContentMap):
    """A residual conditional GAN in the space of behaviour (for cold items: Chen et al., 2022), grounded in errors.

    Attention over the nearest known items predicts whom an item is taken by. How far it was off for each known item,
    seen from the others, are displacements that occurred; the generator chooses among those of near items, against a
    critic that knows the true pairs and towards the true behaviour. What it says is written as known items' weights
    by ridge regression on their behaviour.
    """

    name = "generated"
    what = "what the nearest known items say, moved by the generator along errors that this makes"

    class Options(BaseOptions):
        tau: float = Field(0.1, gt=0, description="Difference of cosines that counts e times as much.")
        nearest: int = Field(50, ge=1, description="How many known items predict.")
        steps: int = Field(
            300, ge=1, description="Training steps of the generator; at a strength of 0 it is not asked."
        )
        strength: float = Field(1.0, ge=0, le=1.5, description="How far it moves, in lengths of real errors.")
        critic_weight: float = Field(1.0, ge=0, description="How much it counts to look like a true pair.")
        l2: float = Field(1.0, gt=0, description="Regularisation of the weights.")

    grid = ({}, {"strength": 0.5}, {"strength": 0.0})
    options: Options

    def fit(self, content: np.ndarray, behaviour: np.ndarray) -> Generated:
        self._behaviour, self._near = behaviour, Neighbours(content)
        mean = content.mean(axis=0)
        _, _, axes = np.linalg.svd((content - mean)[: 4 * CONTEXT * 8], full_matrices=False)
        self._mean, self._axes = mean, axes[:CONTEXT].T
        said, near = self._said(content, own=True)
        self._errors = behaviour - said
        gram = behaviour.T @ behaviour
        gram[np.diag_indices_from(gram)] += self.options.l2
        self._factor = cho_factor(gram)
        if self.options.strength:
            self._train(content, said, near)
        return self

    def weights(self, content: np.ndarray) -> np.ndarray:
        said, near = self._said(content, own=False)
        if self.options.strength:
            said = self._moved(content, said, near)
        return (self._behaviour @ cho_solve(self._factor, unit(said).T)).T.astype(np.float32)

    def _said(self, content: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray]:
        """Behaviour float32[n, D] by the nearest known items, and `NEAR` of them; not by an item itself, if `own`."""
        distance, near = self._near.search(content, self.options.nearest + own)
        distance, near = distance[:, int(own) :], near[:, int(own) :]
        share = np.exp((distance[:, :1] ** 2 - distance**2) / 2 / self.options.tau)
        share /= share.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkd->nd", share, self._behaviour[near]).astype(np.float32), near[:, :NEAR]

    def _train(self, content: np.ndarray, said: np.ndarray, near: np.ndarray) -> None:
        settings = Settings(steps=self.options.steps, sphere=False, seed=self.seed, victim_weight=4.0,
                            critic_weight=self.options.critic_weight, band=(SURE, 10 * SURE))  # fmt: skip
        context = self._context(content)
        self._pair = Pair(said.shape[1], 1, context.shape[1], settings, "cpu")
        x, true, deltas = (torch.from_numpy(a) for a in (said, self._behaviour, self._errors[near].astype(np.float32)))
        scale, random = deltas.norm(dim=2).mean(), torch.Generator().manual_seed(self.seed)
        victim = _Towards(true)
        for step in range(settings.steps):
            some = torch.randint(len(x), (min(settings.batch, len(x)),), generator=random)
            condition = Condition(some, torch.zeros(len(some), dtype=torch.int64), context[some])
            offers = tuple(self._pair.offer(deltas[some], random) for _ in range(3))
            self._pair.critic_step(step, x[some], true[some], condition, offers[2], scale)
            self._pair.generator_step(victim, x[some], condition, (offers[0], offers[1]), scale)

    def _moved(self, content: np.ndarray, said: np.ndarray, near: np.ndarray) -> np.ndarray:
        x, context = torch.from_numpy(said), self._context(content)
        deltas = torch.from_numpy(self._errors[near].astype(np.float32))
        none = torch.zeros(len(x), dtype=torch.int64)
        random, total = torch.Generator().manual_seed(self.seed), torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(DRAWS):
                offer = self._pair.offer(deltas[:1], random, self.options.strength)  # the same chance for every item
                chance = (
                    offer.z.expand(len(x), -1),
                    offer.gumbel.expand(len(x), -1),
                    deltas,
                    offer.strength.expand(len(x), 1),
                )
                total += self._pair.generator(x, Condition(none, none, context), *chance)
        return (total / DRAWS).numpy()

    def _context(self, content: np.ndarray) -> Tensor:
        return torch.from_numpy(((content - self._mean) @ self._axes).astype(np.float32))


class _Towards:
    """A victim whose margin grows as a vector points towards the true behaviour float32[I, D] of the item asked for."""

    prior = 0.0

    def __init__(self, true: Tensor) -> None:
        self._true, self.dim = true, true.shape[1]

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        return F.softplus(-SURE * F.cosine_similarity(embedding, self._true[condition.label], dim=1))
