"""Matrix factorisation and LightGCN: losses over the whole catalogue or on sampled pairs, one training loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from augment.numeric.ease import CrossFitted
from consumers.rankers.base import Arrays, Ranker, Rows
from consumers.rankers.samplers import Pairs, Sampler

LAYERS = 2  # of LightGCN
USERS = 256  # per step
SAMPLED = 1000  # items from which SL@K estimates each user's top-K bar
TOP = 20  # its K
DISTILL_TEMPERATURE = 0.1  # of the teacher's scores, which lie about [0, 1]


@dataclass(frozen=True)
class Settings:
    """How factors are trained; beside `graph`, the names are those of `Recommender`'s options."""

    graph: bool
    loss: str
    sampler: str
    pool: int
    nearest: int
    filter_share: float
    adversarial: str
    adv_weight: float
    radius: float
    distill: float
    temperature: float
    dim: int
    epochs: int
    lr: float
    seed: int
    device: str


@dataclass(frozen=True)
class Batch:
    """Rows of one step, dense: float[B, I] or None; see `Rows`. own: bool[B, I], what is no negative."""

    users: Tensor
    wanted: Tensor
    own: Tensor
    avoided: Tensor | None
    taught: Tensor | None


def _fit(graph: bool, rows: Rows, l2s: Sequence[float], options: Mapping[str, Any]) -> Iterator[Arrays]:
    settings = Settings(graph=graph, **{field.name: options[field.name] for field in fields(Settings)[1:]})
    for l2 in l2s:
        user, item = _factors(rows, l2, settings)
        yield {"user": user[: rows.users], "item": item}


def _scores(arrays: Arrays, shown: csr_matrix, users: np.ndarray) -> np.ndarray:
    return arrays["user"][users] @ arrays["item"].T


def _factors(rows: Rows, l2: float, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """User and item factors float32[U, dim], float32[I, dim]; l2: weight decay of the factors' mean square."""
    users, items = rows.targets.shape
    random = torch.Generator().manual_seed(settings.seed)
    start = 0.1 * torch.randn(users + items, settings.dim, generator=random)
    table = start.to(settings.device).requires_grad_(True)
    trainer = _Trainer(rows, settings, random)
    optimiser = torch.optim.Adam([table], lr=settings.lr)
    for _ in range(settings.epochs):
        for chosen in torch.randperm(users, generator=random).split(USERS):
            total = trainer.loss(table, chosen) + l2 * table.square().mean()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            optimiser.step()
    with torch.no_grad():
        user, item = (x.mean(dim=0) for x in trainer.layers(table))
        if settings.loss in CATALOGUE:
            user, item = F.normalize(user, dim=1), F.normalize(item, dim=1)
    return user.cpu().numpy(), item.cpu().numpy()


class _Trainer:
    """The loss of a batch of users, with what it takes: edges, sampler, filter, adversary, teacher."""

    def __init__(self, rows: Rows, settings: Settings, random: torch.Generator) -> None:
        self._rows, self._settings, self._random = rows, settings, random
        self._adjacency = _adjacency(rows.inputs).to(settings.device) if settings.graph else None
        self._weight = self._dense(rows.weights.astype(np.float32))
        self._aims = rows.aims
        popularity = torch.from_numpy(np.asarray(self._aims.sum(axis=0), np.float32).ravel())
        self._sampler = Sampler(settings.sampler, popularity, random, settings.pool, settings.nearest)
        filtered = settings.filter_share > 0 and settings.loss in PAIRS
        self._likely = None
        if filtered:
            fitted = CrossFitted(rows.targets, settings.seed, rows.weights)
            self._likely = fitted.likeliest(np.arange(rows.targets.shape[0]), settings.filter_share)

    def layers(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Users float[L, U, D] and items float[L, I, D], whose mean over layers is the factor (He et al., 2020)."""
        layers = [table]
        for _ in range(LAYERS if self._adjacency is not None else 0):
            layers.append(torch.sparse.mm(self._adjacency, layers[-1]))
        every = torch.stack(layers)
        users = self._rows.targets.shape[0]
        return every[:, :users], every[:, users:]

    def loss(self, table: Tensor, chosen: Tensor) -> Tensor:
        """Mean over the users at `chosen` int64[B]; with APR, also of perturbed factors."""
        batch = self._batch(chosen)
        users, items = self.layers(table)
        pairs = self._pairs(users, items, batch)
        clean = self._of(users, items, batch, pairs)
        if not self._settings.adversarial:
            return clean
        # APR (He et al., 2018): each row of the table moves along its own gradient; the same pairs are judged again.
        gradient = torch.autograd.grad(clean, table, retain_graph=True)[0]
        moved = table + self._settings.radius * F.normalize(gradient, dim=1)
        return clean + self._settings.adv_weight * self._of(*self.layers(moved), batch, pairs)

    def _batch(self, chosen: Tensor) -> Batch:
        at, rows = chosen.numpy(), self._rows
        wanted = self._dense(self._aims[at].toarray())
        own = wanted > 0
        if self._likely is not None:
            own = own | (self._dense(self._likely[at].toarray()) > 0)
        avoided = None if rows.negatives is None else self._dense(rows.negatives[at].toarray())
        taught = None
        if rows.teacher is not None and rows.taught is not None:
            taught = self._dense(np.asarray(rows.taught[at] @ rows.teacher))
        return Batch(chosen.to(self._settings.device), wanted, own, avoided, taught)

    def _pairs(self, users: Tensor, items: Tensor, batch: Batch) -> Pairs | None:
        if self._settings.loss not in PAIRS:
            return None
        user = users[:, batch.users].mean(dim=0)
        return self._sampler.draw(user, items, batch.wanted, batch.own, batch.avoided)

    def _of(self, users: Tensor, items: Tensor, batch: Batch, pairs: Pairs | None) -> Tensor:
        user = users[:, batch.users].mean(dim=0)
        name, weight = self._settings.loss, self._weight[batch.users]
        if pairs is not None:
            losses = PAIRS[name](*pairs.scores(user, items)).mean(dim=1)
            logits = user @ items.mean(dim=0).T if batch.taught is not None else None
        else:
            logits = F.normalize(user, dim=1) @ F.normalize(items.mean(dim=0), dim=1).T / self._settings.temperature
            losses = CATALOGUE[name](logits, batch, self._random)
        # A user who wants nothing, or to whom nothing can be a negative, teaches nothing.
        losses = losses * ((batch.wanted.sum(dim=1) > 0) & ~batch.own.all(dim=1))
        if batch.taught is not None and logits is not None:
            losses = losses + self._settings.distill * _distilled(logits, batch)
        return (losses * weight).sum() / weight.sum()

    def _dense(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self._settings.device)


def _softmax(logits: Tensor, batch: Batch, random: torch.Generator) -> Tensor:
    """float[B]: softmax loss over the whole catalogue, on cosine similarities (Wu et al., 2024)."""
    return (_per_item(logits, batch) * batch.wanted).sum(dim=1) / batch.wanted.sum(dim=1).clamp_min(1e-6)


def _softmax_at_k(logits: Tensor, batch: Batch, random: torch.Generator) -> Tensor:
    """float[B]: SL@K (Yang et al., 2025), the softmax loss of positives near or above the top-K bar.

    The bar is each user's top-K quantile, estimated by Monte Carlo: own positives, and a uniform sample of the other
    items, each of which stands for several.
    """
    weight = torch.sigmoid(logits.detach() - _bar(logits.detach(), batch.wanted, random))
    losses = _per_item(logits, batch) * weight * batch.wanted
    return losses.sum(dim=1) / batch.wanted.sum(dim=1).clamp_min(1e-6)


def _bar(logits: Tensor, wanted: Tensor, random: torch.Generator) -> Tensor:
    """float[B, 1]: the score that the K best items reach."""
    count = min(SAMPLED, logits.shape[1])
    drawn = torch.randperm(logits.shape[1], generator=random)[:count].to(logits.device)
    counts = (wanted > 0).float()
    counts[:, drawn] += (1 - counts[:, drawn]) * logits.shape[1] / count
    order = torch.where(counts > 0, logits, -torch.inf).argsort(dim=1, descending=True)
    reached = (counts.gather(1, order).cumsum(dim=1) < TOP).sum(dim=1, keepdim=True)
    return logits.gather(1, order.gather(1, reached.clamp_max(logits.shape[1] - 1)))


def _per_item(logits: Tensor, batch: Batch) -> Tensor:
    """float[B, I]: −log softmax; a synthetic user's hard negative counts twice in the denominator."""
    if batch.avoided is not None:
        logits = logits + batch.avoided * 0.6931  # log 2
    return -F.log_softmax(logits, dim=1)


def _distilled(logits: Tensor, batch: Batch) -> Tensor:
    """float[B]: KL(teacher ‖ student) over what the user does not have (Hinton et al., 2015)."""
    assert batch.taught is not None  # noqa: S101
    teacher, student = (x.masked_fill(batch.wanted > 0, -1e9) for x in (batch.taught / DISTILL_TEMPERATURE, logits))
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="none", log_target=True).sum(dim=1)


def _bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., 2009)."""
    return F.softplus(negative - positive)


def _hinge(positive: Tensor, negative: Tensor) -> Tensor:
    return F.relu(1 + negative - positive)


def _l2(positive: Tensor, negative: Tensor) -> Tensor:
    """Squared error of scores that should be 1 and 0, with sampled zeros."""
    return (positive - 1).square() + negative.square()


CATALOGUE: dict[str, Callable[[Tensor, Batch, torch.Generator], Tensor]] = {"softmax": _softmax, "sl@k": _softmax_at_k}
PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bpr": _bpr, "hinge": _hinge, "l2": _l2}
LOSSES = (*CATALOGUE, *PAIRS)
# Option → the other option, and its values, that it is read with.
READ_WITH: dict[str, tuple[str, Collection[str]]] = {
    "temperature": ("loss", CATALOGUE),
    **dict.fromkeys(("sampler", "filter_share"), ("loss", PAIRS)),
    "pool": ("sampler", ("dns", "dns-mn", "mixgcf")),
    "nearest": ("sampler", ("dns-mn",)),
    **dict.fromkeys(("adv_weight", "radius"), ("adversarial", ("apr",))),
}


def _adjacency(inputs: csr_matrix) -> Tensor:
    """Symmetrically normalised bipartite adjacency, sparse."""
    users, items = inputs.shape
    rows, columns = inputs.nonzero()
    degree_user = np.maximum(np.asarray(inputs.sum(axis=1)).ravel(), 1)
    degree_item = np.maximum(np.asarray(inputs.sum(axis=0)).ravel(), 1)
    values = (1 / np.sqrt(degree_user[rows] * degree_item[columns])).astype(np.float32)
    there, back = np.stack([rows, columns + users]), np.stack([columns + users, rows])
    index = torch.from_numpy(np.concatenate([there, back], axis=1))
    value = torch.from_numpy(np.concatenate([values, values]))
    size = (users + items, users + items)
    return torch.sparse_coo_tensor(index, value, size, check_invariants=True).coalesce()


OPTIONS = tuple(field.name for field in fields(Settings) if field.name not in ("graph", "seed", "device"))
MF, LIGHTGCN = (
    Ranker(partial(_fit, graph), _scores, (0.0, 0.1, 1.0, 10.0), OPTIONS, history=False, chance=True)
    for graph in (False, True)
)
