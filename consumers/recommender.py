"""Top-k recommendation from interactions, by any of `consumers.rankers`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, vstack

from augment.base.errors import BadInput, UsageError, suggest
from augment.numeric.measures import Mean, Measure
from consumers.data import storage
from consumers.data.columns import whole
from consumers.data.histories import binary, minus, ordered, recent, together
from consumers.data.interactions import Synthetic
from consumers.rankers import RANKERS, Arrays, Rows
from consumers.rankers.factors import LOSSES, READ_WITH
from consumers.rankers.samplers import SAMPLERS
from consumers.scoring import ranking, shilling
from consumers.victims import RankingVictim, singular_vectors
from gan.victim import Victim

K = 20
HIT_K = 50  # of the shilling attack
TAIL, COLD_ITEMS = 0.8, 0.25  # shares of items, by least interactions
COLD = 0.25  # share of users, by shortest history
SUSPECT_WEIGHT = 0.1
TAUS, FLOORS = (1.0, 3.0, 10.0, 30.0), (0.0, 0.1, 0.3, 0.5)  # of recency
NEAR_BEST = 0.98  # of the best validation NDCG: among such settings the one with the best tail recall is chosen
DIM = 64  # of the behaviour encoder
OFF = (0.0, 0.0)  # recency


class Recommender:
    """Tables hold one row per interaction: `user_id`, `item_id`, perhaps `timestamp`; see `Consumer`, `histories`.

    model: one of `RANKERS`. l2: −1 tunes it on validation rows: the best tail recall among settings near the best
    NDCG@20, since the two trade off along l2. A synthetic user of the mix is one more row: its items are shown, its
    targets wanted. A target counts (1 / its item's interactions) ** `propensity` times (inverse propensity; Schnabel
    et al., 2016), and the share `suspects` of users, those whose histories look fabricated, a tenth, as do the
    synthetic users made of them.

    recency: where a model ranks by the history it is shown, an item counts floor + (1 − floor) exp(−rank / recency)
    there, rank 0 the user's latest, floor `recency_floor`; −1 tunes either on validation rows (recency 0 is tried too,
    and leaves all alike). Training counts them alike: what goes together does not age. Validation rows are part of
    what is shown when the test comes.

    Attacks reach the mix as they would have, had they been in the log when it was made: the flips of a user are made in
    its samples too, and a fake user counts as much as a real one does with its samples.

    ease: `dropout` is the share of a history that training hides, in closed form (EDLAE; Steck, 2020).
    als: `dim` factors, `unobserved` what an item that a user has not weighs. neighbours: so many of each item.
    mf and lightgcn: `loss` "softmax" or "sl@k" over the whole catalogue (cosines over `temperature`), or "bpr", "hinge"
    or "l2" on pairs whose negatives a `sampler` draws (`pool`, `nearest`: see `samplers.Sampler`); `filter_share` of
    each user's likeliest items are never drawn. `adversarial` "apr" moves the factors by `radius` along the gradient,
    and counts that loss `adv_weight` times. `distill` weighs what an EASE teacher, tuned on validation rows, would say.

    Raises UsageError for an unknown choice, a number out of range, and an option that the others leave without effect.
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
        unobserved: float = 0.1,
        neighbours: int = 100,
        recency: float = -1.0,
        recency_floor: float = -1.0,
        propensity: float = 0.0,
        suspects: float = 0.0,
        dim: int = 64,
        epochs: int = 25,
        lr: float = 0.02,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        choices = (("model", model, tuple(RANKERS)), ("loss", loss, LOSSES), ("sampler", sampler, SAMPLERS),
                   ("adversarial", adversarial, ("", "apr")))  # fmt: skip
        for option, value, known in choices:
            if value not in known:
                raise UsageError(f"recommender: unknown {option} '{value}'{suggest(value, known)}")
        for option, share in (("dropout", dropout), ("filter_share", filter_share), ("suspects", suspects)):
            if not 0 <= share < 1:
                raise UsageError(f"recommender: {option} is a share, from 0 to below 1; got {share:g}")
        for option, number in (("l2", l2), ("recency", recency), ("recency_floor", recency_floor)):
            if (number < 0 and number != -1) or (option == "recency_floor" and number > 1):
                most = "to 1, or " if option == "recency_floor" else "up, or "
                raise UsageError(f"recommender: {option} is 0 {most}-1 to be tuned; got {number:g}")
        self.model, self.loss, self.l2, self.dropout = model, loss, l2, dropout
        self.sampler, self.pool, self.nearest, self.filter_share = sampler, pool, nearest, filter_share
        self.adversarial, self.adv_weight, self.radius = adversarial, adv_weight, radius
        self.distill, self.temperature, self.dim, self.epochs, self.lr = distill, temperature, dim, epochs, lr
        self.unobserved, self.neighbours = unobserved, neighbours
        self.recency, self.recency_floor = recency, recency_floor
        self.propensity, self.suspects, self.seed, self.device = propensity, suspects, seed, device
        self._check_read()
        self.state_: Arrays = {}
        self.l2_, self.recency_ = l2, OFF
        self.teacher_: tuple[float, float, float] | None = None  # l2, recency and its floor

    @property
    def deterministic(self) -> bool:
        """Another seed is the same model."""
        return not RANKERS[self.model].chance

    def _check_read(self) -> None:
        """Raise UsageError for an option that is set and would change nothing beside the others."""
        defaults = inspect.signature(type(self)).parameters
        models: dict[str, list[str]] = {}
        for name, ranker in RANKERS.items():
            for option in (*ranker.options, *(("recency", "recency_floor") if ranker.history else ())):
                models.setdefault(option, []).append(name)
        read_with = {**{option: ("model", names) for option, names in models.items()}, **READ_WITH}
        for option, (other, values) in read_with.items():
            chosen = getattr(self, other)
            if getattr(self, option) != defaults[option].default and chosen not in values:
                needed = " or ".join(values)
                raise UsageError(f"recommender: '{option}' is read with {other} {needed} only; {other} is '{chosen}'")
        if self.recency == 0 and self.recency_floor != -1:
            raise UsageError("recommender: 'recency_floor' is read with a recency other than 0 only")

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Recommender:
        self.items_ = pc.unique(whole(train["item_id"])).sort()
        self.users_ = pc.unique(whole(train["user_id"])).sort()
        if min(len(self.users_), len(self.items_)) < 2:
            raise BadInput(
                f"recommender: what goes together takes at least 2 users and 2 items; the training rows have "
                f"{len(self.users_)} and {len(self.items_)}: give more data, or lower the split's core"
            )
        self.history_ = self._history(train)
        self.mix_ = None if mix is None else Synthetic.of(mix, self.users_, self.items_)
        # Validation rows do their work, then they are history when the test comes, for every model alike.
        self.seen_ = self._history(together(train, valid))
        if self.distill:
            teacher = Recommender(propensity=self.propensity, suspects=self.suspects).fit(train, valid, mix)
            self.teacher_ = teacher.l2_, *teacher.recency_
        self._tune(minus(binary(self._history(valid)), self.history_))
        return self

    def _tune(self, wanted: csr_matrix) -> None:
        """Fit by each l2; keep the one, and the recency, that find best what is `wanted` and not known.

        Recency is chosen by NDCG at the l2 that is best without it, then l2 anew.
        """
        l2s = (self.l2,) if self.l2 >= 0 else RANKERS[self.model].grid
        recencies = self._recencies()
        if len(l2s) + len(recencies) > 2 and not wanted.nnz:
            raise BadInput(
                "recommender: no validation row has an item of training that is new to its user, so there is nothing "
                "to tune by: give more data, widen the split's `valid`, or set l2 and recency"
            )
        states = list(self._fitted(self.history_, l2s))
        self.l2_, self.state_, self.recency_ = l2s[0], states[0], recencies[0]
        tried = [self._on_valid(wanted, state, recencies[0]) for state in states] if wanted.nnz else []
        if len(recencies) > 1:
            best = states[int(np.argmax([ndcg for ndcg, _ in tried]))]
            self.recency_ = max(recencies, key=lambda recency: self._on_valid(wanted, best, recency)[0])
            if self.recency_ != recencies[0]:
                tried = [self._on_valid(wanted, state, self.recency_) for state in states]
        if len(l2s) > 1:
            enough = NEAR_BEST * max(ndcg for ndcg, _ in tried)
            chosen = max((i for i, (ndcg, _) in enumerate(tried) if ndcg >= enough), key=lambda i: tried[i][1])
            self.l2_, self.state_ = l2s[chosen], states[chosen]

    def _recencies(self) -> list[tuple[float, float]]:
        """Pairs of recency and floor to try, the first of them off where that is tried."""
        if not RANKERS[self.model].history or self.recency == 0:
            return [OFF]
        taus = (self.recency,) if self.recency > 0 else TAUS
        floors = (self.recency_floor,) if self.recency_floor >= 0 else FLOORS
        return [*([OFF] if self.recency < 0 else []), *((tau, floor) for tau in taus for floor in floors)]

    def _on_valid(self, wanted: csr_matrix, state: Arrays, recency: tuple[float, float]) -> tuple[float, float]:
        """NDCG and tail recall on validation rows."""
        users = np.flatnonzero(wanted.getnnz(axis=1))
        self.state_, self.recency_ = state, recency
        lists = ranking.top(self._scores(self.history_, users), self.history_[users], K)
        hit, relevant = ranking.hits(lists, wanted[users]), wanted[users].getnnz(axis=1)
        recall = _rare_recall(lists, hit, wanted[users], self._rare(TAIL))
        return float(ranking.ndcg(hit, relevant).mean()), float(recall.mean()) if len(recall) else 0.0

    def _fitted(self, history: csr_matrix, l2s: Sequence[float]) -> Iterator[Arrays]:
        options = {**storage.parameters(self), "device": self.device}
        return RANKERS[self.model].fit(self._rows(history), l2s, options)

    def _rows(self, history: csr_matrix) -> Rows:
        """What to train on: real (and fake) users and the mix."""
        inputs, weights, negatives = binary(history), np.ones(history.shape[0]), None
        targets, order = inputs, history
        if self.suspects:
            weights[shilling.suspects(inputs, self.suspects)] = SUSPECT_WEIGHT
        if (mix := self.mix_) is not None:
            none = csr_matrix(mix.items.shape, dtype=np.float32)
            inputs, targets = vstack([inputs, mix.items]).tocsr(), vstack([inputs, mix.targets]).tocsr()
            negatives = vstack([csr_matrix(history.shape, dtype=np.float32), mix.negatives]).tocsr()
            order = vstack([history, none]).tocsr()
            users = len(self.users_)
            trust = np.append(weights[:users], 1)  # the last is that of an anchor not known, −1
            # Fake users in the log would have been anchors like all others: each counts as a user with its samples.
            weights[users:] *= 1 + mix.weight.sum() / users
            weights = np.concatenate([weights, trust[mix.anchor] * mix.weight])
        worth = np.ones(len(self.items_), np.float32)
        if self.propensity:
            worth = _inverse_propensity(targets, weights, self.propensity)
        rows = Rows(len(self.users_), inputs, targets, order, weights, worth, negatives)
        return rows if self.teacher_ is None else self._taught(rows, *self.teacher_)

    def _taught(self, rows: Rows, l2: float, tau: float, floor: float) -> Rows:
        fitted = RANKERS["ease"].fit(rows, (l2,), storage.parameters(Recommender()))
        shown = recent(rows.order, tau, floor).maximum(minus(rows.inputs, rows.order))  # those without an order as is
        return replace(rows, teacher=next(fitted)["items"], taught=shown.tocsr())

    def _scores(self, history: csr_matrix, users: np.ndarray) -> np.ndarray:
        """float32[n, I] for the users at `users`, who show `history` (all rows)."""
        return RANKERS[self.model].scores(self.state_, recent(history[users], *self.recency_), users)

    def predict(self, rows: pa.Table) -> np.ndarray:
        """float32[n, items] scores for the `user_id`s of `rows`; a user never seen gets the items' popularity."""
        users = pc.fill_null(pc.index_in(whole(rows["user_id"]), self.users_), -1).to_numpy(zero_copy_only=False)
        popularity = self.seen_.getnnz(axis=0).astype(np.float32)
        return np.where(users[:, None] >= 0, self._scores(self.seen_, np.maximum(users, 0)), popularity)

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """Fake users, all of them and each kind alone, and the seed of flips; `evaluate` retrains on each."""
        return shilling.attacks(test, seed)

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        # To be found: the rows asked about, but for repeats of training rows. Known: all else, validation included.
        # Full ranking over the items not known, as a shop would recommend.
        wanted = minus(binary(self._history(test)), self.history_)
        known = minus(self.seen_, wanted)
        users = np.flatnonzero(wanted.getnnz(axis=1))
        lists = ranking.top(self._scores(known, users), known[users], K)
        wanted = wanted[users]
        hit, relevant = ranking.hits(lists, wanted), wanted.getnnz(axis=1)
        length = self.history_.getnnz(axis=1)
        cold = length[users] <= np.quantile(length, COLD)
        recall, popularity = ranking.recall(hit, relevant), self.history_.getnnz(axis=0)
        measures: dict[str, Measure] = {
            "ndcg@20": Mean(ranking.ndcg(hit, relevant)),
            "recall@20": Mean(recall),
            "tail_recall@20": Mean(_rare_recall(lists, hit, wanted, self._rare(TAIL))),
            "cold_recall@20": Mean(recall[cold]),
            "cold_item_recall@20": Mean(_rare_recall(lists, hit, wanted, self._rare(COLD_ITEMS))),
            "coverage": ranking.Coverage(lists, len(self.items_)),
            "mean_popularity": Mean(popularity[lists].mean(axis=1) / popularity.mean(), "lower"),
        }
        kinds = [name for name in attacked if name.startswith("shilling")]
        own = self._likeliest() if kinds else np.empty(0)
        for name in kinds:
            hits, before = self._target_hits(attacked[name], own)
            measures[f"target_hit{name.removeprefix('shilling').replace('-', '_')}@50"] = Mean(hits, "lower")
            if name == "shilling":
                measures["target_lift@50"] = Mean(hits - before, "lower")
        if "flips" in attacked:
            flips = shilling.flips(self.history_, attacked["flips"]["seed"][0].as_py())
            history, shown = (shilling.flipped(m, flips, np.arange(len(self.users_))) for m in (self.history_, known))
            retrained = self._retrained(history, self.mix_ and self.mix_.flipped(flips))
            hit = ranking.hits(ranking.top(retrained._scores(shown, users), known[users], K), wanted)
            measures["ndcg_flipped@20"] = Mean(ranking.ndcg(hit, relevant))
        return measures

    def _rare(self, share: float) -> np.ndarray:
        """bool[I]: the `share` of items with the fewest training interactions."""
        popularity = self.history_.getnnz(axis=0)
        rare = np.zeros(len(popularity), bool)
        rare[np.argsort(popularity, kind="stable")[: int(share * len(popularity))]] = True
        return rare

    def _target_hits(self, fakes: pa.Table, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64[users]: share of the pushed items in each real user's top 50 after retraining with the fake users.

        And the share before, in `own`: what the model recommends of its own accord is not the attack's doing.
        """
        fake = ordered(fakes, pc.unique(whole(fakes["user_id"])), self.items_)
        pushed = fakes.filter(pc.equal(fakes["kind"], "target"))["item_id"]
        targets = pc.index_in(pc.unique(whole(pushed)), self.items_).drop_null().to_numpy()
        attacked = self._retrained(vstack([self.history_, fake]).tocsr(), self.mix_)
        lists = attacked._likeliest(), own
        after, before = (np.isin(found, targets).sum(axis=1) / max(1, len(targets)) for found in lists)
        return after, before

    def _likeliest(self) -> np.ndarray:
        """int64[users, at most 50]: what every user is recommended."""
        return ranking.top(self._scores(self.seen_, np.arange(len(self.users_))), self.seen_, HIT_K)

    def _retrained(self, history: csr_matrix, mix: Synthetic | None) -> Recommender:
        """This model, trained again on another history whose first rows are its users; nothing is tuned again."""
        model = Recommender(**storage.parameters(self), device=self.device)
        model.items_, model.users_, model.seen_, model.mix_ = self.items_, self.users_, self.seen_, mix
        model.l2_, model.recency_, model.teacher_ = self.l2_, self.recency_, self.teacher_
        model.state_ = next(model._fitted(history, (self.l2_,)))
        return model

    def as_victim(self) -> Victim:
        # What is shown to it has no order, as the items of a synthetic user have none.
        history = binary(self.history_)
        scores = RANKERS[self.model].scores(self.state_, history, np.arange(len(self.users_)))
        return RankingVictim(self.tables()["item_id"][1], history, scores, K, self.device)

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """Item vectors: the model's own factors, else the singular vectors of the training matrix."""
        vectors = self.state_["item"] if "item" in self.state_ else singular_vectors(binary(self.history_), DIM)
        return {"item_id": (self.items_.to_pylist(), np.ascontiguousarray(vectors, np.float32))}

    def _history(self, rows: pa.Table) -> csr_matrix:
        return ordered(rows, self.users_, self.items_)

    def save(self, folder: Path) -> None:
        arrays = self.state_ | storage.sparse("history", self.history_) | storage.sparse("seen", self.seen_)
        arrays |= {} if self.mix_ is None else self.mix_.arrays()
        settings = {"parameters": storage.parameters(self), "l2": self.l2_, "recency": self.recency_}
        names = {"items": self.items_.to_pylist(), "users": self.users_.to_pylist()}
        storage.save(folder, arrays, settings | names | {"teacher": self.teacher_})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Recommender:
        """Raises BadInput when the folder holds no readable model, or one of another version."""
        arrays, settings = storage.load(folder)
        try:
            model = cls(**settings["parameters"], device=device)
            model.items_, model.users_ = pa.array(settings["items"]), pa.array(settings["users"])
            items = len(model.items_)
            model.history_, model.seen_ = (storage.take_sparse(arrays, name, items) for name in ("history", "seen"))
            model.mix_ = Synthetic.stored(arrays, items)
            model.state_, model.l2_, model.recency_ = arrays, settings["l2"], tuple(settings["recency"])
            model.teacher_ = settings["teacher"] and tuple(settings["teacher"])
        except (KeyError, TypeError) as error:
            raise BadInput(f"{folder}: a model of another version ({error}); train it again") from None
        return model

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Recommender]:
        settings: dict[str, dict[str, Any]] = {
            "popularity": {"model": "popular"},
            "item neighbours, recency": {"model": "neighbours"},
            "transitions, recency": {"model": "transitions"},
            "ALS, recency": {"model": "als"},
            "EASE": {"recency": 0.0},
            "EASE, recency": {},
            "EASE, recency, inverse propensity": {"propensity": 0.3},
            "MF, softmax": {"model": "mf"},
            "MF, BPR": {"model": "mf", "loss": "bpr"},
            "LightGCN, softmax": {"model": "lightgcn"},
            "LightGCN, BPR": {"model": "lightgcn", "loss": "bpr"},
        }
        return {name: cls(**chosen, seed=seed, device=device) for name, chosen in settings.items()}


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
