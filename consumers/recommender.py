"""Top-k recommendation from interactions, by any of `consumers.rankers`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.sparse import csr_matrix, vstack

from augment.base.errors import BadInput, UsageError
from augment.base.progress import bar
from augment.contracts.consumer import Looked
from augment.contracts.options import one_of
from augment.numeric.columns import whole
from augment.numeric.ease import USERS
from augment.numeric.histories import binary, flipped, minus, ordered, recent, together
from augment.numeric.measures import Mean, Measure, ndcg
from augment.numeric.new_items import without
from augment.numeric.new_users import summed
from consumers.configured import ByModel, ModelOptions
from consumers.data import storage
from consumers.data.interactions import Synthetic
from consumers.data.new_items import NewItems, unknown
from consumers.data.new_users import NewUsers
from consumers.rankers import RANKERS, Arrays, Rows, tuning
from consumers.rankers.base import TUNED, Distilled, Tuned
from consumers.scoring import ranking, shilling
from consumers.victims import RankingVictim, singular_vectors
from gan.victim import Victim

HIT_K = 50  # of the shilling attack
SUSPECT_WEIGHT = 0.1
DIM = 64  # of the behaviour encoder


class Recommender(ByModel):
    """Tables hold one row per interaction: `user_id`, `item_id`, perhaps `timestamp`; see `Consumer`, `histories`.

    options: those of `Options`, and of the chosen model's own: see `options_for`. What is tuned is tuned on validation
    rows. A synthetic user of the mix is one more row: its items are shown, its targets wanted.

    Where a model ranks by the history it is shown, what is old may count less there; see `Recency`. Training counts
    all alike: what goes together does not age. Validation rows are part of what is shown when the test comes.

    Attacks reach the mix as they would have, had they been in the log when it was made: the flips of a user are made in
    its samples too, and a fake user counts as much as a real one does with its samples.
    """

    name = "recommender"
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
        "new items": ("ndcg_all@20", "recall_new@20", "exposure_new@20"),
        "new users": ("ndcg_new_users@20", "recall_new_users@20", "ndcg_unmet_users@20"),
        "catalogue": ("mean_popularity",),
    }
    space: ClassVar[Mapping[str, tuple]] = {"l2": (50.0, 100.0, 200.0, 400.0, 800.0)}

    class Options(ModelOptions):
        """Of every recommender; the model has its own beside."""

        models: ClassVar[Mapping[str, Any]] = RANKERS
        model: Annotated[str, one_of(RANKERS)] = Field("ease", description="Which model ranks; each has its options.")
        l2: Tuned = Field(
            TUNED,
            description="Regularisation. -1 tunes it: of the settings near the best NDCG@20 the one with the best tail "
            "recall, since the two trade off along it.",
        )
        propensity: float = Field(
            0.0,
            ge=0,
            description="A target counts (1 / its item's interactions) to this power (inverse propensity; Schnabel et "
            "al., 2016).",
        )
        suspects: float = Field(
            0.0,
            ge=0,
            lt=1,
            description="Share of users, those whose histories look fabricated, that count a tenth, as do the "
            "synthetic users made of them.",
        )

    options: Options

    def __init__(self, *, seed: int = 0, device: str = "cpu", **options: Any) -> None:
        super().__init__(seed=seed, device=device, **options)
        self.ranker_ = RANKERS[self.options.model](self.options, seed, device)
        self.state_: Arrays = {}
        self.new_: NewItems
        self.few_: NewUsers
        self.was_new_: pa.Array
        self.l2_, self.recency_ = self.options.l2, tuning.OFF
        self.teacher_: tuple[float, float, float] | None = None  # l2, recency and its floor

    @property
    def deterministic(self) -> bool:
        """Another seed is the same model."""
        return not self.ranker_.chance

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Recommender:
        self.__dict__.pop("_vectors", None)  # of rows that it was fitted to before
        self.items_ = pc.unique(whole(train["item_id"])).sort()
        self.users_ = pc.unique(whole(train["user_id"])).sort()
        if min(len(self.users_), len(self.items_)) < 2:
            raise BadInput(
                f"recommender: what goes together takes at least 2 users and 2 items; the training rows have "
                f"{len(self.users_)} and {len(self.items_)}: give more data, or lower the split's core"
            )
        self.history_ = self._history(train)
        made = None if mix is None else without(mix)
        self.mix_ = Synthetic.of(made, self.users_, self.items_) if made else None  # of new items alone: as without
        self.new_ = NewItems.of(mix, self.items_, self.history_.getnnz(axis=0))
        self.was_new_ = unknown(valid, self.items_)
        self.few_ = NewUsers.of(mix, self.users_)
        # Validation rows do their work, then they are history when the test comes, for every model alike.
        self.seen_ = self._history(together(train, valid))
        if isinstance(self.options, Distilled) and self.options.distill:
            alike = {"propensity": self.options.propensity, "suspects": self.options.suspects}
            teacher = Recommender(**alike).fit(train, valid, mix)
            self.teacher_ = teacher.l2_, *teacher.recency_
        wanted = minus(binary(self._history(valid)), self.history_)
        best = tuning.best(self.ranker_, self._rows(self.history_), self.options.l2, self.history_, wanted)
        self.state_, self.l2_, self.recency_ = best
        return self

    def _rows(self, history: csr_matrix) -> Rows:
        """What to train on: real (and fake) users and the mix."""
        trust = np.ones(history.shape[0])
        if self.options.suspects:
            trust[shilling.suspects(binary(history), self.options.suspects)] = SUSPECT_WEIGHT
        rows = Rows.of(history, trust, len(self.users_), self.mix_, self.options.propensity)
        if self.teacher_ is None:
            return rows
        l2, tau, floor = self.teacher_
        ease = RANKERS["ease"]
        said = next(ease(ease.Options()).fit(rows, (l2,)))["items"]
        shown = recent(rows.order, tau, floor).maximum(minus(rows.inputs, rows.order))  # those without an order as is
        return replace(rows, teacher=said, taught=shown.tocsr())

    def _scores(self, history: csr_matrix, users: np.ndarray) -> np.ndarray:
        """float32[n, I] for the users at `users`, who show `history` (all rows)."""
        return tuning.scored(self.ranker_, self.state_, history, self.recency_, users)

    def _top(self, history: csr_matrix, users: np.ndarray, seen: csr_matrix, k: int) -> np.ndarray:
        """int64[n, at most k]: the best items, but for `seen`, of the users at `users`, who show `history`."""
        return tuning.likeliest(self.ranker_, self.state_, history, self.recency_, users, seen, k)

    def predict(self, rows: pa.Table) -> np.ndarray:
        """float32[n, items] scores for the `user_id`s of `rows`; a user never seen gets the items' popularity.

        One of few interactions, or of none, that the mix has a row of gets what its neighbours say.
        """
        names = whole(rows["user_id"])
        users = pc.fill_null(pc.index_in(names, self.users_), -1).to_numpy(zero_copy_only=False)
        popularity = self.seen_.getnnz(axis=0).astype(np.float32)
        scores = np.where(users[:, None] >= 0, self._scores(self.seen_, np.maximum(users, 0)), popularity)
        met, unmet = np.flatnonzero(users >= 0), np.flatnonzero(users < 0)
        which, said = self._of_few(self.seen_, users[met])
        scores[met[which]] = said
        which, said = self._of_unmet(self.seen_, names.take(pa.array(unmet)))
        scores[unmet[which]] = said
        return scores

    def _of_few(self, history: csr_matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the users at int64[n] the mix has rows of, int64[m], and what neighbours say, float32[m, I]."""
        which, weights = self.few_.among(users, history)
        return which, summed(weights, history, lambda some: self._scores(history, some))

    def _of_unmet(self, history: csr_matrix, names: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """The same of users that were not met, by their ids."""
        which, weights = self.few_.unmet(names)
        return which, summed(weights, history, lambda some: self._scores(history, some))

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """Fake users, all of them and each kind alone, and the seed of flips; `evaluate` retrains on each."""
        return shilling.attacks(test, seed)

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        # To be found: the rows asked about, but for repeats of training rows. Known: all else, validation included.
        # Full ranking over the items not known, as a shop would recommend.
        wanted = minus(binary(self._history(test)), self.history_)
        known = minus(self.seen_, wanted)
        users = np.flatnonzero(wanted.getnnz(axis=1))
        lists, new = self._top(known, users, known, ranking.K), self._with_new(test, wanted, known)
        which, said = self._of_few(known, users)
        lists[which] = ranking.top(said, known[users[which]], ranking.K)
        wanted = wanted[users]
        new |= ranking.new_user_measures(lists, wanted, known[users].getnnz(axis=1))
        new["ndcg_unmet_users@20"] = self._unmet(test, known)
        measures: dict[str, Measure] = new | ranking.measures(lists, wanted, users, self.history_)
        kinds = [name for name in attacked if name.startswith("shilling")]
        own = self._likeliest() if kinds else np.empty(0)
        with bar(len(attacked), "retraining under attack", "attack") as shown:
            for name, model in zip(kinds, self._beside([attacked[name] for name in kinds]), strict=True):
                hits, before = self._target_hits(attacked[name], model, own)
                measures[f"target_hit{name.removeprefix('shilling').replace('-', '_')}@50"] = Mean(hits, "lower")
                if name == "shilling":
                    measures["target_lift@50"] = Mean(hits - before, "lower")
                shown.update()
            if "flips" in attacked:
                measures["ndcg_flipped@20"] = self._flipped(attacked["flips"]["seed"][0].as_py(), known, wanted, users)
                shown.update()
        return measures

    def _with_new(self, test: pa.Table, wanted: csr_matrix, known: csr_matrix) -> dict[str, Mean]:
        """What lists of known and new items are worth, to users who want items of either kind.

        New are those of `NewItems.listed`. A model without rows for them never finds one.
        """
        names = self.new_.listed(test, self.was_new_, self.items_)
        if not len(names):
            return ranking.nothing_new()
        hoped = binary(ordered(test, self.users_, names))
        users = np.flatnonzero(wanted.getnnz(axis=1) + hoped.getnnz(axis=1))
        if not len(users):
            return ranking.nothing_new()
        parts = []
        for start in range(0, len(users), USERS):
            some = users[start : start + USERS]
            scores = self.new_.beside(self._scores(known, some), known[some], names)
            parts.append(ranking.new_measures(scores, known[some], wanted[some], hoped[some]))
        return {name: Mean(np.concatenate([part[name].values for part in parts])) for name in ranking.nothing_new()}

    def _unmet(self, test: pa.Table, known: csr_matrix) -> Mean:
        """NDCG of users of the test alone: by popularity, or by what neighbours say."""
        names = pc.unique(whole(test["user_id"]))
        names = names.filter(pc.invert(pc.is_in(names, self.users_)))
        wanted = binary(ordered(test, names, self.items_))
        some = np.flatnonzero(wanted.getnnz(axis=1))
        names, wanted, nothing = names.take(pa.array(some)), wanted[some], csr_matrix(wanted[some].shape)
        popular = ranking.top(known.getnnz(axis=0)[None].astype(np.float32), nothing[:1], ranking.K)
        lists = np.repeat(popular, len(some), axis=0)
        which, said = self._of_unmet(known, names)
        lists[which] = ranking.top(said, nothing[which], ranking.K)
        return Mean(ndcg(ranking.hits(lists, wanted), wanted.getnnz(axis=1)))

    def _flipped(self, seed: int, known: csr_matrix, wanted: csr_matrix, users: np.ndarray) -> Mean:
        """NDCG of what is `wanted` [n, I] by users at int64[n], after retraining on histories with flips."""
        flips = shilling.flips(self.history_, seed)
        history, shown = (flipped(m, flips, np.arange(len(self.users_))) for m in (self.history_, known))
        model = self._untrained(self.mix_ and self.mix_.flipped(flips))
        model.state_ = next(model.ranker_.fit(model._rows(history), (self.l2_,)))
        hit = ranking.hits(model._top(shown, users, known, ranking.K), wanted)
        return Mean(ndcg(hit, wanted.getnnz(axis=1)))

    def _beside(self, attacks: Iterable[pa.Table]) -> Iterator[Recommender]:
        """This model trained again with the fake users of each attack beside its own."""
        fakes = (ordered(fakes, pc.unique(whole(fakes["user_id"])), self.items_) for fakes in attacks)
        others = (self._rows(vstack([self.history_, fake]).tocsr()) for fake in fakes)
        for state in self.ranker_.grown(self._rows(self.history_), others, self.l2_):
            model = self._untrained(self.mix_)
            model.state_ = state
            yield model

    def _target_hits(self, fakes: pa.Table, attacked: Recommender, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64[users]: share of the pushed items in each real user's top 50 of the model that had the fake users.

        And the share before, in `own`: what the model recommends of its own accord is not the attack's doing.
        """
        pushed = fakes.filter(pc.equal(fakes["kind"], "target"))["item_id"]
        targets = pc.index_in(pc.unique(whole(pushed)), self.items_).drop_null().to_numpy()
        lists = attacked._likeliest(), own
        after, before = (np.isin(found, targets).sum(axis=1) / max(1, len(targets)) for found in lists)
        return after, before

    def _likeliest(self) -> np.ndarray:
        """int64[users, at most 50]: what every user is recommended."""
        return self._top(self.seen_, np.arange(len(self.users_)), self.seen_, HIT_K)

    def _untrained(self, mix: Synthetic | None) -> Recommender:
        """This model before it was trained, by a mix of another making; nothing is tuned again."""
        model = Recommender(**self.parameters(), device=self.device)
        model.items_, model.users_, model.seen_, model.mix_ = self.items_, self.users_, self.seen_, mix
        model.l2_, model.recency_, model.teacher_ = self.l2_, self.recency_, self.teacher_
        return model

    def as_victim(self) -> Victim:
        # What is shown to it has no order, as the items of a synthetic user have none.
        history = binary(self.history_)

        def scores(users: np.ndarray) -> np.ndarray:
            return self.ranker_.scores(self.state_, history[users], users)

        return RankingVictim(self.tables()["item_id"][1], history, scores, ranking.K, self.device)

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """Item vectors: the model's own factors, else the singular vectors of the training matrix."""
        return {"item_id": (self.items_.to_pylist(), np.ascontiguousarray(self._vectors, np.float32))}

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Kept: a modality and the victim of one model ask for them."""
        return self.state_["item"] if "item" in self.state_ else singular_vectors(binary(self.history_), DIM)

    def _history(self, rows: pa.Table) -> csr_matrix:
        return ordered(rows, self.users_, self.items_)

    def save(self, folder: Path) -> None:
        arrays = self.state_ | storage.sparse("history", self.history_) | storage.sparse("seen", self.seen_)
        arrays |= self.new_.arrays() | self.few_.arrays() | ({} if self.mix_ is None else self.mix_.arrays())
        settings = {"parameters": self.parameters(), "l2": self.l2_, "recency": self.recency_}
        names = {"items": self.items_.to_pylist(), "users": self.users_.to_pylist()}
        names |= {"new": self.new_.names.to_pylist(), "was_new": self.was_new_.to_pylist()}
        names |= {"new_users": self.few_.names.to_pylist()}
        storage.save(folder, arrays, settings | names | {"teacher": self.teacher_})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Recommender:
        """Raises BadInput when the folder holds no readable model, or one of another version."""
        arrays, settings = storage.load(folder)
        try:
            model = cls(**_still_read(settings["parameters"]), device=device)
            model.items_, model.users_ = pa.array(settings["items"]), pa.array(settings["users"])
            items = len(model.items_)
            model.history_, model.seen_ = (storage.take_sparse(arrays, name, items) for name in ("history", "seen"))
            model.mix_ = Synthetic.stored(arrays, items)
            model.new_ = NewItems.stored(arrays, settings, model.items_)
            model.few_ = NewUsers.stored(arrays, settings, len(model.users_))
            model.was_new_ = pa.array(settings.get("was_new", []), pa.string())
            model.state_, model.l2_, model.recency_ = arrays, settings["l2"], tuple(settings["recency"])
            model.teacher_ = settings["teacher"] and tuple(settings["teacher"])
        except (KeyError, TypeError, UsageError) as error:
            raise BadInput(f"{folder}: a model of another version ({error}); train it again") from None
        return model

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        improve = ["ndcg@20", "tail_recall@20", "coverage"]
        improve += ["ndcg_all@20", "recall_new@20"] if found.products else []
        improve += ["ndcg_unmet_users@20"] if found.people else []
        return [
            'options = { model = "mf", fold_in = 1.0 }  # vectors, as a shop serves; without it EASE, which has none',
            'teachers = ["ease"]  # what vectors cannot hold it names: the best items of each user',
            'teacher_options = { ease = { of = "EASE beside MF, inverse propensity" } }',
            "weights = [0.1, 0.3, 1.0]  # of the samples, tried on validation rows",
            "strategies = { gan = 0.5, item-drop = 0.5 }",
            "gates = { band = [-4.0, 4.0] }",
            "generator = { draws = 4 }",
            f'verdict = {{ clean = ["ndcg@20"], improve = {json.dumps(improve)} }}',
        ]

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Recommender]:
        settings: dict[str, dict[str, Any]] = {
            "popularity": {"model": "popular"},
            "item neighbours, recency": {"model": "neighbours"},
            "transitions, recency": {"model": "transitions"},
            "ALS, recency": {"model": "als"},
            "EASE, recency": {},  # of which none is one
            "EASE, recency, inverse propensity": {"propensity": 0.3},
            "EASE beside MF, inverse propensity": {"model": "blend", "propensity": 0.3},
        }
        return {name: cls(**chosen, seed=seed, device=device) for name, chosen in settings.items()}


def _still_read(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Of a saved model's parameters those of its own: once every model was saved with the options of all, idle ones."""
    known = Recommender.options_for(parameters).model_fields
    others = {option for ranker in RANKERS.values() for option in ranker.Options.model_fields} - known.keys()
    return {name: value for name, value in parameters.items() if name not in others}
