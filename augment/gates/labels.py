"""Is a sample's label still right? Judged by models that never saw its anchor (cross-fitting).

A k-nearest-neighbour vote of the anchor's own class passes nearly every anchored sample, so it says nothing;
a model fitted on the other folds has no such bond to the anchor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from augment.base.errors import BadInput
from augment.contracts.modality import MORE_ROWS, Classes, Modality
from augment.contracts.values import Candidates, Labeller, Validity, class_of, known
from augment.numeric import softmax
from augment.numeric.columns import labels_of

if TYPE_CHECKING:
    from augment.recipes.schema import Gates

FOLDS = 5
FIT_ROWS = 20_000  # rows per fold's logistic regression: enough for a few hundred dimensions
MANY_ROWS = 5_000  # by which the strength is chosen where classes are many
MANY_STRENGTHS = (1.0, 10.0, 100.0)  # tried there
STRENGTHS = (
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
)  # inverse L2 strengths tried; soft labels are only as good as their model


class LabelValidity(Validity):
    """Classification: logistic regressions on the embeddings, one per fold.

    agreement = 1 − |p(x') − p(x)|: how far the move from the anchor x to the sample x' changed what a model that
    never saw x believes, beyond what it changed the label. Unlabelled anchors take the models' mean probability as
    their soft label.
    """

    def __init__(self, embedding: np.ndarray, label: np.ndarray, seed: int) -> None:
        there, classes = np.flatnonzero(known(label)), class_of(label)
        if _second(np.bincount(classes[there], minlength=2)) < FOLDS:
            raise BadInput(f"label agreement needs {FOLDS} training rows of each class; widen the training period")
        rng = np.random.default_rng(seed)
        self._fold = np.full(len(label), -1)
        self._fold[there] = rng.permutation(len(there)) % FOLDS
        sampled = of_each(rng.choice(there, size=min(len(there), FIT_ROWS), replace=False), there, classes)
        self._part_rare(sampled, classes)
        self._classes = label.shape[1] if label.ndim > 1 else 0  # 0: one probability says it all
        strength = _strength(embedding[sampled], classes[sampled], self._classes)
        parts = []
        for fold in range(FOLDS):
            rows = sampled[self._fold[sampled] != fold]
            parts.append(_linear(embedding[rows], classes[rows], strength, self._classes))
        self._weight = np.concatenate([weight for weight, _ in parts]).T.astype(np.float32)
        self._bias = np.concatenate([bias for _, bias in parts]).astype(np.float32)
        self._anchor = self._probability(np.arange(len(label)), embedding)
        self.label = np.where(known(label) if label.ndim == 1 else known(label)[:, None], label, self._anchor)
        self.label = self.label.astype(np.float32)

    def agreement(self, candidates: Candidates) -> np.ndarray:
        anchor = candidates.anchor
        expected = self._anchor[anchor]
        if candidates.label is not None:
            expected = np.clip(expected + candidates.label - self.label[anchor], 0, 1)
        apart = np.abs(self._probability(anchor, candidates.embedding) - expected)
        return 1 - (apart.sum(axis=1) / 2 if apart.ndim > 1 else apart)

    def _part_rare(self, sampled: np.ndarray, classes: np.ndarray) -> None:
        """Where the other folds of one lack a class, each class is dealt out to the folds evenly."""
        fold, every = self._fold[sampled], np.unique(classes[sampled])
        if all(len(np.unique(classes[sampled[fold != f]])) == len(every) for f in range(FOLDS)):
            return
        for one in every[::-1]:
            own = sampled[classes[sampled] == one]
            self._fold[own] = np.arange(len(own)) % FOLDS

    def _probability(self, anchor: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """By the one model that never saw the anchor; by their mean where none did (unlabelled)."""
        logit = embedding @ self._weight + self._bias
        every = np.exp(log_softmax(logit.reshape(len(logit), FOLDS, -1), axis=2)) if self._classes else expit(logit)
        fold = self._fold[anchor]
        own, seen = every[np.arange(len(every)), np.maximum(fold, 0)], fold >= 0
        return np.where(seen[:, None] if self._classes else seen, own, every.mean(axis=1)).astype(np.float32)


class Certainty(Validity):
    """Classification, with a teacher: samples have its label, and agreement is how far its members agree.

    agreement = 1 − the spread of their probabilities. Unlabelled anchors take its label too. What it says of a sample
    it says of the row as `modality` tells it (`told`).
    """

    def __init__(
        self, teacher: Labeller, modality: Modality, rows: pa.Table, embedding: np.ndarray, label: np.ndarray
    ) -> None:
        self.teacher, self.label, self._modality, self._rows = teacher, label.copy(), modality, rows
        if (unknown := np.flatnonzero(~known(label))).size:
            alone = Candidates(unknown, rows.take(pa.array(unknown)), embedding[unknown])
            self.label[unknown] = teacher.label(alone).label

    def told(self, taught: Candidates) -> Candidates:
        anchors = self._rows.take(pa.array(taught.anchor))
        rows = self._modality.told(taught.rows, anchors)
        if rows is taught.rows:
            return taught
        found = self.taught(replace(taught, rows=rows, embedding=self._modality.encode(rows)))
        return replace(taught, label=found.label, spread=found.spread)

    def agreement(self, candidates: Candidates) -> np.ndarray:
        spread = np.zeros(len(candidates), np.float32) if candidates.spread is None else candidates.spread
        return 1 - spread


class Labelled(Classes):
    """Rows whose labels a teacher gives, or cross-fitted logistic regressions on their vectors judge."""

    @classmethod
    def check_enough(cls, source: str, train: pa.Table) -> None:
        """Enough labels of each of two classes; of many, of two at least."""
        label = labels_of(train["label"].drop_null())
        if label.ndim > 1:
            if (second := _second(np.bincount(class_of(label), minlength=2))) < FOLDS:
                raise BadInput(
                    f"sources.{source}: of {len(label):,} labelled training rows the second largest class has "
                    f"{second}; {FOLDS} are needed, since labels are judged by models of {FOLDS} folds: {MORE_ROWS}"
                )
            return
        for side, count in (("above 0.5", np.sum(label > 0.5)), ("of at most 0.5", np.sum(label <= 0.5))):
            if count < FOLDS:
                raise BadInput(
                    f"sources.{source}: {count} of {len(label):,} labelled training rows have a label {side}; {FOLDS} "
                    f"are needed, since labels are judged by models of {FOLDS} folds: {MORE_ROWS} "
                    "(and raise `labelled` if it is set)"
                )

    def chosen(self, rows: pa.Table, most: int, rng: np.random.Generator) -> np.ndarray:
        """And enough more of each class to judge labels by."""
        label = labels_of(rows["label"])
        return of_each(super().chosen(rows, most, rng), np.flatnonzero(known(label)), class_of(label))

    def validity(
        self, rows: pa.Table, embedding: np.ndarray, gates: Gates, seed: int, teacher: Labeller | None = None
    ) -> Validity:
        label = labels_of(rows["label"])
        return Certainty(teacher, self, rows, embedding, label) if teacher else LabelValidity(embedding, label, seed)


def _second(counts: np.ndarray) -> int:
    """The second largest."""
    return int(np.sort(counts)[-2])


def _strength(embedding: np.ndarray, classes: np.ndarray, count: int) -> float:
    """The inverse L2 strength C by which other folds are told best; `count` as `_linear` has it."""
    if not count:
        search = GridSearchCV(LogisticRegression(max_iter=300), {"C": STRENGTHS}, scoring="roc_auc", cv=FOLDS)
        return float(search.fit(embedding, classes).best_params_["C"])
    x, y = embedding[:MANY_ROWS], classes[:MANY_ROWS]
    fold, losses = np.arange(len(y)) % FOLDS, []
    for strength in MANY_STRENGTHS:
        logit = np.empty((len(y), count))
        for one in range(FOLDS):
            weight, bias = _linear(x[fold != one], y[fold != one], strength, count)
            logit[fold == one] = x[fold == one] @ weight.T + bias
        losses.append(-log_softmax(logit, axis=1)[np.arange(len(y)), y].mean())
    return MANY_STRENGTHS[int(np.argmin(losses))]


def _linear(x: np.ndarray, y: np.ndarray, strength: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights float[1, D] and bias float[1] of a logistic regression; of `count` classes [count, D] and [count]."""
    if not count:
        model = LogisticRegression(C=strength, max_iter=300).fit(x, y)
        return model.coef_, model.intercept_
    label = torch.from_numpy(np.eye(count, dtype=np.float32)[y])
    weight, bias = softmax.fit(torch.from_numpy(x), label, torch.ones(len(x)), strength)
    return weight.numpy(), bias.numpy()


def of_each(chosen: np.ndarray, every: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The places int64[n] `chosen` from `every`, and of a class int64[N] of which they hold fewer than `FOLDS` more."""
    for one in np.unique(classes[every])[::-1]:
        own = every[classes[every] == one]
        missing = FOLDS - int(np.isin(own, chosen).sum())
        if missing > 0:
            chosen = np.concatenate([chosen, own[~np.isin(own, chosen)][:missing]])
    return chosen
