"""A classifier of K classes on frozen vectors: multinomial logistic regression, or a small network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import nn

from augment.contracts.options import one_of
from augment.numeric import softmax
from augment.numeric.columns import labels_of
from augment.numeric.measures import Mean, Measure
from consumers import victims
from consumers.configured import Configured
from consumers.data import storage
from consumers.data.vectors import embeddings
from consumers.models.on_vectors import OnVectors, seeded
from consumers.scoring import classification as shared
from consumers.scoring import many_classes as scoring
from consumers.training import loop as training
from consumers.training.adversarial import Adversary, Settings
from consumers.training.losses import LOSSES
from gan.losses import belief
from gan.victim import Victim

GRID = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # inverse L2 strength C
LR = {"logistic": 2e-2, "mlp": 2e-3}  # logistic: only for losses that the solver does not have
BATCH = 128
RADIUS = 0.1  # of gradient attacks, in lengths of the embedding
RARE = 4  # the rarest, of those that training rows have, are one in so many of the classes


class ManyClasses(Configured):
    """Tables have `embedding` fixed_size_list<float32>[D] and `label` list<float32>[K]; see `Consumer`.

    What the options mean, `Options` says. A class that derives from it says what its rows are, and how attacked.
    """

    multiclass: ClassVar[bool] = True
    space: ClassVar[Mapping[str, tuple]] = {"C": GRID, "balanced": (False, True)}
    mix_space: ClassVar[Mapping[str, tuple]] = {}

    class Options(Settings):
        """Of a model of K classes."""

        model: Annotated[str, one_of((*LR,))] = Field("logistic", description="logistic; mlp: one hidden layer.")
        C: float = Field(0.0, ge=0, description="Inverse L2 strength; 0 tunes it on validation log loss.")
        balanced: bool = Field(False, description="Weigh the classes equally.")
        hidden: int = Field(128, ge=1, description="Of mlp: width of the hidden layer.")
        epochs: int = Field(30, ge=1, description="Of minibatch training: at most so many; the best one is kept.")
        loss: Annotated[str, one_of(LOSSES)] = Field("cross-entropy", description="cross-entropy, l2 or hinge.")
        attacked_rows: int = Field(300, ge=0, description="Test rows, at most, that attacks are made of.")

    options: Options

    @property
    def deterministic(self) -> bool:
        """A convex loss has one minimum."""
        options = self.options
        return options.model == "logistic" and options.loss == "cross-entropy" and not options.adversarial

    @property
    def solved(self) -> bool:
        """Whether the network on vectors is the one minimum of a convex loss."""
        return self.deterministic

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> ManyClasses:
        self.net_ = self._best(self._rows(train, mix), self._held_out(valid))
        return self

    def _rows(self, train: pa.Table, mix: pa.Table | None) -> list[torch.Tensor]:
        """Vectors, soft labels and weights of all that is learnt from; the mix comes last."""
        label, vectors = labels_of(train["label"]), embeddings(train)
        weight = np.ones(len(label), np.float32)
        counts = label.sum(axis=0)
        if self.options.balanced:
            weight *= (label @ (len(label) / np.maximum(counts, 1) / np.sum(counts > 0))).astype(np.float32)
        present = np.flatnonzero(counts)
        self.rare_ = present[np.argsort(counts[present], kind="stable")][: max(1, len(counts) // RARE)].tolist()
        if mix is not None:
            vectors = np.concatenate([vectors, embeddings(mix)])
            label = np.concatenate([label, labels_of(mix["label"])])
            weight = np.concatenate([weight, mix["weight"].to_numpy()])
        shares = np.average(label, axis=0, weights=weight)
        self.prior_ = np.log(np.clip(shares, 1e-4, 1)).astype(np.float32)
        return [torch.from_numpy(x).to(self.device) for x in (vectors, label, weight)]

    def _held_out(self, valid: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
        x, label = (torch.from_numpy(x).to(self.device) for x in (embeddings(valid), labels_of(valid["label"])))
        return x, label

    def _best(self, rows: list[torch.Tensor], held_out: tuple[torch.Tensor, ...]) -> OnVectors:
        """Of each strength C, the network of the least log loss on what is held out."""
        fitted, start = [], None
        for c in (self.options.C,) if self.options.C else GRID:
            net = self._net(rows[0].shape[1], rows[1].shape[1])
            if self.solved:
                start = softmax.fit(rows[0], rows[1], rows[2], c, start)
                net.body.load_state_dict({"weight": start[0], "bias": start[1]})
            else:
                self._train(net, rows, held_out, c)
            fitted.append(net.eval())
        return min(fitted, key=lambda net: _loss(net, held_out, "cross-entropy"))

    def _train(self, net: OnVectors, rows: list[torch.Tensor], valid: tuple[torch.Tensor, ...], c: float) -> None:
        options = self.options
        adversary = Adversary.of(options, net, net.dim, self.seed, self.device, rows[1].shape[1])
        training.fit(
            net, rows, lambda net: _loss(net, valid, options.loss), epochs=options.epochs, batch=BATCH,
            lr=LR[options.model], weight_decay=0.03 / c, seed=self.seed, loss=options.loss, adversary=adversary,
        )  # fmt: skip

    def _net(self, dim: int, classes: int) -> OnVectors:
        hidden = self.options.hidden if self.options.model == "mlp" else 0
        return seeded(dim, classes, hidden, self.seed, self.device)

    @torch.no_grad()
    def predict(self, rows: pa.Table) -> np.ndarray:
        return belief(self.net_(torch.from_numpy(embeddings(rows)).to(self.device))).cpu().numpy()

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        label, probability, users = labels_of(test["label"]), self.predict(test), shared.Users(test)
        rare = np.flatnonzero(np.isin(label.argmax(axis=1), self.rare_))
        slices = {"accuracy_rare": Mean(scoring.hits(label[rare], probability[rare]))}
        measures = users.drawn(scoring.clean_measures(label, probability)) | users.drawn(slices, rare)
        if attacked:
            at = self._attacked(test)
            x = torch.from_numpy(embeddings(test.take(pa.array(at)))).to(self.device)
            measures |= users.drawn(scoring.embedding_attacks(self.net_.head, x, label[at], RADIUS), at)
        return measures | scoring.attacked_measures(attacked, self.predict, users)

    def _attacked(self, test: pa.Table) -> np.ndarray:
        """int64[m]: places of the rows that attacks are made of."""
        return shared.attacked_rows(test, self.options.attacked_rows)

    def as_victim(self) -> Victim:
        net = self.net_.requires_grad_(False)
        return victims.LogitVictim(net, net.dim, torch.from_numpy(self.prior_).to(self.device))

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        return {}

    def save(self, folder: Path) -> None:
        storage.save(folder, *self._kept())

    def _kept(self) -> tuple[storage.Arrays, dict[str, Any]]:
        settings = {"parameters": self.parameters(), "dim": self.net_.dim, "classes": len(self.prior_)}
        settings |= {"prior": self.prior_.tolist(), "rare": self.rare_}
        return shared.state_arrays(self.net_), settings

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> ManyClasses:
        arrays, settings = storage.load(folder)
        model = cls(**settings["parameters"], device=device)
        model._restore(arrays, settings)
        return model

    def _restore(self, arrays: storage.Arrays, settings: dict[str, Any]) -> None:
        self.net_ = self._net(settings["dim"], settings["classes"])
        shared.load_arrays(self.net_, arrays)
        self.net_.eval()
        self.prior_, self.rare_ = np.array(settings["prior"], np.float32), settings["rare"]

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Any]:
        return {
            "logistic, tuned": cls(seed=seed, device=device),
            "logistic, balanced, tuned": cls(balanced=True, seed=seed, device=device),
            "MLP, tuned": cls(model="mlp", seed=seed, device=device),
            "MLP, mixup": cls(model="mlp", adversarial="mixup", seed=seed, device=device),
        }


@torch.no_grad()
def _loss(net: nn.Module, valid: tuple[torch.Tensor, ...], loss: str) -> float:
    return float(LOSSES[loss](net(valid[0]), valid[1]).mean())
