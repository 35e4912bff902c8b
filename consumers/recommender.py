"""Top-k recommendation from interactions: EASE, matrix factorisation, LightGCN, or popularity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.sparse import csr_matrix, vstack
from scipy.sparse.linalg import svds
from torch import Tensor
from torch.nn import functional as F

from augment.ease import ease
from augment.errors import UsageError, suggest
from augment.measures import Mean, Measure
from consumers import ranking, storage
from consumers.columns import whole
from consumers.factors import train_factors
from gan.victim import Condition, Victim

K = 20
HIT_K = 50  # of the shilling attack
TAIL = 0.8  # share of items, by least interactions
COLD = 0.25  # share of users, by shortest history
GRID = {
    "ease": (50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0),
    "mf": (0.0, 0.1, 1.0, 10.0),
    "lightgcn": (0.0, 0.1, 1.0, 10.0),
    "popular": (0.0,),
}
NEAR_BEST = 0.98  # of the best validation NDCG: among such settings the one with the best tail recall is chosen
DIM = 64  # of the behaviour encoder
FAKE_SHARE, FAKE_TARGETS = 0.01, 5


class Recommender:
    """Tables hold one row per interaction: `user_id`, `item_id`; see `Consumer`.

    model: "ease", "mf", "lightgcn" or "popular". loss: "softmax" or "bpr" (mf and lightgcn). l2: −1 tunes it on
    validation rows: the best tail recall among settings near the best NDCG@20, since the two trade off along l2.
    A synthetic user of the mix is one more row: its items are shown, its targets wanted.
    """

    modality: ClassVar[str] = "behaviour"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("ndcg@20", "recall@20"),
        "slices": ("tail_recall@20", "cold_recall@20", "coverage"),
        "robust": ("target_hit@50",),
    }

    def __init__(
        self,
        *,
        model: str = "ease",
        loss: str = "softmax",
        l2: float = -1.0,
        dim: int = 64,
        epochs: int = 25,
        lr: float = 0.02,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if model not in GRID:
            raise UsageError(f"recommender: unknown model '{model}'{suggest(model, GRID)}")
        self.model, self.loss, self.l2, self.dim, self.epochs, self.lr = model, loss, l2, dim, epochs, lr
        self.seed, self.device = seed, device
        self.state_: dict[str, np.ndarray] = {}

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Recommender:
        self.items_ = pc.unique(whole(train["item_id"])).sort()
        self.users_ = pc.unique(whole(train["user_id"])).sort()
        self.history_ = self._matrix(train)
        self.mix_ = None if mix is None else self._synthetic(mix)
        wanted = self._matrix(valid)
        tried = []
        for l2 in (self.l2,) if self.l2 >= 0 else GRID[self.model]:
            self._solve(self.history_, l2)
            ndcg, tail_recall = self._on_valid(wanted)
            tried.append((tail_recall, ndcg, l2, self.state_))
        enough = NEAR_BEST * max(ndcg for _, ndcg, _, _ in tried)
        _, _, self.l2_, self.state_ = max((t for t in tried if t[1] >= enough), key=lambda t: t[0])
        # Validation rows have done their work: they are history when the test comes, for every model alike.
        self.seen_ = ((self.history_ + wanted) > 0).astype(np.float32).tocsr()
        return self

    def _on_valid(self, wanted: csr_matrix) -> tuple[float, float]:
        """NDCG and tail recall of the current state on validation rows."""
        users = np.flatnonzero(wanted.getnnz(axis=1))
        lists = ranking.top(self._scores(self.history_, users), self.history_[users], K)
        hit, relevant = ranking.hits(lists, wanted[users]), wanted[users].getnnz(axis=1)
        recall = _tail_recall(lists, hit, wanted[users], self._tail())
        return float(ranking.ndcg(hit, relevant).mean()), float(recall.mean())

    def _solve(self, history: csr_matrix, l2: float) -> None:
        """Fit the model's arrays on real (and fake) users and the mix."""
        inputs, targets, weights, negatives = history, history, np.ones(history.shape[0]), None
        if self.mix_ is not None:
            shown, aims, avoided, weight = self.mix_
            inputs, targets = vstack([history, shown]).tocsr(), vstack([history, aims]).tocsr()
            weights = np.concatenate([weights, weight])
            negatives = vstack([csr_matrix(history.shape, dtype=np.float32), avoided]).tocsr()
        if self.model == "popular":
            self.state_ = {"popularity": np.asarray(targets.sum(axis=0), np.float32).ravel()}
        elif self.model == "ease":
            self.state_ = {"ease": ease(inputs, targets if self.mix_ is not None else None, l2, weights)}
        else:
            user, item = train_factors(
                inputs, targets, weights, negatives,
                graph=self.model == "lightgcn", loss=self.loss, dim=self.dim, l2=l2, epochs=self.epochs, lr=self.lr,
                seed=self.seed, device=self.device,
            )  # fmt: skip
            self.state_ = {"user": user[: len(self.users_)], "item": item}

    def _scores(self, history: csr_matrix, users: np.ndarray) -> np.ndarray:
        """float32[n, I] for the users at `users`, who show `history` (all rows)."""
        if self.model == "popular":
            return np.tile(self.state_["popularity"], (len(users), 1))
        if self.model == "ease":
            return np.asarray(history[users] @ self.state_["ease"])
        return self.state_["user"][users] @ self.state_["item"].T

    def predict(self, rows: pa.Table) -> np.ndarray:
        """float32[n, items] scores for the `user_id`s of `rows`; a user never seen gets the items' popularity."""
        users = pc.fill_null(pc.index_in(whole(rows["user_id"]), self.users_), -1).to_numpy(zero_copy_only=False)
        popularity = np.asarray(self.seen_.sum(axis=0), np.float32).ravel()
        return np.where(users[:, None] >= 0, self._scores(self.seen_, np.maximum(users, 0)), popularity)

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """Fake users pushing five unpopular items among the test's; `evaluate` retrains with them.

        A third each of random, average and bandwagon profiles (Lam & Riedl, 2004; Mobasher et al., 2007).
        """
        rng = np.random.default_rng(seed)
        counts = pc.value_counts(whole(test["item_id"])).flatten()
        items, popularity = counts[0].to_numpy(zero_copy_only=False), counts[1].to_numpy()
        order = np.lexsort((items.astype(str), popularity))
        items, popularity = items[order], popularity[order]
        targets = rng.choice(items[: len(items) // 2], FAKE_TARGETS, replace=False)
        users = pc.count_distinct(test["user_id"]).as_py()
        fillers = max(10, len(test) // users * 4)
        chances = {"random": None, "average": popularity / popularity.sum()}
        rows: dict[str, list[str]] = {"user_id": [], "item_id": [], "kind": []}
        for number in range(max(3, round(FAKE_SHARE * users))):
            kind = ("random", "average", "bandwagon")[number % 3]
            if kind == "bandwagon":
                profile = np.concatenate([items[-10:], rng.choice(items, fillers - 10 or 1, replace=False)])
            else:
                profile = rng.choice(items, min(fillers, len(items)), replace=False, p=chances[kind])
            everything = [*profile.tolist(), *targets.tolist()]
            rows["user_id"] += [f"fake-{number}"] * len(everything)
            rows["item_id"] += everything
            rows["kind"] += ["filler"] * len(profile) + ["target"] * FAKE_TARGETS
        return {"shilling": pa.table(rows)}

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        # To be found: the rows asked about, but for repeats of training rows. Known: all else, validation included.
        # Full ranking over the items not known, as a shop would recommend.
        wanted = _minus(self._matrix(test), self.history_)
        known = _minus(self.seen_, wanted)
        users = np.flatnonzero(wanted.getnnz(axis=1))
        lists = ranking.top(self._scores(known, users), known[users], K)
        hit, relevant = ranking.hits(lists, wanted[users]), wanted[users].getnnz(axis=1)
        length = self.history_.getnnz(axis=1)
        cold = length[users] <= np.quantile(length, COLD)
        recall = ranking.recall(hit, relevant)
        measures: dict[str, Measure] = {
            "ndcg@20": Mean(ranking.ndcg(hit, relevant)),
            "recall@20": Mean(recall),
            "tail_recall@20": Mean(_tail_recall(lists, hit, wanted[users], self._tail())),
            "cold_recall@20": Mean(recall[cold]),
            "coverage": ranking.Coverage(lists, len(self.items_)),
        }
        if "shilling" in attacked:
            measures["target_hit@50"] = Mean(self._target_hits(attacked["shilling"]), "lower")
        return measures

    def _tail(self) -> np.ndarray:
        """bool[I]: the 80% of items with the fewest training interactions."""
        popularity = np.asarray(self.history_.sum(axis=0)).ravel()
        order = np.argsort(popularity, kind="stable")
        tail = np.zeros(len(popularity), bool)
        tail[order[: int(TAIL * len(order))]] = True
        return tail

    def _target_hits(self, fakes: pa.Table) -> np.ndarray:
        """float64[users]: share of the pushed items in each real user's top 50 after retraining with the fake users."""
        names = pc.unique(fakes["user_id"])
        fake = self._matrix(fakes, names)
        pushed = fakes.filter(pc.equal(fakes["kind"], "target"))["item_id"]
        targets = pc.index_in(pc.unique(pushed), self.items_).drop_null().to_numpy()
        attacked = Recommender(**storage.parameters(self), device=self.device)
        attacked.items_, attacked.users_, attacked.mix_ = self.items_, self.users_, self.mix_
        attacked._solve(vstack([self.history_, fake]).tocsr(), self.l2_)
        users = np.arange(len(self.users_))
        lists = ranking.top(attacked._scores(self.seen_, users), self.seen_, HIT_K)
        return np.isin(lists, targets).sum(axis=1) / max(1, len(targets))

    def as_victim(self) -> Victim:
        vectors = self.tables()["item_id"][1]
        shown = self.history_ @ vectors
        shown /= np.maximum(np.linalg.norm(shown, axis=1, keepdims=True), 1e-12)
        scores = self._scores(self.history_, np.arange(len(self.users_)))
        # The scores as a linear function of the user's vector: exact for no model here, near for all.
        gram = shown.T @ shown + 0.1 * np.eye(shown.shape[1], dtype=np.float32)
        return _RankingVictim(
            torch.from_numpy(np.linalg.solve(gram, shown.T @ scores).astype(np.float32)).to(self.device)
        )

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """Item vectors: the model's own, or for EASE the singular vectors of the training matrix."""
        if "item" in self.state_:
            vectors = self.state_["item"]
        else:
            popularity = np.asarray(self.history_.sum(axis=0)).ravel()
            scaled = self.history_.multiply(1 / np.sqrt(np.maximum(popularity, 1))).tocsr()
            dim = min(DIM, min(scaled.shape) - 1)
            start = np.random.default_rng(0).standard_normal(min(scaled.shape))
            _, values, right = svds(scaled.astype(np.float64), k=dim, v0=start)
            right = right * np.sign(right[np.arange(dim), np.abs(right).argmax(axis=1)])[:, None]  # a fixed sign
            vectors = (right.T * values).astype(np.float32)
        return {"item_id": (self.items_.to_pylist(), np.ascontiguousarray(vectors, np.float32))}

    def _matrix(self, rows: pa.Table, users: pa.Array | None = None) -> csr_matrix:
        """Binary float32[U, I]; rows of unknown users or items are left out."""
        users = self.users_ if users is None else users
        row, column = (
            pc.index_in(whole(rows["user_id"]), users),
            pc.index_in(whole(rows["item_id"]), self.items_),
        )
        known = pc.and_(row.is_valid(), column.is_valid())
        row, column = row.filter(known).to_numpy(), column.filter(known).to_numpy()
        matrix = csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(users), len(self.items_)))
        matrix.data[:] = 1  # an interaction that occurs twice is still one
        return matrix

    def _synthetic(self, mix: pa.Table) -> tuple[csr_matrix, csr_matrix, csr_matrix, np.ndarray]:
        items, targets, negatives = (_lists(c, self.items_) for c in mix["decoded"].combine_chunks().flatten())
        return items, targets, negatives, mix["weight"].to_numpy()

    def save(self, folder: Path) -> None:
        arrays = dict(self.state_)
        for name, matrix in (("history", self.history_), ("seen", self.seen_)):
            arrays |= {f"{name}.indices": matrix.indices, f"{name}.indptr": matrix.indptr}
        settings = {"parameters": storage.parameters(self), "l2": self.l2_, "items": self.items_.to_pylist()}
        storage.save(folder, arrays, settings | {"users": self.users_.to_pylist()})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Recommender:
        """Everything but the mix: an attack retrains on the real users alone."""
        arrays, settings = storage.load(folder)
        model = cls(**settings["parameters"], device=device)
        model.items_, model.users_ = pa.array(settings["items"]), pa.array(settings["users"])
        shape = (len(model.users_), len(model.items_))
        for name in ("history", "seen"):
            indices, indptr = arrays.pop(f"{name}.indices"), arrays.pop(f"{name}.indptr")
            setattr(
                model,
                f"{name}_",
                csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape),
            )
        model.state_, model.l2_, model.mix_ = arrays, settings["l2"], None
        return model

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Recommender]:
        settings: dict[str, dict[str, Any]] = {
            "popularity": {"model": "popular"},
            "EASE": {"model": "ease"},
            "MF, softmax": {"model": "mf"},
            "MF, BPR": {"model": "mf", "loss": "bpr"},
            "LightGCN, softmax": {"model": "lightgcn"},
            "LightGCN, BPR": {"model": "lightgcn", "loss": "bpr"},
        }
        return {name: cls(**chosen, seed=seed, device=device) for name, chosen in settings.items()}


class _RankingVictim:
    """softplus(−margin): the target's score over the bar to the top 20, in the spread of the user's scores."""

    def __init__(self, head: Tensor) -> None:
        self._head, self.dim = head, head.shape[0]

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        scores = embedding @ self._head
        target = scores.gather(1, condition.label.long()[:, None])[:, 0]
        bar = scores.topk(min(K, scores.shape[1]), dim=1).values[:, -1]
        spread = scores.std(dim=1).detach().clamp_min(1e-6)
        return F.softplus((bar - target) / spread)


def _tail_recall(lists: np.ndarray, hit: np.ndarray, wanted: csr_matrix, tail: np.ndarray) -> np.ndarray:
    """Recall float64[n] on tail items, of the users who want any; `tail` bool[I], the others row by user."""
    relevant = np.asarray(wanted @ tail.astype(np.float32)).astype(np.int64)
    some = relevant > 0
    return ranking.recall((hit & tail[lists])[some], relevant[some])


def _minus(matrix: csr_matrix, other: csr_matrix) -> csr_matrix:
    """Binary `matrix` without the entries of binary `other`."""
    left = (matrix - matrix.multiply(other)).tocsr()
    left.eliminate_zeros()
    return left


def _lists(lists: pa.Array, items: pa.Array) -> csr_matrix:
    """Binary float32[n, I] from lists of item names; names unknown to `items` are left out."""
    column = pc.index_in(lists.flatten(), items)
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    known = column.is_valid().to_numpy(zero_copy_only=False)
    shape = (len(lists), len(items))
    return csr_matrix((np.ones(known.sum(), np.float32), (row[known], column.drop_null().to_numpy())), shape=shape)
