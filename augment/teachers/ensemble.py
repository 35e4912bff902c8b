"""The consumer's own kind: the mean of several knows more than one, most of all where rows are few and ids are many."""

from __future__ import annotations

from pydantic import Field

from augment.base.errors import Refused
from augment.contracts.options import BaseOptions
from augment.contracts.panel import Panel
from augment.contracts.teacher import Room


class Ensemble(Panel):
    name = "ensemble"
    what = "the task's own consumer, trained with several seeds"

    class Options(BaseOptions):
        members: int = Field(5, ge=2, description="Seeds.")

    def fit(self, room: Room) -> Ensemble:
        models = [room.make(room.seed + i) for i in range(self.options.members)]
        if getattr(models[0], "deterministic", False):
            raise Refused("the consumer is the same model with every seed")
        self.members = room.trained({f"own-{i}": (model, room.train) for i, model in enumerate(models)})
        return self
