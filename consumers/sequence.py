"""What comes next: a user's next item from all that the user did before, by any of `consumers.sequences`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from augment.base.errors import BadInput, UsageError
from augment.contracts.consumer import Looked
from augment.contracts.options import one_of
from augment.numeric.columns import whole
from augment.numeric.histories import moments
from augment.numeric.measures import Mean, Measure
from augment.numeric.new_items import without
from augment.numeric.sequences import TAU, Sequences
from consumers.configured import ByModel, ModelOptions
from consumers.data import storage
from consumers.data.new_items import NewItems, unknown
from consumers.scoring import next_items, ranking
from consumers.scoring.next_items import Asked
from consumers.sequences import MODELS, Arrays, Material
from consumers.victims import RankingVictim, singular_vectors
from gan.victim import Victim

DIM = 64  # of the vectors of a model that has none
VALID = 4096  # validation rows by which a model is tuned, at most
REPEATS = 0.02  # share of validation rows whose item the user had: below it, none is recommended again


class NextItem(ByModel):
    """Tables hold one row per interaction: `user_id` (a user or a session), `item_id`, `timestamp`; see `Consumer`.

    options: those of `Options`, and of the chosen model's own: see `options_for`. What is tuned is tuned on validation
    rows. A synthetic sequence of the mix is one more sequence: its items in their order, its targets what comes next.

    Asked is each test row whose item is known and whose user did something before: of all items, which comes next? What
    the user did before is shown, validation rows and earlier test rows included. Test rows whose item is new are asked
    too, of known and new items together, where the mix has rows for new ones (`ndcg_all@20` and the like).
    """

    name = "sequence"
    modality: ClassVar[str] = "sequences"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("ndcg@20", "recall@20"),
        "slices": ("tail_recall@20", "short_recall@20", "coverage"),
        "robust": tuple(f"ndcg_{attack}@20" for attack in next_items.ATTACKS),
        "new items": ("ndcg_all@20", "recall_new@20", "exposure_new@20"),
        "catalogue": ("mean_popularity",),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("misclicks",)
    rehearsed: ClassVar[tuple[str, ...]] = ("ndcg_dropped@20", "ndcg_shuffled@20")  # as `mask` and `reorder` do
    space: ClassVar[Mapping[str, tuple]] = {"dropout": (0.1, 0.2, 0.3, 0.5), "lr": (0.001, 0.002, 0.005)}

    class Options(ModelOptions):
        """Of every model of sequences; the model has its own beside."""

        models: ClassVar[Mapping[str, Any]] = MODELS
        model: Annotated[str, one_of(MODELS)] = Field("sasrec", description="Which model; each has its options.")
        repeats: Literal["auto", "yes", "no"] = Field(
            "auto",
            description="Whether what a user had is recommended again. auto: where 2% of validation rows are repeats.",
        )

    options: Options

    def __init__(self, *, seed: int = 0, device: str = "cpu", **options: Any) -> None:
        super().__init__(seed=seed, device=device, **options)
        self.model_ = MODELS[self.options.model](self.options, seed, device)
        self.state_: Arrays = {}
        self.new_: NewItems
        self.was_new_: pa.Array

    @property
    def deterministic(self) -> bool:
        """Another seed is the same model."""
        return not self.model_.chance

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> NextItem:
        """Raises BadInput where there are fewer than two items or sequences, or no validation row asks anything."""
        self.items_ = pc.unique(whole(train["item_id"])).sort()
        self.users_ = pc.unique(whole(train["user_id"])).sort()
        if min(len(self.users_), len(self.items_)) < 2:
            raise BadInput(
                f"sequence: what follows takes at least 2 users and 2 items; the training rows have "
                f"{len(self.users_)} and {len(self.items_)}: give more data, or lower the split's core"
            )
        self.train_ = Sequences.of(train, self.users_, self.items_)
        self.seen_ = _log(train)
        met = self.train_.matrix(len(self.items_)).getnnz(axis=0)
        self.new_, self.was_new_ = NewItems.of(mix, self.items_, met), unknown(valid, self.items_)
        asked = self._asked(valid, hide=False)
        if not len(asked):
            raise BadInput(
                "sequence: no validation row has an item of training and a user who did something before, so there is "
                "nothing to tune by: give more data, or widen the split's `valid`"
            )
        self.hide_ = self.options.repeats == "no" or (
            self.options.repeats == "auto" and float(asked.repeats.mean()) < REPEATS
        )
        asked = Asked(asked.shown, asked.target, asked.user, self.hide_)
        if len(asked) > VALID:
            asked = asked.take(np.sort(np.random.default_rng(self.seed).choice(len(asked), VALID, replace=False)))
        material = Material.of(self.train_, None if mix is None else without(mix), self.items_)
        if not len(material.shown):
            raise BadInput("sequence: no user has two training rows, so nothing follows anything: give more data")
        self.state_ = self.model_.fit(material, lambda scores: next_items.ndcg(scores, asked))
        # Validation rows do their work, then they are history when the test comes, for every model alike.
        self.seen_ = pa.concat_tables([self.seen_, _log(valid)])
        return self

    def scores(self, histories: pa.Array) -> np.ndarray:
        """float32[n, I] of all items of training, by code in `items_`, as what comes next after lists of item names.

        A new item, whose published row names warm neighbours and their weights, scores their weighted sum.
        """
        return self._scores(Sequences.lists(histories, self.items_))

    def _scores(self, shown: Sequences) -> np.ndarray:
        return self.model_.scores(self.state_, shown)

    def predict(self, rows: pa.Table) -> np.ndarray:
        """float32[n, items] scores of what the `user_id`s of `rows` do next, validation rows included."""
        users = pc.dictionary_encode(whole(rows["user_id"]))
        shown = Sequences.of(self.seen_, users.dictionary, self.items_)
        place = users.indices.to_numpy(zero_copy_only=False)
        return self._scores(shown)[place]

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """The seed of each of `next_items.ATTACKS`, which `evaluate` makes on what is shown."""
        return {name: pa.table({"seed": [seed + number]}) for number, name in enumerate(next_items.ATTACKS)}

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        asked = self._asked(test, self.hide_)
        popularity = np.bincount(self.train_.items, minlength=len(self.items_)).astype(np.float64)
        measures = next_items.measures(next_items.found(self._scores, asked), asked, popularity) | self._with_new(test)
        for name in attacked:
            rng = np.random.default_rng(attacked[name]["seed"][0].as_py())
            shown = next_items.ATTACKS[name](asked.shown, popularity, rng)
            result = next_items.found(self._scores, asked, shown)
            measures[f"ndcg_{name}@20"] = Mean(next_items.by_user(result.ndcg, asked.user))
        return measures

    def _with_new(self, test: pa.Table) -> dict[str, Mean]:
        """What is foretold of known and new items together; a model without rows for new ones never finds one."""
        names = self.new_.listed(test, self.was_new_, self.items_)
        if not len(names):
            return ranking.nothing_new()

        def scores(shown: Sequences) -> np.ndarray:
            return self.new_.beside(self._scores(shown), shown.matrix(len(self.items_)), names)

        asked = self._asked(test, self.hide_, pa.concat_arrays([self.items_, names]))
        return next_items.new_measures(scores, asked, len(self.items_))

    def _asked(self, rows: pa.Table, hide: bool, items: pa.Array | None = None) -> Asked:
        """What `rows` ask, each after what its user did before it by all rows that are known, and these.

        items: by default the consumer's own; rows of others ask nothing and are not shown.
        """
        items = self.items_ if items is None else items
        rows = _log(rows)
        users = pc.unique(whole(rows["user_id"]))
        known = self.seen_.filter(pc.is_in(self.seen_["user_id"], value_set=users))
        numbered = known.append_column("place", pa.array(np.arange(len(known))))
        left = numbered.join(rows, known.column_names, join_type="left anti").sort_by("place")
        known = left.select(known.column_names)
        every = pa.concat_tables([known, rows])
        asked = pa.array(np.arange(len(every)) >= len(known))
        # The places of rows stand for items, so that it is known which are asked about.
        item = pc.index_in(whole(every["item_id"]), items)
        every, asked, item = (x.filter(item.is_valid()) for x in (every, asked, item))
        place = pa.array(np.arange(len(every)))
        order = Sequences.of(every.set_column(1, "item_id", place), users, place)
        found = Sequences(item.to_numpy().astype(np.int64)[order.items], order.offsets)
        return Asked.of(found, asked.to_numpy(zero_copy_only=False)[order.items], hide)

    def as_victim(self) -> Victim:
        def scores(users: np.ndarray) -> np.ndarray:
            return self._scores(self.train_.take(users))

        weights = self.train_.matrix(len(self.items_), TAU)
        return RankingVictim(self.tables()["item_id"][1], weights, scores, next_items.K, self.device)

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """Item vectors: the model's own, else the singular vectors of the training matrix."""
        vectors = self.state_.get("item")
        if vectors is None:
            history = self.train_.matrix(len(self.items_))
            history.data[:] = 1
            vectors = singular_vectors(history, DIM)
        return {"item_id": (self.items_.to_pylist(), np.ascontiguousarray(vectors, np.float32))}

    def save(self, folder: Path) -> None:
        user, item = (whole(self.seen_[name]).dictionary_encode() for name in ("user_id", "item_id"))
        arrays = {f"state.{name}": array for name, array in self.state_.items()}
        arrays |= {"train.items": self.train_.items, "train.offsets": self.train_.offsets}
        arrays |= {f"seen.{name}": codes.indices.to_numpy() for name, codes in (("user_id", user), ("item_id", item))}
        arrays["seen.timestamp"] = self.seen_["timestamp"].to_numpy()
        arrays |= self.new_.arrays()
        names = {"items": self.items_.to_pylist(), "users": self.users_.to_pylist()}
        names |= {"new": self.new_.names.to_pylist(), "was_new": self.was_new_.to_pylist()}
        seen = {"user_id": user.dictionary.to_pylist(), "item_id": item.dictionary.to_pylist()}
        settings = {"parameters": self.parameters(), "hide": self.hide_, "seen": seen}
        storage.save(folder, arrays, settings | names)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> NextItem:
        """Raises BadInput when the folder holds no readable model, or one of another version."""
        arrays, settings = storage.load(folder)
        try:
            model = cls(**settings["parameters"], device=device)
            model.items_, model.users_ = pa.array(settings["items"]), pa.array(settings["users"])
            model.train_ = Sequences(arrays["train.items"], arrays["train.offsets"])
            seen = {name: pa.array(of).take(pa.array(arrays[f"seen.{name}"])) for name, of in settings["seen"].items()}
            model.seen_ = pa.table({**seen, "timestamp": arrays["seen.timestamp"]})
            model.hide_ = settings["hide"]
            model.new_ = NewItems.stored(arrays, settings, model.items_)
            model.was_new_ = pa.array(settings.get("was_new", []), pa.string())
            model.state_ = {name[6:]: array for name, array in arrays.items() if name.startswith("state.")}
        except (KeyError, TypeError, UsageError) as error:
            raise BadInput(f"{folder}: a model of another version ({error}); train it again") from None
        return model

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        return [
            "strategies = { insert = 0.25, substitute = 0.25, crop = 0.25, gan = 0.25 }",
            "gates = { band = [-4.0, 4.0] }",
            "generator = { draws = 4 }",
            'verdict = { clean = ["ndcg@20"], improve = ["ndcg@20", "tail_recall@20", "ndcg_misclicks@20"] }',
        ]

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, NextItem]:
        settings = {
            "popularity": "popular",
            "transitions, recency": "transitions",
            "EASE, recency": "ease",
            "session neighbours": "session-neighbours",
            "GRU4Rec": "gru4rec",
            "SASRec": "sasrec",
        }
        return {name: cls(model=model, seed=seed, device=device) for name, model in settings.items()}


def _log(rows: pa.Table) -> pa.Table:
    """user_id, item_id and the moment float64 of each row."""
    moment = pa.array(moments(rows).astype(np.float64))
    return pa.table({"user_id": whole(rows["user_id"]), "item_id": whole(rows["item_id"]), "timestamp": moment})
