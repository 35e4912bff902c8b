"""Top-k recommendation from interactions: EASE, matrix factorisation, LightGCN, or popularity."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.sparse import csr_matrix, diags, vstack
from scipy.sparse.linalg import svds
from torch import Tensor
from torch.nn import functional as F

from augment.ease import ease
from augment.errors import UsageError, suggest
from augment.measures import Mean, Measure
from consumers import ranking, shilling, storage
from consumers.columns import whole
from consumers.factors import CATALOGUE, LOSSES, PAIRS, Rows, Settings, train_factors
from consumers.interactions import Synthetic, minus
from consumers.samplers import SAMPLERS
from gan.victim import Condition, Victim

K = 20
HIT_K = 50  # of the shilling attack
TAIL, COLD_ITEMS = 0.8, 0.25  # shares of items, by least interactions
COLD = 0.25  # share of users, by shortest history
SUSPECT_WEIGHT = 0.1
GRID = {
    "ease": (50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0),
    "mf": (0.0, 0.1, 1.0, 10.0),
    "lightgcn": (0.0, 0.1, 1.0, 10.0),
    "popular": (0.0,),
}
TRAINING = tuple(field.name for field in fields(Settings) if field.name != "graph")  # options of mf and lightgcn
FACTORS = ("mf", "lightgcn")
# Option → the other option, and its values, that it is read with. (Every model takes an l2, if only to ignore it.)
READ_WITH: dict[str, tuple[str, Collection[str]]] = {
    "dropout": ("model", ("ease",)),
    **dict.fromkeys(("loss", "adversarial", "distill", "dim", "epochs", "lr"), ("model", FACTORS)),
    "temperature": ("loss", CATALOGUE),
    **dict.fromkeys(("sampler", "filter_share"), ("loss", PAIRS)),
    "pool": ("sampler", ("dns", "dns-mn", "mixgcf")),
    "nearest": ("sampler", ("dns-mn",)),
    **dict.fromkeys(("adv_weight", "radius"), ("adversarial", ("apr",))),
}
NEAR_BEST = 0.98  # of the best validation NDCG: among such settings the one with the best tail recall is chosen
DIM = 64  # of the behaviour encoder


class Recommender:
    """Tables hold one row per interaction: `user_id`, `item_id`; see `Consumer`.

    model: "ease", "mf", "lightgcn" or "popular". l2: −1 tunes it on validation rows: the best tail recall among
    settings near the best NDCG@20, since the two trade off along l2. A synthetic user of the mix is one more row: its
    items are shown, its targets wanted. A target counts (1 / its item's interactions) ** `propensity` times (inverse
    propensity; Schnabel et al., 2016), and the share `suspects` of users, those whose histories look fabricated, a
    tenth, as do the synthetic users made of them.

    Attacks reach the mix as they would have, had they been in the log when it was made: the flips of a user are made in
    its samples too, and a fake user counts as much as a real one does with its samples.

    ease: `dropout` is the share of a history that training hides, in closed form (EDLAE; Steck, 2020).
    mf and lightgcn: `loss` "softmax" or "sl@k" over the whole catalogue (cosines over `temperature`), or "bpr", "hinge"
    or "l2" on pairs whose negatives a `sampler` draws (`pool`, `nearest`: see `samplers.Sampler`); `filter_share` of
    each user's likeliest items are never drawn. `adversarial` "apr" moves the factors by `radius` along the gradient,
    and counts that loss `adv_weight` times. `distill` weighs what an EASE teacher, tuned on validation rows, would say.

    Raises UsageError for an unknown choice, a share out of range, and an option that the others leave without effect.
    """

    modality: ClassVar[str] = "behaviour"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("ndcg@20", "recall@20"),
        "slices": ("tail_recall@20", "cold_recall@20", "cold_item_recall@20", "coverage"),
        "robust": (
            "target_hit@50",
            "target_lift@50",
            *(f"target_hit_{kind}@50" for kind in shilling.KINDS),
            "ndcg_flipped@20",
        ),
        "catalogue": ("mean_popularity",),
    }
    space: ClassVar[Mapping[str, tuple]] = {"l2": (50.0, 100.0, 200.0, 400.0, 800.0)}

    def __init__(
        self,
        *,
        model: str = "ease",
        loss: str = "softmax",
        sampler: str = "uniform",
        pool: int = 16,
        nearest: int = 4,
        filter_share: float = 0.0,
        adversarial: str = "",
        adv_weight: float = 1.0,
        radius: float = 0.5,
        distill: float = 0.0,
        temperature: float = 0.15,
        l2: float = -1.0,
        dropout: float = 0.0,
        propensity: float = 0.0,
        suspects: float = 0.0,
        dim: int = 64,
        epochs: int = 25,
        lr: float = 0.02,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        choices = (("model", model, tuple(GRID)), ("loss", loss, LOSSES), ("sampler", sampler, SAMPLERS),
                   ("adversarial", adversarial, ("", "apr")))  # fmt: skip
        for option, value, known in choices:
            if value not in known:
                raise UsageError(f"recommender: unknown {option} '{value}'{suggest(value, known)}")
        for option, share in (("dropout", dropout), ("filter_share", filter_share), ("suspects", suspects)):
            if not 0 <= share < 1:
                raise UsageError(f"recommender: {option} is a share, from 0 to below 1; got {share:g}")
        self.model, self.loss, self.l2, self.dropout = model, loss, l2, dropout
        self.sampler, self.pool, self.nearest, self.filter_share = sampler, pool, nearest, filter_share
        self.adversarial, self.adv_weight, self.radius = adversarial, adv_weight, radius
        self.distill, self.temperature, self.dim, self.epochs, self.lr = distill, temperature, dim, epochs, lr
        self.propensity, self.suspects, self.seed, self.device = propensity, suspects, seed, device
        self._check_read()
        self.state_: dict[str, np.ndarray] = {}
        self.l2_, self.teacher_l2_ = l2, 0.0

    def _check_read(self) -> None:
        """Raise UsageError for an option that is set and would change nothing beside the others."""
        defaults = inspect.signature(type(self)).parameters
        for option, (other, values) in READ_WITH.items():
            chosen = getattr(self, other)
            if getattr(self, option) != defaults[option].default and chosen not in values:
                needed = " or ".join(values)
                raise UsageError(f"recommender: '{option}' is read with {other} {needed} only; {other} is '{chosen}'")

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Recommender:
        self.items_ = pc.unique(whole(train["item_id"])).sort()
        self.users_ = pc.unique(whole(train["user_id"])).sort()
        self.history_ = self._matrix(train)
        self.mix_ = None if mix is None else Synthetic.of(mix, self.users_, self.items_)
        wanted = self._matrix(valid)
        if self.distill:
            teacher = Recommender(propensity=self.propensity, suspects=self.suspects)
            self.teacher_l2_ = teacher.fit(train, valid, mix).l2_
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
        recall = _rare_recall(lists, hit, wanted[users], self._rare(TAIL))
        return float(ranking.ndcg(hit, relevant).mean()), float(recall.mean())

    def _solve(self, history: csr_matrix, l2: float) -> None:
        """Fit the model's arrays on real (and fake) users and the mix."""
        inputs, targets, weights, negatives = history, history, np.ones(history.shape[0]), None
        if self.suspects:
            weights[shilling.suspects(history, self.suspects)] = SUSPECT_WEIGHT
        if (mix := self.mix_) is not None:
            inputs, targets = vstack([history, mix.items]).tocsr(), vstack([history, mix.targets]).tocsr()
            negatives = vstack([csr_matrix(history.shape, dtype=np.float32), mix.negatives]).tocsr()
            users = len(self.users_)
            trust = np.append(weights[:users], 1)  # the last is that of an anchor not known, −1
            # Fake users in the log would have been anchors like all others: each counts as a user with its samples.
            weights[users:] *= 1 + mix.weight.sum() / users
            weights = np.concatenate([weights, trust[mix.anchor] * mix.weight])
        if self.propensity:
            targets = targets @ diags(_inverse_propensity(targets, weights, self.propensity))
        aims = targets if targets is not inputs else None
        if self.model == "popular":
            self.state_ = {"popularity": np.asarray(targets.T @ weights, np.float32)}
        elif self.model == "ease":
            self.state_ = {"ease": ease(inputs, aims, self._ridge(inputs, weights, l2), weights)}
        else:
            teacher = ease(inputs, aims, self.teacher_l2_, weights) if self.distill else None
            settings = Settings(graph=self.model == "lightgcn", **{n: getattr(self, n) for n in TRAINING})
            user, item = train_factors(Rows(inputs, targets, weights, negatives, teacher), l2, settings)
            self.state_ = {"user": user[: len(self.users_)], "item": item}

    def _ridge(self, inputs: csr_matrix, weights: np.ndarray, l2: float) -> Any:
        """EASE's l2, for each item float64[I] where dropout hides it: p / (1 − p) of its interactions more."""
        if not self.dropout:
            return l2
        return l2 + self.dropout / (1 - self.dropout) * (inputs.power(2).T @ weights)

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
        """Fake users, all of them and each kind alone, and the seed of flips; `evaluate` retrains on each."""
        return shilling.attacks(test, seed)

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        # To be found: the rows asked about, but for repeats of training rows. Known: all else, validation included.
        # Full ranking over the items not known, as a shop would recommend.
        wanted = minus(self._matrix(test), self.history_)
        known = minus(self.seen_, wanted)
        users = np.flatnonzero(wanted.getnnz(axis=1))
        lists = ranking.top(self._scores(known, users), known[users], K)
        wanted = wanted[users]
        hit, relevant = ranking.hits(lists, wanted), wanted.getnnz(axis=1)
        length = self.history_.getnnz(axis=1)
        cold = length[users] <= np.quantile(length, COLD)
        recall, popularity = ranking.recall(hit, relevant), np.asarray(self.history_.sum(axis=0)).ravel()
        measures: dict[str, Measure] = {
            "ndcg@20": Mean(ranking.ndcg(hit, relevant)),
            "recall@20": Mean(recall),
            "tail_recall@20": Mean(_rare_recall(lists, hit, wanted, self._rare(TAIL))),
            "cold_recall@20": Mean(recall[cold]),
            "cold_item_recall@20": Mean(_rare_recall(lists, hit, wanted, self._rare(COLD_ITEMS))),
            "coverage": ranking.Coverage(lists, len(self.items_)),
            "mean_popularity": Mean(popularity[lists].mean(axis=1) / popularity.mean(), "lower"),
        }
        for name, fakes in attacked.items():
            if name.startswith("shilling"):
                kind = name.removeprefix("shilling").replace("-", "_")
                hits, before = self._target_hits(fakes)
                measures[f"target_hit{kind}@50"] = Mean(hits, "lower")
                if name == "shilling":
                    measures["target_lift@50"] = Mean(hits - before, "lower")
        if "flips" in attacked:
            flips = shilling.flips(self.history_, attacked["flips"]["seed"][0].as_py())
            flipped = shilling.flipped(self.history_, flips, np.arange(len(self.users_)))
            retrained = self._retrained(flipped, self.mix_ and self.mix_.flipped(flips))
            scores = retrained._scores(minus(known, self.history_) + flipped, users)
            hit = ranking.hits(ranking.top(scores, known[users], K), wanted)
            measures["ndcg_flipped@20"] = Mean(ranking.ndcg(hit, relevant))
        return measures

    def _rare(self, share: float) -> np.ndarray:
        """bool[I]: the `share` of items with the fewest training interactions."""
        popularity = np.asarray(self.history_.sum(axis=0)).ravel()
        rare = np.zeros(len(popularity), bool)
        rare[np.argsort(popularity, kind="stable")[: int(share * len(popularity))]] = True
        return rare

    def _target_hits(self, fakes: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """float64[users]: share of the pushed items in each real user's top 50 after retraining with the fake users.

        And the share before: what the model recommends of its own accord is not the attack's doing.
        """
        fake = self._matrix(fakes, pc.unique(whole(fakes["user_id"])))
        pushed = fakes.filter(pc.equal(fakes["kind"], "target"))["item_id"]
        targets = pc.index_in(pc.unique(whole(pushed)), self.items_).drop_null().to_numpy()
        attacked = self._retrained(vstack([self.history_, fake]).tocsr(), self.mix_)
        users = np.arange(len(self.users_))
        lists = [ranking.top(m._scores(self.seen_, users), self.seen_, HIT_K) for m in (attacked, self)]
        after, before = (np.isin(found, targets).sum(axis=1) / max(1, len(targets)) for found in lists)
        return after, before

    def _retrained(self, history: csr_matrix, mix: Synthetic | None) -> Recommender:
        """This model, trained again on another history whose first rows are its users; nothing is tuned again."""
        model = Recommender(**storage.parameters(self), device=self.device)
        model.items_, model.users_, model.mix_ = self.items_, self.users_, mix
        model.teacher_l2_ = self.teacher_l2_
        model._solve(history, self.l2_)
        return model

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

    def save(self, folder: Path) -> None:
        arrays = self.state_ | storage.binary("history", self.history_) | storage.binary("seen", self.seen_)
        arrays |= {} if self.mix_ is None else self.mix_.arrays()
        settings = {"parameters": storage.parameters(self), "l2": self.l2_, "teacher_l2": self.teacher_l2_}
        names = {"items": self.items_.to_pylist(), "users": self.users_.to_pylist()}
        storage.save(folder, arrays, settings | names)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Recommender:
        arrays, settings = storage.load(folder)
        model = cls(**settings["parameters"], device=device)
        model.items_, model.users_ = pa.array(settings["items"]), pa.array(settings["users"])
        items = len(model.items_)
        model.history_, model.seen_ = (storage.take_binary(arrays, name, items) for name in ("history", "seen"))
        model.mix_ = Synthetic.stored(arrays, items)
        model.state_, model.l2_, model.teacher_l2_ = arrays, settings["l2"], settings["teacher_l2"]
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


def _rare_recall(lists: np.ndarray, hit: np.ndarray, wanted: csr_matrix, rare: np.ndarray) -> np.ndarray:
    """Recall float64[n] on rare items, of the users who want any; `rare` bool[I], the others row by user."""
    relevant = np.asarray(wanted @ rare.astype(np.float32)).astype(np.int64)
    some = relevant > 0
    return ranking.recall((hit & rare[lists])[some], relevant[some])


def _inverse_propensity(targets: csr_matrix, weights: np.ndarray, power: float) -> np.ndarray:
    """float32[I]: popularity ** −power, scaled so that the mean over targets is 1."""
    popularity = np.maximum(targets.T @ weights, 1)
    scale = popularity**-power
    return (scale * popularity.sum() / (scale * popularity).sum()).astype(np.float32)
