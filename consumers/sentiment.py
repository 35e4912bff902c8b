"""Review sentiment on frozen sentence embeddings: logistic regression, or a small network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field, model_validator
from scipy.sparse import csr_matrix, vstack
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from torch import nn

from augment.base.errors import UsageError
from augment.contracts.consumer import Looked
from augment.contracts.options import one_of
from augment.language.lexicon import unfetched
from augment.language.ngrams import Counts
from augment.numeric.measures import Auc, Measure
from consumers import victims
from consumers.configured import Configured
from consumers.data import storage
from consumers.data.vectors import embeddings
from consumers.models.on_vectors import OnVectors, seeded
from consumers.scoring import classification as shared
from consumers.scoring.text_attacks import TextAttacks, attacked_texts
from consumers.training import loop as training
from consumers.training.adversarial import Adversary, Settings
from consumers.training.losses import LOSSES
from gan.victim import Victim

Vectors: TypeAlias = "np.ndarray | csr_matrix"  # embeddings float32[n, D], or counts of n-grams
GRID = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # inverse L2 strength C
NGRAMS = "ngrams"
LR = {"logistic": 2e-2, "mlp": 2e-3}  # logistic: only for losses that scikit-learn's solver does not have
RADIUS = 0.1  # of gradient attacks, in lengths of the embedding
LARGE_SEGMENTS = 3  # the tail is what lies outside the largest few


class Sentiment(Configured):
    """Tables have `text`, `embedding` fixed_size_list<float32>[D], `label`, optionally `segment`; see `Consumer`.

    What the options mean, `Options` says. Model "ngrams", a baseline, reads no embedding but counts of the text's words
    and characters: against it no samples can be generated.
    """

    name = "sentiment"
    modality: ClassVar[str] = "text"
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clean": ("auc", "macro_f1", "logloss", "ece"),
        "slices": ("auc_tail_segments",),
        "robust": ("auc_pool", "auc_unseen", "auc_respelt", "auc_pgd", "auc_apgd"),
    }

    held_out_attacks: ClassVar[tuple[str, ...]] = ("unseen", "respelt")
    rehearsed: ClassVar[tuple[str, ...]] = ("auc_pool", "auc_pgd", "auc_apgd")
    space: ClassVar[Mapping[str, tuple]] = {"C": GRID, "balanced": (False, True)}
    mix_space: ClassVar[Mapping[str, tuple]] = {}

    class Options(TextAttacks, Settings):
        """Of a model of reviews."""

        model: Annotated[str, one_of((*LR, NGRAMS))] = Field(
            "logistic",
            description="logistic; mlp: one hidden layer; ngrams: logistic on counts of n-grams, a baseline.",
        )
        C: float = Field(0.0, ge=0, description="Inverse L2 strength; 0 tunes it on validation AUC.")
        balanced: bool = Field(False, description="Weigh the classes equally.")
        hidden: int = Field(64, ge=1, description="Of mlp: width of the hidden layer.")
        epochs: int = Field(30, ge=1, description="Of minibatch training: at most so many; the best one is kept.")
        loss: Annotated[str, one_of(LOSSES)] = Field("cross-entropy", description="cross-entropy, l2 or hinge.")

        @model_validator(mode="after")
        def _counts_learn_one_way(self) -> Sentiment.Options:
            if self.model == NGRAMS and (self.adversarial or self.loss != "cross-entropy"):
                raise ValueError("model 'ngrams' has neither `adversarial` nor another loss than cross-entropy")
            return self

    options: Options

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Sentiment:
        label = shared.labels(train)
        if self.options.model == NGRAMS:
            self.counts_, vectors = Counts.fit(train["text"].to_pylist())
        else:
            vectors = embeddings(train)
        weight = np.ones(len(label), np.float32)
        if self.options.balanced:
            weight *= np.where(label > 0.5, 0.5 / label.mean(), 0.5 / (1 - label.mean())).astype(np.float32)
        if mix is not None:
            vectors = _stacked(vectors, self._vectors(mix))
            label = np.concatenate([label, shared.labels(mix)])
            weight = np.concatenate([weight, mix["weight"].to_numpy()])
        segments = train["segment"].value_counts().to_pylist() if "segment" in train.column_names else []
        ranked = sorted(segments, key=lambda s: -s["counts"])
        self.large_segments_ = [s["values"] for s in ranked[:LARGE_SEGMENTS]]
        self.prior_ = shared.log_odds(label, weight)
        candidates = [
            self._fit_net(vectors, label, weight, valid, c) for c in ((self.options.C,) if self.options.C else GRID)
        ]
        valid_label, valid_vectors = shared.labels(valid), self._vectors(valid)
        self.net_: OnVectors = max(candidates, key=lambda net: Auc(valid_label, _predict(net, valid_vectors)).value())
        self.threshold_ = shared.best_threshold(valid_label, _predict(self.net_, valid_vectors))
        return self

    def _vectors(self, rows: pa.Table) -> Vectors:
        if self.options.model != NGRAMS:
            return embeddings(rows)
        texts = rows["text"] if "text" in rows.column_names else pc.struct_field(rows["decoded"], "text")
        if texts.null_count:
            raise UsageError(
                f"model '{NGRAMS}' reads texts, and {texts.null_count:,} of {len(rows):,} samples are vectors alone: "
                "set `generator.decode` to true"
            )
        return self.counts_.transform(texts.to_pylist())

    def _fit_net(self, vectors: Vectors, label: np.ndarray, weight: np.ndarray, valid: pa.Table, c: float) -> OnVectors:
        if self.options.model != "mlp" and self.options.loss == "cross-entropy" and not self.options.adversarial:
            return self._fit_logistic(vectors, label, weight, c)
        net = self._net(vectors.shape[1])
        tensors = [torch.from_numpy(x).to(self.device) for x in (vectors, label, weight)]
        valid_label, valid_vectors = shared.labels(valid), embeddings(valid)
        training.fit(
            net, tensors,
            lambda net: training.mean_loss(self.options.loss, _logits(net, valid_vectors), valid_label),
            epochs=self.options.epochs, batch=128, lr=LR[self.options.model], weight_decay=0.03 / c, seed=self.seed,
            loss=self.options.loss, adversary=Adversary.of(self.options, net, net.dim, self.seed, self.device),
        )  # fmt: skip
        return net

    def _fit_logistic(self, vectors: Vectors, label: np.ndarray, weight: np.ndarray, c: float) -> OnVectors:
        rows, hard, weights = shared.hardened(label, weight)
        fitted = LogisticRegression(C=c, max_iter=500).fit(vectors[rows], hard, sample_weight=weights)
        net = self._net(vectors.shape[1])
        linear = net.body
        linear.weight.data = torch.from_numpy(fitted.coef_.astype(np.float32))
        linear.bias.data = torch.from_numpy(fitted.intercept_.astype(np.float32))
        return net.to(self.device).eval()

    def _net(self, dim: int) -> OnVectors:
        hidden = self.options.hidden if self.options.model == "mlp" else 0
        return seeded(dim, 1, hidden, self.seed, self.device)

    def predict(self, rows: pa.Table) -> np.ndarray:
        return _predict(self.net_, self._vectors(rows))

    def attacks(self, test: pa.Table, seed: int) -> dict[str, pa.Table]:
        return attacked_texts(test, self.options, seed)

    def evaluate(self, test: pa.Table, attacked: Mapping[str, pa.Table]) -> dict[str, Measure]:
        label, probability, users = shared.labels(test), self.predict(test), shared.Users(test)
        measures = shared.clean_measures(label, probability)
        measures["macro_f1"] = shared.macro_f1(label, probability, self.threshold_)
        tail = np.zeros(len(test), bool)
        if self.large_segments_:
            tail = ~np.isin(test["segment"].to_numpy(zero_copy_only=False), self.large_segments_)
        slices = users.drawn({"auc_tail_segments": Auc(label[tail], probability[tail])}, tail)
        measures = users.drawn(measures) | slices
        if attacked:
            chosen = shared.attacked_rows(test, self.options.attacked_rows)
            measures |= users.drawn(self._gradient_attacks(test.take(pa.array(chosen))), chosen)
        return measures | shared.attacked_measures(attacked, self.predict, users)

    def _gradient_attacks(self, rows: pa.Table) -> dict[str, Measure]:
        """Each model is attacked in the vectors that it reads."""
        label, vectors = shared.labels(rows), self._vectors(rows)
        if isinstance(vectors, np.ndarray):
            x = torch.from_numpy(vectors).to(self.device)
            return shared.embedding_attacks(self.net_.head, x, label, RADIUS)
        # Of a linear model the worst move is known: against the weights.
        weight, _ = _linear(self.net_)
        reach = RADIUS * np.sqrt(vectors.multiply(vectors).sum(axis=1)).A1 * np.linalg.norm(weight)
        moved = _logits(self.net_, vectors).cpu().numpy() - np.where(label > 0.5, reach, -reach)
        return {name: Auc(label, expit(moved)) for name in ("auc_pgd", "auc_apgd")}

    def as_victim(self) -> Victim:
        if self.options.model == NGRAMS:
            raise UsageError("sentiment: model 'ngrams' has no vectors to move; use an encoder with +ngrams instead")
        net = self.net_.requires_grad_(False)
        return victims.LogitVictim(net, net.dim, self.prior_)

    def tables(self) -> dict[str, tuple[list[str], np.ndarray]]:
        return {}

    def save(self, folder: Path) -> None:
        settings: dict[str, Any] = {
            "parameters": self.parameters(),
            "dim": self.net_.dim,
            "threshold": self.threshold_,
        }
        settings |= {"prior": self.prior_, "large_segments": self.large_segments_}
        counts = self.counts_.arrays() if self.options.model == NGRAMS else {}
        storage.save(folder, {**shared.state_arrays(self.net_), **counts}, settings)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Sentiment:
        arrays, settings = storage.load(folder)
        model = cls(**settings["parameters"], device=device)
        if model.options.model == NGRAMS:
            model.counts_ = Counts.of(arrays)
        net = model._net(settings["dim"])
        shared.load_arrays(net, arrays)
        model.net_, model.threshold_ = net.to(device).eval(), settings["threshold"]
        model.prior_, model.large_segments_ = settings["prior"], settings["large_segments"]
        return model

    @classmethod
    def first_recipe(cls, found: Looked) -> list[str]:
        """The encoder and the strategies are those of the texts' script."""
        install = ": pip install 'sparring[chinese]'"
        encoder = {
            "latin": 'encoder = "minilm+ngrams"  # of English; usem3+ngrams for 15 other languages',
            "chinese": f'encoder = "usem3+ngrams"  # of Chinese and 15 other languages{install}',
            "other": f'encoder = "usem3+ngrams"  # of 16 languages{install}',
        }[found.script]
        strategies = "strategies = { gan = 1.0 }  # unlabelled reviews are used too"
        if found.script != "latin":
            strategies = "strategies = { gan = 0.8, noise = 0.2 }"
        if found.script == "chinese":
            command, better = unfetched("homophones"), "{ gan = 0.8, homophones = 0.2 }"
            strategies = f"{strategies}  # better, after `{command}`: {better}" if command else f"strategies = {better}"
        return [
            "weight = 0.25",
            "gates = { band = [-6.0, 6.0] }",
            encoder,
            strategies,
            'verdict = { clean = ["auc"], improve = ["auc_pool", "auc_unseen"] }',
        ]

    @classmethod
    def baselines(cls, seed: int, device: str) -> dict[str, Sentiment]:
        """Strong regularisation is itself a defence (C = 0.3), so it competes too."""
        return {
            "logistic, tuned": cls(seed=seed, device=device),
            "logistic, balanced, tuned": cls(balanced=True, seed=seed, device=device),
            "logistic, C = 0.3": cls(C=0.3, seed=seed, device=device),
            "logistic on n-grams, tuned": cls(model=NGRAMS, seed=seed, device=device),
            "MLP, tuned": cls(model="mlp", seed=seed, device=device),
        }


def _linear(net: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Weights float32[D] and bias float32[1] of a net that is one layer."""
    weight, bias = (value.detach().cpu().numpy() for value in net.parameters())
    return weight[0], bias


def _stacked(above: Vectors, below: Vectors) -> Vectors:
    if isinstance(above, np.ndarray):
        return np.concatenate([above, below])
    return vstack([above, below], "csr")


def _predict(net: nn.Module, vectors: Vectors) -> np.ndarray:
    return expit(_logits(net, vectors).cpu().numpy())


@torch.no_grad()
def _logits(net: nn.Module, vectors: Vectors) -> torch.Tensor:
    if not isinstance(vectors, np.ndarray):
        weight, bias = _linear(net)
        return torch.from_numpy(vectors @ weight + bias)
    return net(torch.tensor(vectors).to(next(net.parameters()).device))
