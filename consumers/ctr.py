"""Click-through rate on categorical fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field, field_validator, model_validator
from scipy.special import expit
from torch import Tensor

from augment.contracts.consumer import Looked
from augment.contracts.options import one_of
from augment.numeric.columns import whole
from augment.numeric.measures import Auc, Measure
from consumers import victims
from consumers.configured import Configured
from consumers.data import storage, target_statistics
from consumers.models import click_trees
from consumers.models.boosted_trees import DEPTH, Growth
from consumers.models.click_trees import Clicks, OnStatistics
from consumers.models.clicks import HEADS, OnFields
from consumers.scoring import classification as shared
from consumers.scoring import click_attacks
from consumers.training import loop as training
from consumers.training.adversarial import Adversary, Settings
from consumers.training.losses import LOSSES
from gan.victim import Victim

RESERVED = {"row_id", "timestamp", "label", "text", "segment", "embedding", "weight"}
MODELS = (*HEADS, "trees")
GRID = (1e-3, 3e-2, 3e-1)  # weight decay
QUIET = np.float32(0.2)  # times a statistic's deviation: louder ones predict no better and break sooner
RARE = 0.2  # share of rows that count as rare
RADIUS = 0.1  # of gradient attacks, in lengths of the row's embedding
BATCH = 1024
PREDICT_BATCH = 65_536


class ClickModel(Configured):
    """Tables have one string column per field, and `label`; see `Consumer`.

    mutable: fields that attacks may swap; see `click_attacks`. What the other options mean, `Options` says.
    """

    name = "ctr"
    modality: ClassVar[str] = "fields"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("auc", "logloss", "ece"),
        "slices": ("auc_rare",),
        "robust": (
            *("auc_masked", "auc_masked_ids", "auc_swapped", "auc_pgd", "auc_apgd"),
            *("auc_off_bin", "auc_stale", "auc_renamed", "auc_newest"),
        ),
    }
    held_out_attacks: ClassVar[tuple[str, ...]] = ("off_bin", "stale", "renamed", "newest")
    rehearsed: ClassVar[tuple[str, ...]] = ("auc_masked", "auc_masked_ids", "auc_swapped", "auc_pgd", "auc_apgd")
    tolerance: ClassVar[float] = 0.002

    space: Mapping[str, tuple] = {
        "weight_decay": GRID,
        "lr": (1e-3, 2e-3, 4e-3),
        "dim": (4, 8, 16),
    }
    mix_space: Mapping[str, tuple] = {
        "adversarial": ("", "masking+swaps", "masking+swaps+fgm"),
        "adv_share": (0.5, 1.0),
        "radius": (0.1, 0.3),
    }

    class Options(Settings):
        """Of a click model."""

        model: Annotated[str, one_of(MODELS)] = Field(
            "dcnv2", description="logistic, deepfm or dcnv2; or trees: boosted trees on target statistics."
        )
        target_statistics: bool = Field(
            False, description="Networks: each value's click rate and count beside what is learnt of it."
        )
        dim: int = Field(8, ge=1, description="Networks: learnt numbers per field value.")
        lr: float = Field(2e-3, gt=0, description="Networks: learning rate.")
        weight_decay: float = Field(0.0, ge=0, description="Networks: 0 tunes it on validation log loss.")
        epochs: int = Field(12, ge=1, description="Networks: at most so many; the best one is kept.")
        leaves: int = Field(0, description="Trees: of each, at most; 0 tunes them on validation log loss.")
        min_count: int = Field(2, ge=1, description="Rarer values, and null, are the unknown value.")
        loss: Annotated[str, one_of(LOSSES)] = Field("cross-entropy", description="cross-entropy, l2 or hinge.")
        attacked_rows: int = Field(3000, ge=0, description="Test rows, at most, that attacks are made of.")

        @field_validator("leaves")
        @classmethod
        def _fit_a_tree(cls, leaves: int) -> int:
            if not 0 <= leaves <= 1 << DEPTH or leaves == 1:
                raise ValueError(f"must be from 2 to {1 << DEPTH}, or 0 to tune them")
            return leaves

        @model_validator(mode="after")
        def _trees_learn_one_way(self) -> ClickModel.Options:
            if self.model == "trees" and (self.adversarial or self.loss != "cross-entropy"):
                raise ValueError(
                    "model 'trees' has no `adversarial` and no other `loss`: leave them out, or take 'dcnv2'"
                )
            return self

    options: Options

    def __init__(
        self, *, mutable: Sequence[str] | None = None, seed: int = 0, device: str = "cpu", **options: Any
    ) -> None:
        super().__init__(seed=seed, device=device, **options)
        self.mutable = None if mutable is None else tuple(mutable)
        if self.options.model == "trees":
            self.space, self.mix_space = {"leaves": (4, 8, 16, 32), "min_count": (1, 2, 5)}, {}

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "mutable": self.mutable}

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> ClickModel:
        self.values_ = {
            name: _vocabulary(train[name], self.options.min_count)
            for name in train.column_names
            if name not in RESERVED
        }
        codes, label = self._codes(train), shared.labels(train)
        self.prior_ = shared.log_odds(label)
        self._remember_rare(train)
        self.older_ = click_attacks.older_ids(train, valid)
        rows = Clicks(codes, label, np.ones(len(label), np.float32), np.arange(len(label)))
        if mix is not None:
            rows = rows.with_copies(self._copies(mix, train))
        on_valid = self._codes(valid), shared.labels(valid)
        if self.options.model == "trees":
            grid = (Growth(self.options.leaves),) if self.options.leaves else click_trees.GRID
            self.net_ = click_trees.fit(rows, len(train), on_valid, self._sizes, grid, self.seed).to(self.device)
        else:
            self.net_ = self._fit_net(rows, len(train), *on_valid)
        return self

    def _copies(self, mix: pa.Table, train: pa.Table) -> Clicks:
        decoded = pa.table(dict(zip(self.values_, mix["decoded"].combine_chunks().flatten(), strict=True)))
        anchor = pc.fill_null(pc.index_in(whole(mix["anchor_id"]), whole(train["row_id"])), -1)
        weight = mix["weight"].to_numpy()
        return Clicks(self._codes(decoded), shared.labels(mix), weight, anchor.to_numpy(zero_copy_only=False))

    def _fit_net(self, rows: Clicks, real: int, valid_codes: np.ndarray, valid_label: np.ndarray) -> OnFields:
        """The network of the weight decay that is best on validation rows."""
        codes, statistics = rows.codes, None
        if self.options.target_statistics:
            fold = target_statistics.assigned(real, self.seed)
            statistics = QUIET * target_statistics.fit(codes[:real], self._sizes, rows.label[:real], fold)
            codes = codes + sum(self._sizes) * target_statistics.of_copies(fold, rows.anchor)[:, None]
        tensors = [torch.from_numpy(x).to(self.device) for x in (codes, rows.label, rows.weight)]
        on_valid = torch.from_numpy(valid_codes).to(self.device)

        def valid_loss(net: torch.nn.Module) -> float:
            return training.mean_loss(self.options.loss, _logits(net, on_valid), valid_label)

        tried = []
        for decay in (self.options.weight_decay,) if self.options.weight_decay else GRID:
            net = self._net(statistics)
            adversary = Adversary.of(self.options, net, net.width, self.seed, self.device)
            loss = training.fit(
                net, tensors, valid_loss,
                epochs=self.options.epochs, batch=BATCH, lr=self.options.lr, weight_decay=decay, seed=self.seed,
                loss=self.options.loss, adversary=adversary,
            )  # fmt: skip
            tried.append((loss, net))
        best = min(tried, key=lambda pair: pair[0])[1]
        best.freeze()
        return best

    def _net(self, statistics: np.ndarray | None = None) -> OnFields:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            known = None if statistics is None else torch.from_numpy(statistics)
            return OnFields(self._sizes, self.options.dim, HEADS[self.options.model], known).to(self.device)

    @property
    def _sizes(self) -> list[int]:
        """Codes of each field: the unknown value and the known ones."""
        return [1 + len(values) for values in self.values_.values()]

    def _codes(self, rows: pa.Table) -> np.ndarray:
        """int64[n, F]: 0 for null and unknown values."""
        return np.stack([_places(rows[name], values) for name, values in self.values_.items()], axis=1)

    def _remember_rare(self, train: pa.Table) -> None:
        """How often training rows hold each id, and the count below which a row is rare.

        Whatever `min_count` says: all models of these rows agree on which are rare.
        """
        names = [name for name in self.values_ if name in click_attacks.IDS] or list(self.values_)
        self.ids_ = {name: _vocabulary(train[name], 2) for name in names}
        self.counts_ = {
            name: np.bincount(_places(train[name], ids), minlength=1 + len(ids)) for name, ids in self.ids_.items()
        }
        for counts in self.counts_.values():
            counts[0] = 0  # an unknown value is as rare as can be
        self.rare_ = float(np.quantile(self._rarity(train), RARE))

    def _rarity(self, rows: pa.Table) -> np.ndarray:
        """Training count of each row's rarest id."""
        return np.min([self.counts_[name][_places(rows[name], ids)] for name, ids in self.ids_.items()], axis=0)

    net_: OnFields | OnStatistics

    def predict(self, rows: pa.Table) -> np.ndarray:
        return _predict(self.net_, torch.from_numpy(self._codes(rows)).to(self.device))

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        """Fields hidden, renamed, swapped or out of date; see `click_attacks`."""
        return click_attacks.made(test, shared.attacked_rows(test, self.options.attacked_rows), self.mutable, seed)

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        codes, label, users = self._codes(test), shared.labels(test), shared.Users(test)
        probability = self.predict(test)
        measures = users.drawn(shared.clean_measures(label, probability))
        rare = self._rarity(test) <= self.rare_
        measures |= users.drawn({"auc_rare": Auc(label[rare], probability[rare])}, rare)
        if attacked:
            chosen = shared.attacked_rows(test, self.options.attacked_rows)
            with torch.no_grad():
                x = self.net_.embed(torch.from_numpy(codes[chosen]).to(self.device))
            measures |= users.drawn(shared.embedding_attacks(self.net_.head, x, label[chosen], RADIUS), chosen)
        if rows := attacked.get("newest"):
            attacked = {**attacked, "newest": rows.filter(pa.array(click_attacks.newest(rows, self.older_)))}
        return measures | shared.attacked_measures(attacked, self.predict, users)

    def as_victim(self) -> Victim:
        self.net_.requires_grad_(False)
        return victims.LogitVictim(self.net_.head, self.net_.width, self.prior_)

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """Field → ("" for unknown and then its values, float32[1 + n, D]): what is learnt, then statistics."""
        table = self.net_.vectors().cpu().numpy()
        parts = np.split(table, np.cumsum(self._sizes)[:-1])
        return {n: (["", *v.to_pylist()], part) for (n, v), part in zip(self.values_.items(), parts, strict=True)}

    def save(self, folder: Path) -> None:
        settings = {
            "parameters": self.parameters(),
            "prior": self.prior_,
            "rare": self.rare_,
            "older": {name: values.to_pylist() for name, values in self.older_.items()},
        }
        settings["values"] = {name: values.to_pylist() for name, values in self.values_.items()}
        settings["ids"] = {name: values.to_pylist() for name, values in self.ids_.items()}
        counts = {f"counts.{name}": counts for name, counts in self.counts_.items()}
        storage.save(folder, shared.state_arrays(self.net_) | counts, settings)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> ClickModel:
        arrays, settings = storage.load(folder)
        model = cls(**settings["parameters"], device=device)
        model.values_ = {name: pa.array(values, pa.string()) for name, values in settings["values"].items()}
        model.ids_ = {name: pa.array(values, pa.string()) for name, values in settings["ids"].items()}
        model.prior_, model.rare_ = settings["prior"], settings["rare"]
        model.older_ = {name: pa.array(values, pa.string()) for name, values in settings["older"].items()}
        model.counts_ = {name: arrays[f"counts.{name}"] for name in model.ids_}
        model.net_ = model._empty_net(arrays)
        shared.load_arrays(model.net_, arrays)
        model.net_.eval()
        return model

    def _empty_net(self, arrays: Mapping[str, np.ndarray]) -> OnFields | OnStatistics:
        """A net that the arrays of a saved one fit into."""
        if self.options.model == "trees":
            return OnStatistics(self._sizes, len(arrays["forest.leaf"])).to(self.device)
        return self._net(arrays["statistics"][None] if self.options.target_statistics else None)

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        """A gain on clean rows publishes too: teachers' labels are for that, and samples are made of no attack on it.

        Swaps can be asked for where some field may change, newest users and items where there are such.
        """
        improve = ["auc", "auc_masked", *(["auc_swapped"] if found.mutable else []), "auc_renamed"]
        improve += ["auc_newest"] if {"user", "item"} & found.roles.keys() else []
        return [
            "samples = 20000",
            'teachers = ["boosted trees"]  # labels the samples, if it beats this consumer on rows that neither saw',
            "weights = [0.3, 1.0]  # tried on validation rows",
            "strategies = { gan = 0.5, masking = 0.25, swaps = 0.25 }",
            '# mix_options = { adversarial = "masking+swaps+fgm", radius = 0.2 }  # gradient attacks too; '
            "half again the time",
            "gates = { band = [-4.0, 4.0] }",
            "generator = { draws = 2, bank = 1000, variants = 8 }",
            f'verdict = {{ clean = ["auc", "logloss"], improve = {json.dumps(improve)} }}',
        ]

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, ClickModel]:
        return {
            "logistic regression": cls(model="logistic", lr=2e-2, seed=seed, device=device),
            "DeepFM": cls(model="deepfm", seed=seed, device=device),
            "DCNv2": cls(model="dcnv2", seed=seed, device=device),
            "DCNv2 on target statistics": cls(model="dcnv2", target_statistics=True, seed=seed, device=device),
            "boosted trees": cls(model="trees", seed=seed, device=device),
        }


def _vocabulary(column: pa.ChunkedArray, min_count: int) -> pa.Array:
    """Values that occur at least `min_count` times, in alphabetical order."""
    counts = pc.value_counts(whole(column).drop_null())
    kept = counts.field("values").filter(pc.greater_equal(counts.field("counts"), min_count))
    return kept.take(pc.sort_indices(kept))


def _places(column: pa.ChunkedArray, values: pa.Array) -> np.ndarray:
    """int64[n]: the place of each value among `values`, from 1 on; 0 for null and unknown ones."""
    found = pc.fill_null(pc.index_in(whole(column), values), -1)
    return found.to_numpy(zero_copy_only=False).astype(np.int64) + 1


def _predict(net: torch.nn.Module, codes: Tensor) -> np.ndarray:
    return expit(_logits(net, codes).cpu().numpy())


@torch.no_grad()
def _logits(net: torch.nn.Module, codes: Tensor) -> Tensor:
    return torch.cat([net(part) for part in codes.split(PREDICT_BATCH)])
