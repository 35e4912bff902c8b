"""A model that the user has: their best one, however dear it is to serve."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from augment.contracts.options import BaseOptions
from augment.contracts.panel import Panel
from augment.contracts.teacher import Room


class Saved(Panel):
    name = "saved"
    what = "a model of the consumer's kind that was saved before, such as by `sparring train`"

    class Options(BaseOptions):
        folder: str = Field(description="Where it was saved, relative to the current directory.")

    def fit(self, room: Room) -> Saved:
        """Raises BadInput where the folder holds no such model."""
        self.members = [room.consumer.load(Path(self.options.folder), room.device)]
        return self
