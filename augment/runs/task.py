"""One task of a recipe, opened: its consumer, its inputs, its digest, and its real rows when they are read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from augment.base.errors import UsageError, suggest
from augment.base.files import digest
from augment.base.progress import say
from augment.contracts.check import checks_of
from augment.contracts.consumer import Consumer, check_options
from augment.contracts.content_map import check as check_map
from augment.contracts.engine import Engine
from augment.contracts.modality import Histories, Modality, Tools, Vectors
from augment.contracts.registry import consumer_class, engine, modality_class, source_kind
from augment.contracts.strategy import check as check_strategy
from augment.contracts.teacher import check as check_teacher
from augment.generation.studio import Order
from augment.judging.arms import check_metrics
from augment.language.encoders import NGRAMS
from augment.language.ngrams import Ngrams
from augment.numeric.device import resolve_device
from augment.numeric.frozen import FrozenEncoder
from augment.pictures.encoders import DEFAULT, image_encoder
from augment.pictures.encoders import check_name as check_image_encoder
from augment.publishing.dataset import Dataset
from augment.publishing.manifest import ALL_DAYS
from augment.recipes.schema import Recipe, Task
from augment.recipes.source import Source, field_column
from augment.sources.prepare import fingerprint

# Their versions are part of a run's digest: another version may make other samples.
PACKAGES = (
    "sparring",
    "torch",
    "numpy",
    "scikit-learn",
    "scipy",
    "duckdb",
    "pyarrow",
    "deltalake",
    "pydantic",
)


@dataclass
class Job:
    """One task of a recipe: what it is made of, and the digest that names its outcome.

    night: what else decides what a night makes, for its digest; of a run of its own, nothing.
    """

    recipe: Recipe
    name: str
    device: str
    day: str = ALL_DAYS
    night: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task: Task = self.recipe.tasks[self.name]
        self.source = self.recipe.sources[self.task.source]
        self.consumer: type[Consumer] = consumer_class(self.task.consumer)
        self.modality: type[Modality] = modality_class(self.consumer.modality)
        if self.modality.default_encoder and "encoder" not in self.task.model_fields_set:
            self.task = self.task.model_copy(update={"encoder": self.modality.default_encoder})
        self._check_encoder()
        self._check_decoding()
        self.make_with({**self.task.mix_options}, 0)  # an unknown option is said now, not after an hour
        check_metrics(self.consumer, self.task.verdict, f"tasks.{self.name}")
        for strategy in self.task.strategies:
            options = self.task.strategy_options.get(strategy, {})
            check_strategy(strategy, self.consumer.modality, options, f"tasks.{self.name}")
        for teacher in self.task.teachers:
            check_teacher(teacher, self.consumer, self.task.teacher_options.get(teacher, {}), f"tasks.{self.name}")
        self._check_classes()
        self._check_products()
        self._check_people()
        checks_of(self.recipe.nightly.checks)
        self.engine: Engine = engine(self.recipe.engine)
        source_kind(self.source).options(self.source, f"sources.{self.task.source}.options")
        beside = {"products": self.products, "people": self.people}
        self.inputs = fingerprint(self.source)
        self.versions = {package: version(package) for package in PACKAGES}
        self.settings = {
            "task": self.task.model_dump(mode="json"),
            "source": self.source.model_dump(mode="json"),
            "seed": self.recipe.seed,
            "device": self.device.split(":")[0],
        }
        for kind, source in beside.items():
            if source:
                self.inputs |= fingerprint(source)
                self.settings[kind] = source.model_dump(mode="json")
        made_of = {**self.settings, "inputs": self.inputs, "versions": self.versions, "name": self.name}
        self.digest = digest(
            made_of if self.day == ALL_DAYS else {**made_of, "day": self.day, "night": dict(self.night)}
        )
        self.folder = Path(self.recipe.output) / self.name
        self.dataset = Dataset(self.folder)

    @property
    def products(self) -> Source | None:
        """The catalogue, where new items are published."""
        return None if self.task.products is None else self.recipe.sources[self.task.products]

    @property
    def attributes(self) -> str | None:
        """The name of the source of what users declare of themselves, where new users are published by it."""
        return None if self.task.new_users is None else self.task.new_users.attributes

    @property
    def people(self) -> Source | None:
        return None if self.attributes is None else self.recipe.sources[self.attributes]

    def _check_people(self) -> None:
        """Raise UsageError where new users shall be published and the consumer has no use for them."""
        if self.task.new_users is None:
            return
        if "new users" not in self.consumer.metrics:
            raise UsageError(f"tasks.{self.name}.new_users: published for recommenders, not {self.task.consumer}")
        if self.people is not None:
            source_kind(self.people).options(self.people, f"sources.{self.attributes}.options")

    def _check_classes(self) -> None:
        """Raise UsageError where the consumer knows many classes and the source names none, or the reverse."""
        many, where = getattr(self.consumer, "multiclass", False), f"sources.{self.task.source}.classes"
        if many and not self.source.classes:
            raise UsageError(f"{where}: name the classes of the labels, which consumer '{self.task.consumer}' tells")
        if self.source.classes and not many:
            raise UsageError(f"{where}: consumer '{self.task.consumer}' tells two classes; `positive` says which is 1")

    def _check_encoder(self) -> None:
        try:
            self.modality.check_encoder(self.task.encoder)
        except UsageError as error:
            raise UsageError(f"tasks.{self.name}.encoder: {error}") from None

    def _check_decoding(self) -> None:
        """Raise UsageError where vectors alone are asked for and say nothing to a reader."""
        if not self.task.generator.decode and not issubclass(self.modality, Vectors):
            raise UsageError(
                f"tasks.{self.name}.generator.decode: samples of {self.modality.name} are what they decode to; those "
                "of texts, pictures and clips alone can be vectors"
            )

    def _check_products(self) -> None:
        """Raise UsageError where there are any that this task has no use for, or maps that there are not."""
        if self.products is None:
            return
        where, wanted = f"tasks.{self.name}", self.task.new_items
        if not issubclass(self.modality, Histories):
            raise UsageError(f"{where}.products: new items are published for recommenders, not {self.task.consumer}")
        for name in dict.fromkeys([*wanted.maps, *wanted.map_options]):
            check_map(name, wanted.map_options.get(name, {}), f"{where}.new_items")
        try:
            check_image_encoder(wanted.image_encoder or DEFAULT)
        except UsageError as error:
            raise UsageError(f"{where}.new_items.image_encoder: {error}") from None
        source_kind(self.products).options(self.products, f"sources.{self.task.products}.options")

    def anew(self) -> Job:
        """This job; where what it published has lost files, the same under another digest, which makes it again."""
        job, lost = self, ""
        while said := self.dataset.lost(job.digest):
            job, lost = copy(job), said
            job.digest = digest([job.digest, "anew"])
        if lost and not self.dataset.find(job.digest):
            say(f"{self.name}: {lost}: it is made anew")
        return job

    def make(self, seed: int) -> Consumer:
        """The consumer as the recipe has it, untrained."""
        return self.make_with({}, seed)

    def make_on_mix(self, seed: int) -> Consumer:
        """The consumer that trains on the mix."""
        return self.make_with(self.task.mix_options, seed)

    def make_with(self, options: Mapping[str, Any], seed: int) -> Consumer:
        """The consumer with `options` before the recipe's. Raises UsageError for one that it does not have."""
        options = {**self.task.options, **options}
        check_options(self.consumer, options, f"tasks.{self.name}.options")
        taken, mutable = inspect.signature(self.consumer).parameters, self.source.columns.mutable
        if "encoder" in taken:
            options["encoder"] = self.task.encoder
        if mutable is not None and "mutable" in taken:
            options["mutable"] = tuple(field_column(name) for name in mutable)
        return self.consumer(**options, seed=seed, device=self.device)

    def encoder(self, texts: Sequence[str], ngrams: Ngrams | None = None) -> FrozenEncoder:
        """The task's encoder, of texts or of what its modality says.

        Where n-grams belong to it: `ngrams`, or fitted on the training texts `texts`.
        """
        if not self.task.encoder.endswith(NGRAMS):
            ngrams = None
        elif ngrams is None:
            say(f"{self.name}: fitting n-grams of {len(texts):,} texts")
            ngrams = Ngrams.fit(texts, self.recipe.seed)
        return self.modality.encoder_of(self.task.encoder, self._cache, self.device, ngrams)

    def image_encoder(self) -> FrozenEncoder:
        """That of the catalogue's pictures."""
        return image_encoder(self.task.new_items.image_encoder or DEFAULT, self._cache, self.device)

    @property
    def _cache(self) -> Path:
        return Path(self.recipe.output) / "embeddings.sqlite"

    @property
    def decoded(self) -> Path:
        """The file that keeps what pictures were decoded to, between runs and nights."""
        return Path(self.recipe.output) / "decoded.sqlite"

    @property
    def tools(self) -> Tools:
        return Tools(self.recipe.seed, self.task.strategies.keys(), self.encoder)

    @property
    def order(self) -> Order:
        """What the studio is asked for."""
        return Order(self.name, self.digest, self.day, self.task, self.modality, self.tools, self.device)

    @property
    def seeds(self) -> list[int]:
        return [self.recipe.seed + i for i in range(self.task.verdict.seeds)]


def open_job(recipe: Recipe, name: str, device: str, threads: int | None) -> Job:
    if name not in recipe.tasks:
        raise UsageError(f"recipe '{recipe.name}' has no task '{name}'{suggest(name, recipe.tasks)}")
    return Job(recipe, name, resolve_device(device, threads))
