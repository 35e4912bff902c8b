"""Click-through rate on categorical fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.special import expit
from torch import Tensor

from augment.base.errors import UsageError, suggest
from augment.numeric.measures import Auc, Measure
from consumers import victims
from consumers.data import storage, target_statistics
from consumers.data.columns import whole
from consumers.models import click_trees as ctr_trees
from consumers.models.boosted_trees import DEPTH, Growth
from consumers.models.click_trees import Clicks, OnStatistics
from consumers.models.clicks import HEADS, OnFields
from consumers.scoring import classification as shared
from consumers.scoring import click_attacks
from consumers.training import loop as training
from consumers.training.adversarial import Adversary, Settings
from gan.victim import Victim

RESERVED = {"row_id", "timestamp", "label", "text", "segment", "embedding", "weight"}
MODELS = (*HEADS, "trees")
GRID = (1e-3, 3e-2, 3e-1)  # weight decay
QUIET = np.float32(0.2)  # times a statistic's deviation: louder ones predict no better and break sooner
RARE = 0.2  # share of rows that count as rare
RADIUS = 0.1  # of gradient attacks, in lengths of the row's embedding
BATCH = 1024
PREDICT_BATCH = 65_536


class ClickModel:
    """Tables have one string column per field, and `label`; see `Consumer`.

    model: "logistic", "deepfm", "dcnv2", or "trees": boosted trees on target statistics. min_count: rarer values, and
    null, are the unknown value. mutable: fields that attacks may swap; see `click_attacks`.

    Of the networks alone: target_statistics puts each value's click rate and count (see `target_statistics`) beside
    what is learnt of it. dim: learnt numbers per field value. weight_decay: 0 tunes it on validation log loss. loss:
    "cross-entropy", "l2" or "hinge". adversarial and what follows: see `adversarial.Settings`.
    Of the trees alone: leaves per tree; 0 tunes them on validation log loss.
    """

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
        "adversarial": ("", "masking+swaps+live", "masking+swaps+fgm"),
        "adv_share": (0.5, 1.0),
        "radius": (0.1, 0.3),
    }

    def __init__(
        self,
        *,
        model: str = "dcnv2",
        target_statistics: bool = False,
        dim: int = 8,
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        epochs: int = 12,
        leaves: int = 0,
        min_count: int = 2,
        loss: str = "cross-entropy",
        adversarial: str = "",
        adv_weight: float = 1.0,
        adv_share: float = 0.5,
        radius: float = 0.3,
        trades: bool = False,
        attacked_rows: int = 3000,
        mutable: Sequence[str] | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if model not in MODELS:
            raise UsageError(f"ctr: unknown model '{model}'{suggest(model, MODELS)}")
        if model == "trees" and (adversarial or loss != "cross-entropy"):
            raise UsageError(
                "ctr: model 'trees' has no `adversarial` and no other `loss`: leave them out, or take 'dcnv2'"
            )
        if model == "trees":
            self.space, self.mix_space = {"leaves": (4, 8, 16, 32), "min_count": (1, 2, 5)}, {}
        if not 0 <= leaves <= 1 << DEPTH or leaves == 1:
            raise UsageError(f"ctr: leaves = {leaves} must be from 2 to {1 << DEPTH}, or 0 to tune them")
        self.model, self.dim, self.lr, self.weight_decay, self.epochs = model, dim, lr, weight_decay, epochs
        self.target_statistics, self.leaves = target_statistics, leaves
        self.min_count, self.attacked_rows, self.seed, self.device = min_count, attacked_rows, seed, device
        self.mutable = None if mutable is None else tuple(mutable)
        self.loss = training.known_loss(loss)
        self.adversarial, self.adv_weight, self.adv_share = adversarial, adv_weight, adv_share
        self.radius, self.trades = radius, trades
        self.sparring_ = Settings(adversarial, adv_weight, adv_share, radius, trades)

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> ClickModel:
        self.values_ = {
            name: _vocabulary(train[name], self.min_count) for name in train.column_names if name not in RESERVED
        }
        codes, label = self._codes(train), shared.labels(train)
        self.prior_ = shared.log_odds(label)
        self._remember_rare(train)
        self.older_ = click_attacks.older_ids(train, valid)
        rows = Clicks(codes, label, np.ones(len(label), np.float32), np.arange(len(label)))
        if mix is not None:
            rows = rows.with_copies(self._copies(mix, train))
        on_valid = self._codes(valid), shared.labels(valid)
        if self.model == "trees":
            grid = (Growth(self.leaves),) if self.leaves else ctr_trees.GRID
            self.net_ = ctr_trees.fit(rows, len(train), on_valid, self._sizes, grid, self.seed).to(self.device)
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
        if self.target_statistics:
            fold = target_statistics.assigned(real, self.seed)
            statistics = QUIET * target_statistics.fit(codes[:real], self._sizes, rows.label[:real], fold)
            codes = codes + sum(self._sizes) * target_statistics.of_copies(fold, rows.anchor)[:, None]
        tensors = [torch.from_numpy(x).to(self.device) for x in (codes, rows.label, rows.weight)]
        on_valid = torch.from_numpy(valid_codes).to(self.device)

        def valid_loss(net: torch.nn.Module) -> float:
            return training.mean_loss(self.loss, _logits(net, on_valid), valid_label)

        tried = []
        for decay in (self.weight_decay,) if self.weight_decay else GRID:
            net = self._net(statistics)
            adversary = Adversary.of(self.sparring_, net, net.width, self.seed, self.device)
            loss = training.fit(
                net, tensors, valid_loss,
                epochs=self.epochs, batch=BATCH, lr=self.lr, weight_decay=decay, seed=self.seed,
                loss=self.loss, adversary=adversary,
            )  # fmt: skip
            tried.append((loss, net))
        best = min(tried, key=lambda pair: pair[0])[1]
        best.freeze()
        return best

    def _net(self, statistics: np.ndarray | None = None) -> OnFields:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            known = None if statistics is None else torch.from_numpy(statistics)
            return OnFields(self._sizes, self.dim, HEADS[self.model], known).to(self.device)

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
        return click_attacks.made(test, shared.attacked_rows(test, self.attacked_rows), self.mutable, seed)

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        codes, label, users = self._codes(test), shared.labels(test), shared.Users(test)
        probability = self.predict(test)
        measures = users.drawn(shared.clean_measures(label, probability))
        rare = self._rarity(test) <= self.rare_
        measures |= users.drawn({"auc_rare": Auc(label[rare], probability[rare])}, rare)
        if attacked:
            chosen = shared.attacked_rows(test, self.attacked_rows)
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
            "parameters": storage.parameters(self),
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
        if self.model == "trees":
            return OnStatistics(self._sizes, len(arrays["forest.leaf"])).to(self.device)
        return self._net(arrays["statistics"][None] if self.target_statistics else None)

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
