"""A consumer: reviews told apart by the mean vector of each class (nearest centroid; Tibshirani et al., 2002).

Entry point, group `sparring.consumers`: `centroid = consumer:Centroid`. Recipes then say `consumer = "centroid"`.
"""

import numpy as np
import torch
from pydantic import Field

from augment.contracts.consumer import Consumer
from augment.contracts.options import BaseOptions
from consumers.configured import Configured
from consumers.data import storage
from consumers.scoring import classification as scoring
from consumers.sentiment import embeddings
from consumers.victims import LogitVictim


class Centroid(Configured, Consumer):
    name, modality, deterministic = "centroid", "text", True
    metrics = {"clean": ("auc", "logloss", "ece"), "slices": (), "robust": ()}  # noqa: RUF012

    class Options(BaseOptions):
        scale: float = Field(10.0, gt=0, description="How much a step from mean to mean adds to the logit.")

    def fit(self, train, valid, mix=None):
        real, more = np.ones(len(train), np.float32), [] if mix is None else [mix]
        x, label = (np.concatenate([read(rows) for rows in [train, *more]]) for read in (embeddings, scoring.labels))
        weight = np.concatenate([real, *(rows["weight"].to_numpy() for rows in more)])
        self.means_ = torch.from_numpy(np.float32([np.average(x, 0, weight * y) for y in (1 - label, label)]))
        return self

    def logit(self, x):
        return self.options.scale * (x - self.means_.mean(dim=0)) @ (self.means_[1] - self.means_[0])

    def predict(self, rows):
        return torch.sigmoid(self.logit(torch.from_numpy(embeddings(rows)))).numpy()

    def evaluate(self, test, attacked):
        return scoring.clean_measures(scoring.labels(test), self.predict(test))

    def as_victim(self):
        return LogitVictim(self.logit, self.means_.shape[1], 0.0)

    def save(self, folder):
        storage.save(folder, {"means": self.means_.numpy()}, self.parameters())

    @classmethod
    def load(cls, folder, device="cpu"):
        arrays, parameters = storage.load(folder)
        model = cls(**parameters, device=device)
        model.means_ = torch.from_numpy(arrays["means"])
        return model


if __name__ == "__main__":
    from augment.testing.shop import around

    print(around(Centroid).figures)
