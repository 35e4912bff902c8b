"""A recipe's source: where rows come from, which column plays which role, and how they are read and split.

Apart from `augment.recipe`, which holds what is done with the rows.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from augment.errors import suggest

Share = Annotated[float, Field(ge=0, le=1)]
# Columns of a prepared split that mean the same for every source: no field may take their name.
RESERVED = frozenset({"row_id", "timestamp", "label", "text", "segment", "embedding", "weight"})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(Section):
    """Which column of the source plays which role."""

    id: str | None = Field(None, description="Unique row id; without it, rows are named by a hash of their content.")
    user: str | None = Field(None, description="Who acted.")
    item: str | None = Field(None, description="What they acted on.")
    timestamp: str | None = Field(None, description="When: epoch seconds, milliseconds or microseconds, or ISO 8601.")
    label: str | None = Field(None, description="Click, sentiment or rating; null means unlabelled.")
    text: str | None = Field(None, description="The review; for behaviour, what describes the item.")
    segment: str | None = Field(None, description="Category or group that samples are conditioned on.")
    fields: list[str] = Field([], description="Categorical fields of an impression, besides user and item.")
    numbers: list[str] = Field([], description="Numeric fields of an impression; binned by training quantiles.")
    mutable: list[str] | None = Field(
        None,
        description="Fields and numbers whose change leaves the question the same (the device, not the brand): attacks "
        "swap these alone. Without it, all but ids.",
    )

    @model_validator(mode="after")
    def _fields_have_names_of_their_own(self) -> Columns:
        roles = {"id": self.id, "user_id": self.user, "item_id": self.item}
        taken = RESERVED | {role for role, column in roles.items() if column}
        names = [*self.fields, *self.numbers]
        lower = [name.lower() for name in names]  # SQL does not tell their case apart
        for name in names:
            if name.lower() in taken or name.startswith("__"):
                raise ValueError(
                    f"the name '{name}' is taken: leave it out of fields and numbers, or rename the column"
                )
            if lower.count(name.lower()) > 1:
                raise ValueError(f"'{name}' is twice among fields and numbers")
        for name in self.mutable or ():
            if name not in names:
                raise ValueError(f"mutable: '{name}' is not among fields and numbers{suggest(name, names)}")
        return self


class Split(Section):
    """How rows are divided into training, validation and test."""

    by: Literal["time", "user_time", "random"] = Field(
        "random",
        description="time: the latest rows are the test; user_time: each user's latest rows are; random: by row id.",
    )
    valid: Share = Field(0.1, description="Share of rows for validation.")
    test: Share = Field(0.2, description="Share of rows for the test, which is read once.")
    core: int = Field(
        1,
        ge=1,
        description="Keep users and items with at least this many rows each (k-core); "
        "counted over all rows, before the split.",
    )

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Split:
        if self.valid + self.test >= 1:
            raise ValueError("valid + test must leave rows to train on")
        return self


class Source(Section):
    """Where rows come from: a file (glob), or a database."""

    path: str | list[str] | None = Field(
        None,
        description="File or glob, or a list of them, relative to the current directory: Parquet, CSV, TSV or JSON "
        "lines, also .gz and .zst.",
    )
    connection: str | None = Field(
        None, description="sqlite:///file.db or postgresql://…; ${NAME} is read from the environment."
    )
    query: str | None = Field(None, description="SQL that selects the rows, with `connection`.")
    columns: Columns = Field(description="Column roles.")
    positive: float | None = Field(None, description="Labels at or above this are 1, those below 0.")
    keep: float | None = Field(None, description="Drop rows whose label is below this (ratings that are no interest).")
    split: Split = Field(Split(), description="Train, validation and test.")
    labelled: int | None = Field(None, ge=1, description="Keep the labels of this many training rows.")
    unlabelled: int | None = Field(
        None,
        ge=0,
        description="Keep at most this many training rows without label, those beyond `labelled` among them. Clicks "
        "without label are bad rows where neither is given.",
    )
    valid_rows: int | None = Field(None, ge=1, description="At most this many validation rows.")
    test_rows: int | None = Field(None, ge=1, description="At most this many test rows.")
    max_bad_share: Share = Field(0.05, description="More bad rows than this stop the run.")
    max_text: int = Field(20_000, ge=1, description="Longer texts, in characters, are bad rows.")
    max_per_minute: int = Field(
        120, ge=1, description="A user with more rows than this in one minute is a bot: all its rows are bad."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.connection is None):
            raise ValueError("give either `path` or `connection`")
        if (self.connection is None) != (self.query is None):
            raise ValueError("`connection` and `query` go together")
        if "\0" in "".join([*(self.path or []), self.connection or "", self.query or ""]):
            raise ValueError("there is no NUL character in a path, a connection or a query")
        return self

    @field_serializer("connection")
    def _without_password(self, connection: str | None) -> str | None:
        """What manifests and digests hold: `${NAME}` stays, a password written out does not."""
        if connection is None or connection.startswith("sqlite"):
            return connection
        hidden = re.sub(r"(://[^:/@]*:)(?!\$\{\w+\}@).*@", r"\1***@", connection)
        return re.sub(r"(password=)(?!\$\{\w+\}(?:&|$))[^&]*", r"\1***", hidden)
