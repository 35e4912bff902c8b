"""A recipe's source: where rows come from, which column plays which role, and how they are read and split.

Apart from `augment.recipes.schema`, which holds what is done with the rows.
"""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)  # fmt: skip

from augment.base.errors import suggest

Share = Annotated[float, Field(ge=0, le=1)]
# Columns of a prepared split that mean the same for every source.
RESERVED = frozenset({"row_id", "timestamp", "label", "text", "image", "clip", "segment", "embedding", "weight"})
FIELD = "field:"  # before a field's name in a prepared split, where that would be one of ours
# What people and the web mean by a name, where Python's codec of that name knows fewer characters.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932"}


def field_column(name: str) -> str:
    """The column of a prepared split that holds a field of that name; no two fields have the same."""
    ours = name.lower() in RESERVED | {"id", "user_id", "item_id"}
    return FIELD + name if ours or name.lower().startswith(("__", FIELD)) else name


def published(columns: list[str]) -> list[str]:
    """What columns of a prepared split are called in `decoded`: a field has its own name again, where that is free."""
    taken = {column.lower() for column in columns}
    own = [column.removeprefix(FIELD) for column in columns]
    return [short if short.lower() not in taken else column for column, short in zip(columns, own, strict=True)]


def codec_of(encoding: str) -> str:
    """Python's name of the codec for an encoding. Raises LookupError for what is none of text."""
    name = codecs.lookup(encoding).name
    b"a".decode(name, "ignore")  # hex and the like are codecs, but not of text
    return _WIDER.get(name, name)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(Section):
    """Which column of the source plays which role."""

    id: str | None = Field(None, description="Unique row id; without it, rows are named by a hash of their content.")
    user: str | None = Field(None, description="Who acted.")
    item: str | None = Field(None, description="What they acted on.")
    timestamp: str | None = Field(
        None,
        description="When: the epoch in seconds to nanoseconds, ISO 8601 and the like, or `timestamp_format`; UTC "
        "where no offset is given.",
    )
    label: str | None = Field(None, description="Click, sentiment or rating; null means unlabelled.")
    text: str | None = Field(None, description="The review; for behaviour, what describes the item.")
    image: str | None = Field(
        None,
        description="The picture: bytes (Parquet, databases), base64 (text, JSON lines), or with `images` a path; "
        "JPEG, PNG, WebP or GIF.",
    )
    clip: str | None = Field(
        None,
        description="The film or the sound: bytes, base64, or with `clips` a path; of any format of FFmpeg's, which "
        "PyAV reads (the extra `video`), or WAV.",
    )
    segment: str | None = Field(None, description="Category or group that samples are conditioned on.")
    fields: list[str] = Field([], description="Categorical fields of an impression, besides user and item.")
    numbers: list[str] = Field([], description="Numeric fields of an impression; binned by training quantiles.")
    mutable: list[str] | None = Field(
        None,
        description="Fields and numbers whose change leaves the question the same (the device, not the brand): attacks "
        "swap these alone. Without it, all but ids.",
    )

    @model_validator(mode="after")
    def _names_differ_in_more_than_case(self) -> Columns:
        roles = [self.id, self.user, self.item, self.timestamp, self.label, self.text, self.segment]
        roles += [self.image, self.clip]
        fields = [*self.fields, *self.numbers]
        for name in fields:
            if fields.count(name) > 1:
                raise ValueError(f"'{name}' is twice among fields and numbers")
        for name in self.mutable or ():
            if name not in fields:
                raise ValueError(f"mutable: '{name}' is not among fields and numbers{suggest(name, fields)}")
        columns = dict.fromkeys([*(role for role in roles if role), *fields])
        seen: dict[str, str] = {}
        for name in columns:
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise ValueError(f"'{other}' and '{name}' differ in case alone, which tables do not tell: rename one")
        return self

    @model_serializer(mode="wrap")
    def _without_files(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where there are none, so that digests of recipes that never had any stay."""
        return _without(dumped(self), "image", "clip")


class Split(Section):
    """How rows are divided into training, validation and test."""

    by: Literal["time", "user_time", "random", "new_items", "new_users"] = Field(
        "random",
        description="time: the latest rows are the test; user_time: each user's latest rows are; random: by row id; "
        "new_items: `valid` and `test` are shares of items too, all of whose rows are there, as if they were new; "
        "new_users: shares of users too, all of whose rows are there, but for the first one, two or three.",
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
    """Where rows come from: a file (glob), a database, or what another package reads (`sparring.sources`)."""

    path: str | list[str] | None = Field(
        None,
        description="File or glob, or a list of them, relative to the current directory: Parquet, delimited text ("
        ".csv, .tsv, .txt, .dat, .log) or JSON lines (.jsonl, .ndjson), also .gz and .zst. A file of exactly that "
        "name is no glob.",
    )
    delimiter: str | None = Field(
        None,
        description="Of delimited text, such as ';' or '::'. Without it, each file's first line says which of , ; tab "
        "and | it is.",
    )
    quote: str = Field('"', description="Around values of delimited text, doubled within them; '' for none.")
    header: bool = Field(True, description="The first line of delimited text names its columns.")
    names: list[str] = Field([], description="Names of the columns, in order, with `header = false`.")
    encoding: str = Field(
        "utf-8", description="Of text files: utf-8, gb18030, big5, shift_jis, latin-1, utf-16 or another of Python's."
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal mark of labels and numbers in delimited text.")
    timestamp_format: str | None = Field(
        None, description="How timestamps are written, such as %d.%m.%Y %H:%M (strptime); for dates of another order."
    )
    units: list[str] = Field(
        [], description="What stands before or after labels and numbers and is no part of them, such as €, % or kg."
    )
    null: list[str] = Field([], description="Values that mean missing, besides empty ones: NA, -, \\N and the like.")
    connection: str | None = Field(
        None, description="sqlite:///file.db or postgresql://…; ${NAME} is read from the environment."
    )
    query: str | None = Field(None, description="SQL that selects the rows, with `connection`.")
    options: dict[str, str | int | float | bool] = Field(
        {}, description="Options of a source of another package, whose own file says which there are."
    )
    columns: Columns = Field(description="Column roles.")
    images: str | None = Field(
        None,
        description="Folder in which the paths of column `image` are, relative to the current directory; a path that "
        "leaves it is a bad row. Without it, that column holds the pictures themselves.",
    )
    clips: str | None = Field(None, description="Likewise of column `clip`.")
    positive: float | list[str] | None = Field(
        None,
        description="Labels at or above this number are 1, those below 0; or, for labels in words, a list of those "
        "that are 1, in any case: all others are 0.",
    )
    classes: list[str] = Field(
        [],
        description="Labels in words, or numbers such as 1 to 5, of a consumer of many classes: all that there are, in "
        "any case; a row with another is a bad row. Samples' labels are lists in this order.",
    )
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

    @property
    def scheme(self) -> str:
        """What its connection or (first) path begins with where that is a URL, such as sqlite; else nothing."""
        first = self.path if isinstance(self.path, str) else next(iter(self.path or []), "")
        scheme, there, _ = (self.connection or first).partition("://")
        return scheme if there else ""

    @property
    def binary(self) -> list[str]:
        """The columns whose values are files themselves."""
        held = ((self.columns.image, self.images), (self.columns.clip, self.clips))
        return [column for column, folder in held if column and folder is None]

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.connection is None):
            raise ValueError("give either `path` or `connection`")
        if (self.connection is None) != (self.query is None):
            raise ValueError("`connection` and `query` go together")
        for role, folder in (("image", self.images), ("clip", self.clips)):
            if folder is not None and getattr(self.columns, role) is None:
                raise ValueError(f"`{role}s` is the folder of the paths in a column: name it as `columns.{role}`")
        given = (self.connection, self.query, self.images, self.clips)
        if "\0" in "".join([*(self.path or []), *(text or "" for text in given)]):
            raise ValueError("there is no NUL character in a path, a connection or a query")
        return self

    @model_validator(mode="after")
    def _can_be_read_so(self) -> Source:
        delimiter, quote = self.delimiter, self.quote
        if delimiter is not None and not (0 < len(delimiter.encode()) <= 4 and delimiter.strip("\r\n\0") == delimiter):
            raise ValueError("`delimiter` has one to four bytes, none of them the end of a line")
        if len(quote.encode()) > 1 or quote in ("\n", "\r", "\0") or (quote and quote in (delimiter or "")):
            raise ValueError("`quote` is one ASCII character that is not in `delimiter`, or ''")
        if self.header == bool(self.names):
            raise ValueError("`names` names the columns of files with `header = false`, and of no others")
        if odd := [unit for unit in self.units if not unit.strip() or re.search(r"[\d\0]", unit)]:
            raise ValueError(f"`units`: {odd[0]!r} is none: they are not empty, and without digits")
        if twice := next((name for name in self.names if self.names.count(name) > 1), None):
            raise ValueError(f"`names` has '{twice}' twice")
        try:
            codec_of(self.encoding)
        except (LookupError, ValueError):
            raise ValueError(f"no encoding '{self.encoding}'; such as utf-8, gb18030, big5, latin-1, utf-16") from None
        if self.connection and (of_text := given(self, OF_TEXT)):
            raise ValueError(f"`{of_text[0]}` is for files, not for a query")
        return self

    @field_validator("classes", mode="before")
    @classmethod
    def _as_names(cls, classes: object) -> object:
        """Ratings may stand without quotes."""
        return [str(c) if type(c) is int else c for c in classes] if isinstance(classes, list) else classes

    @model_validator(mode="after")
    def _labels_can_be_told(self) -> Source:
        if isinstance(self.positive, list) and (not self.positive or self.keep is not None):
            raise ValueError("`positive` lists words, at least one; `keep` is for numbers")
        if not self.classes:
            return self
        if self.positive is not None or self.keep is not None:
            raise ValueError("`classes` goes with neither `positive` nor `keep`: those are for labels of two")
        named = [name.strip().lower() for name in self.classes]
        if len(named) < 2 or "" in named:
            raise ValueError("`classes`: name two at least, and none of them ''")
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise ValueError(f"`classes`: '{twice}' is there twice")
        return self

    @model_serializer(mode="wrap")
    def _without_new_ones(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that came later only where they are given, so that digests of recipes that never had any stay."""
        return _without(dumped(self), "options", "images", "clips", "classes", "units")

    @field_serializer("connection")
    def _without_password(self, connection: str | None) -> str | None:
        """What manifests and digests hold: `${NAME}` stays, a password written out does not."""
        if connection is None or connection.startswith("sqlite"):
            return connection
        hidden = re.sub(r"(://[^:/@]*:)(?!\$\{\w+\}@).*@", r"\1***@", connection)
        return re.sub(r"(password=)(?!\$\{\w+\}(?:&|$))[^&]*", r"\1***", hidden)


def _without(dumped: dict[str, Any], *optional: str) -> dict[str, Any]:
    """Without those that are not given."""
    return {name: value for name, value in dumped.items() if value or name not in optional}


OF_TEXT = ("delimiter", "quote", "header", "names", "decimal", "encoding")  # options that only files of text have


def given(source: Source, options: tuple[str, ...]) -> list[str]:
    """Those of the options that are not at their default."""
    return [name for name in options if getattr(source, name) != Source.model_fields[name].default]
