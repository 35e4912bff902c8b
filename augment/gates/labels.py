"""Is a sample's label still right? Judged by models that never saw its anchor (cross-fitting).

A k-nearest-neighbour vote of the anchor's own class passes nearly every anchored sample, so it says nothing;
a model fitted on the other folds has no such bond to the anchor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from augment.base.errors import BadInput
from augment.contracts.modality import MORE_ROWS, Classes, Modality
from augment.contracts.values import Candidates, Labeller, Validity

if TYPE_CHECKING:
    from augment.recipes.schema import Gates

FOLDS = 5
FIT_ROWS = 20_000  # rows per fold's logistic regression: enough for a few hundred dimensions
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
        known, classes = np.flatnonzero(np.isfinite(label)), label > 0.5
        if min(np.bincount(classes[known], minlength=2)) < FOLDS:
            raise BadInput(f"label agreement needs {FOLDS} training rows of each class; widen the training period")
        rng = np.random.default_rng(seed)
        self._fold = np.full(len(label), -1)
        self._fold[known] = rng.permutation(len(known)) % FOLDS
        sampled = of_each(rng.choice(known, size=min(len(known), FIT_ROWS), replace=False), known, classes)
        self._part_rare(sampled, classes)
        search = GridSearchCV(LogisticRegression(max_iter=300), {"C": STRENGTHS}, scoring="roc_auc", cv=FOLDS)
        strength = search.fit(embedding[sampled], classes[sampled]).best_params_["C"]
        models = []
        for fold in range(FOLDS):
            rows = sampled[self._fold[sampled] != fold]
            models.append(LogisticRegression(C=strength, max_iter=300).fit(embedding[rows], classes[rows]))
        self._weight = np.concatenate([m.coef_ for m in models]).T.astype(np.float32)
        self._bias = np.concatenate([m.intercept_ for m in models]).astype(np.float32)
        self._anchor = self._probability(np.arange(len(label)), embedding)
        self.label = np.where(np.isfinite(label), label, self._anchor).astype(np.float32)

    def agreement(self, candidates: Candidates) -> np.ndarray:
        anchor = candidates.anchor
        expected = self._anchor[anchor]
        if candidates.label is not None:
            expected = np.clip(expected + candidates.label - self.label[anchor], 0, 1)
        return 1 - np.abs(self._probability(anchor, candidates.embedding) - expected)

    def _part_rare(self, sampled: np.ndarray, classes: np.ndarray) -> None:
        """Where the other folds of one hold a single class, both classes are dealt out to the folds evenly."""
        fold = self._fold[sampled]
        if all(len(np.unique(classes[sampled[fold != f]])) == 2 for f in range(FOLDS)):
            return
        for own in (sampled[classes[sampled]], sampled[~classes[sampled]]):
            self._fold[own] = np.arange(len(own)) % FOLDS

    def _probability(self, anchor: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """By the one model that never saw the anchor; by their mean where none did (unlabelled)."""
        every = expit(embedding @ self._weight + self._bias)
        fold = self._fold[anchor]
        own = np.take_along_axis(every, np.maximum(fold, 0)[:, None], axis=1)[:, 0]
        return np.where(fold >= 0, own, every.mean(axis=1)).astype(np.float32)


class Certainty(Validity):
    """Classification, with a teacher: samples have its label, and agreement is how far its members agree.

    agreement = 1 − the spread of their probabilities. Unlabelled anchors take its label too. What it says of a sample
    it says of the row as `modality` tells it (`told`).
    """

    def __init__(
        self, teacher: Labeller, modality: Modality, rows: pa.Table, embedding: np.ndarray, label: np.ndarray
    ) -> None:
        self.teacher, self.label, self._modality, self._rows = teacher, label.copy(), modality, rows
        if (unknown := np.flatnonzero(~np.isfinite(label))).size:
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
        """Enough labels of each class."""
        label = train["label"].drop_null().to_numpy()
        for side, count in (("above 0.5", np.sum(label > 0.5)), ("of at most 0.5", np.sum(label <= 0.5))):
            if count < FOLDS:
                raise BadInput(
                    f"sources.{source}: {count} of {len(label):,} labelled training rows have a label {side}; {FOLDS} "
                    f"are needed, since labels are judged by models of {FOLDS} folds: {MORE_ROWS} "
                    "(and raise `labelled` if it is set)"
                )

    def chosen(self, rows: pa.Table, most: int, rng: np.random.Generator) -> np.ndarray:
        """And enough more of each class to judge labels by."""
        label = rows["label"].to_numpy()
        return of_each(super().chosen(rows, most, rng), np.flatnonzero(np.isfinite(label)), label > 0.5)

    def validity(
        self, rows: pa.Table, embedding: np.ndarray, gates: Gates, seed: int, teacher: Labeller | None = None
    ) -> Validity:
        label = rows["label"].to_numpy().astype(np.float32)  # null becomes NaN
        return Certainty(teacher, self, rows, embedding, label) if teacher else LabelValidity(embedding, label, seed)


def of_each(chosen: np.ndarray, every: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The places int64[n] `chosen` from `every`, and of a class bool[N] of which they hold fewer than `FOLDS` more."""
    for own in (every[classes[every]], every[~classes[every]]):
        missing = FOLDS - int(np.isin(own, chosen).sum())
        if missing > 0:
            chosen = np.concatenate([chosen, own[~np.isin(own, chosen)][:missing]])
    return chosen
